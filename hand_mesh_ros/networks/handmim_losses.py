"""Losses of HandMIM's mesh (section 3.5, eqs. 13 and 14), after every step of the loop.

Lengths are in units of `UNIT_M` and landmarks in crop units, all are means. The paper prints no
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hand_mesh_ros.networks.handmim import UNIT_M, HandStep
from hand_mesh_ros.networks.loss_weights import check_loss_weights

_NEAREST_M = 0.02


@dataclass(frozen=True)
class HandLossWeights:
    """Weight of each term of a hand; 0 leaves it out."""

    rotations: float = 1.0
    shape: float = 0.01
    vertices: float = 3.0
    keypoints_3d: float = 3.0
    keypoints_2d: float = 3.0
    """The hand's keypoints through the true camera."""
    landmarks: float = 3.0
    """keypoints_uv of the last step."""

    def __post_init__(self) -> None:
        check_loss_weights(self)


@dataclass(frozen=True)
class HandMIMLossWeights(HandLossWeights):
    """Those, and one more."""

    dense: float = 0.5
    """Where the network has dense maps."""


@dataclass(frozen=True, eq=False)
class HandTruth:
    """B labelled hands; m, camera axes of the crop."""

    vertices_m: Tensor
    """(B, V, 3) wrist at the origin."""
    keypoints_m: Tensor
    """(B, 21, 3) wrist at the origin."""
    keypoints_uv: Tensor
    """(B, 21, 2) crop units."""
    rotations: Tensor
    """(B, 16, 3, 3) of each joint relative to its parent; the first into the camera."""
    shape: Tensor
    """(B, 10)"""
    K_crop: Tensor
    """(B, 3, 3) px of the crop."""

    @classmethod
    def of(cls, batch: Mapping[str, Tensor], keypoints: str) -> HandTruth:
        """Of a batch by the keys of `training/engine_crops.py`, keypoints by that convention."""
        return cls(
            vertices_m=batch["vertices_m"],
            keypoints_m=batch[f"{keypoints}_m"],
            keypoints_uv=batch[f"{keypoints}_uv"],
            rotations=batch["rotations"],
            shape=batch["shape"],
            K_crop=batch["K_crop"],
        )


def handmim_losses(
    steps: list[HandStep], truth: HandTruth, *, image_size_px: int, weights: HandLossWeights
) -> dict[str, Tensor]:
    """Weighted terms by name, means over the steps; those of weight 0 are left out."""

    def of_step(name: str, step: HandStep) -> Tensor:
        if name == "rotations":
            return ((step.rotations - truth.rotations) ** 2).sum((2, 3)).mean()
        if name == "shape":
            return ((step.shape - truth.shape) ** 2).mean()
        if name == "vertices":
            return (step.vertices_m - truth.vertices_m).abs().mean() / UNIT_M
        if name == "keypoints_3d":
            return (step.keypoints_m - truth.keypoints_m).abs().mean() / UNIT_M
        seen = project_through(
            step.keypoints_m, step.camera, truth.K_crop, image_size_px=image_size_px
        )
        return (seen - truth.keypoints_uv).abs().mean()

    names = ("rotations", "shape", "vertices", "keypoints_3d", "keypoints_2d")
    terms = {
        name: getattr(weights, name) * torch.stack([of_step(name, step) for step in steps]).mean()
        for name in names
        if getattr(weights, name) > 0.0
    }
    if weights.landmarks > 0.0:
        error = (steps[-1].keypoints_uv - truth.keypoints_uv).abs().mean()
        terms["landmarks"] = weights.landmarks * error
    return terms


def project_through(
    points_m: Tensor, camera: Tensor, K_crop: Tensor, *, image_size_px: int
) -> Tensor:
    """(B, N, 2) crop units of points about the wrist, seen by the crop's true camera.

    Args:
        points_m: (B, N, 3)
        camera: (B, 3) crop sides a metre at the wrist, and its u, v: with the true focal length,
            this says where the wrist is.
        K_crop: (B, 3, 3) px of the crop.
        image_size_px: side of the crop.
    """
    focal = K_crop[:, :1, 0]  # (B, 1)
    depth = focal / (image_size_px * camera[:, :1])
    wrist_px = camera[:, 1:] * image_size_px - 0.5
    wrist = torch.cat([(wrist_px - K_crop[:, :2, 2]) / focal * depth, depth], dim=1)  # (B, 3)
    points = points_m + wrist[:, None]
    ahead = points[..., 2:].clamp_min(_NEAREST_M)
    px = points[..., :2] / ahead * focal[:, None] + K_crop[:, None, :2, 2]
    return (px + 0.5) / image_size_px


def dense_loss(maps: Tensor, hand: Tensor, place: Tensor) -> Tensor:
    """Of `HandMIM.dense_maps`: which cells show the hand, and which place of it.

    Args:
        maps: (B, 4, s, s)
        hand: (B, s, s) share of each cell that shows the hand.
        place: (B, 3, s, s) place of the hand at rest, in units of `UNIT_M`; read where `hand` is
            more than a half.
    """
    shown = torch.nn.functional.binary_cross_entropy_with_logits(maps[:, 0], hand)
    inside = (hand > 0.5)[:, None]
    error = (maps[:, 1:] - place).abs() * inside
    return shown + error.sum() / (3 * inside.sum()).clamp_min(1)
