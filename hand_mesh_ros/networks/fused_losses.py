"""Losses of the fused network, after every correction.

Lengths are in units of `UNIT_M` and landmarks in crop units, all are means. Meshes are compared
about their own middle: where the wrist is, the landmarks of the whole hand say best.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hand_mesh_ros.networks.fused import FusedStep
from hand_mesh_ros.networks.handmim import UNIT_M
from hand_mesh_ros.networks.handmim_losses import HandTruth
from hand_mesh_ros.networks.loss_weights import check_loss_weights
from hand_mesh_ros.networks.procrustes_distance import procrustes_distances


@dataclass(frozen=True)
class FusedLossWeights:
    """Weight of each term; 0 leaves it out."""

    rotations: float = 0.3
    shape: float = 0.01
    vertices: float = 5.0
    keypoints_3d: float = 5.0
    posed: float = 5.0
    """Keypoints and vertices after the best turn, size and shift: what is wrong with the pose."""
    landmarks: float = 5.0
    deviations: float = 0.02
    """Gaussian likelihood of the keypoints' errors; only deviations learn from it."""

    def __post_init__(self) -> None:
        check_loss_weights(self)


def fused_losses(
    steps: list[FusedStep], truth: HandTruth, weights: FusedLossWeights
) -> dict[str, Tensor]:
    """Weighted terms by name, means over the steps; those of weight 0 are left out."""

    def of_step(name: str, step: FusedStep) -> Tensor:
        if name == "rotations":
            return ((step.rotations - truth.rotations) ** 2).sum((2, 3)).mean()
        if name == "shape":
            return ((step.shape - truth.shape) ** 2).mean()
        if name == "vertices":
            return _centred(step.vertices_m - truth.vertices_m).abs().mean() / UNIT_M
        if name == "landmarks":
            return (step.keypoints_uv - truth.keypoints_uv).abs().mean()
        if name == "posed":
            pairs = (step.keypoints_m, truth.keypoints_m), (step.vertices_m, truth.vertices_m)
            off = [procrustes_distances(a / UNIT_M, b / UNIT_M).mean() for a, b in pairs]
            return torch.stack(off).mean()
        off_m = _centred(step.keypoints_m - truth.keypoints_m)
        if name == "keypoints_3d":
            return off_m.abs().mean() / UNIT_M
        squared = (off_m.detach() ** 2).mean(2)  # (B, 21) of one axis
        return (step.keypoint_stddev_m.log() + 0.5 * squared / step.keypoint_stddev_m**2).mean()

    return {
        name: weight * torch.stack([of_step(name, step) for step in steps]).mean()
        for name, weight in vars(weights).items()
        if weight > 0.0
    }


def _centred(points: Tensor) -> Tensor:
    return points - points.mean(1, keepdim=True)
