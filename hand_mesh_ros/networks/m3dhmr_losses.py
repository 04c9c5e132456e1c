"""Losses of M3DHMR (section 3.4, eq. 7), and of the pre-training of its encoder.

Lengths are in units of `UNIT_M` and landmarks in crop units, all are means: so MobRecon's weights
apply, the paper prints none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hand_mesh_ros.networks.layers.gaussian_maps import gaussian_maps
from hand_mesh_ros.networks.loss_weights import check_loss_weights
from hand_mesh_ros.networks.m3dhmr import UNIT_M


@dataclass(frozen=True)
class M3DHMRLossWeights:
    """Weight of each term; 0 leaves it out."""

    mesh: float = 1.0
    pose2d: float = 1.0
    """Landmarks of the last stack."""
    stack_pose2d: float = 1.0
    """Landmarks of the stacks before it."""
    normal: float = 0.1
    edge: float = 1.0
    con3d: float = 1.0
    """Consistency of two views of the same hand; needs `TwoViews`."""
    con2d: float = 1.0

    def __post_init__(self) -> None:
        check_loss_weights(self)


@dataclass(frozen=True, eq=False)
class TwoViews:
    """How the second half of a batch shows the hands of its first half again."""

    R_second_first: Tensor
    """(B / 2, 3, 3) rotates vertices of the first view into the second."""
    A_second_first: Tensor
    """(B / 2, 2, 3) takes landmarks of the first view into the second, crop units."""


def m3dhmr_losses(
    outputs: dict[str, Tensor],
    *,
    vertices_m: Tensor,
    keypoints_uv: Tensor,
    faces: Tensor,
    weights: M3DHMRLossWeights,
    views: TwoViews | None = None,
) -> dict[str, Tensor]:
    """Weighted terms by name; those of weight 0 are left out, and the views' where there are none.

    Args:
        outputs: of the network.
        vertices_m: (B, V, 3) truth, wrist at the origin.
        keypoints_uv: (B, 21, 2) truth, crop units.
        faces: (F, 3)
        weights: of the terms.
        views: the batch is B / 2 hands twice; None for B hands once.
    """
    mesh, uv = outputs["vertices_m"], outputs["keypoints_uv"]
    earlier = outputs["stack_keypoints_uv"][:, :-1]  # (B, stacks - 1, 21, 2)
    terms = {
        "mesh": lambda: (mesh - vertices_m).abs().mean() / UNIT_M,
        "pose2d": lambda: (uv - keypoints_uv).abs().mean(),
        "normal": lambda: normal_loss(mesh, vertices_m, faces),
        "edge": lambda: edge_loss(mesh, vertices_m, faces),
    }
    if earlier.shape[1]:
        terms["stack_pose2d"] = lambda: (earlier - keypoints_uv[:, None]).abs().mean()
    if views is not None:
        terms["con3d"] = lambda: consistency_3d(mesh, views)
        terms["con2d"] = lambda: consistency_2d(uv, views)
    return {
        name: getattr(weights, name) * term()
        for name, term in terms.items()
        if getattr(weights, name) > 0.0
    }


def pretraining_losses(
    outputs: dict[str, Tensor], *, keypoints_uv: Tensor, stddev: float, heatmap_weight: float = 10.0
) -> dict[str, Tensor]:
    """Heat-maps (squared error) and landmarks of all stacks, from `M3DHMR.forward_pretraining`.

    Args:
        outputs: of the network.
        keypoints_uv: (B, 21, 2) truth, crop units.
        stddev: of the true heat-maps' dots, crop units.
        heatmap_weight: the squared error is small, since most of a map is 0.
    """
    maps = outputs["stack_heatmaps"]
    truth = gaussian_maps(keypoints_uv, maps.shape[-1], stddev)[:, None]  # (B, 1, 21, S/4, S/4)
    uv_error = outputs["stack_keypoints_uv"] - keypoints_uv[:, None]
    return {
        "heatmap": heatmap_weight * ((maps - truth) ** 2).mean(),
        "pose2d": uv_error.abs().mean(),
    }


def normal_loss(mesh: Tensor, truth: Tensor, faces: Tensor) -> Tensor:
    """Mean cosine between predicted edges and the true normals of their faces; 0 is right."""
    edges = torch.nn.functional.normalize(_edges(mesh, faces), dim=-1)  # (B, F, 3, 3)
    a, b, _ = _edges(truth, faces).unbind(2)
    normals = torch.nn.functional.normalize(torch.linalg.cross(a, b), dim=-1)  # (B, F, 3)
    return (edges * normals[:, :, None]).sum(-1).abs().mean()


def edge_loss(mesh: Tensor, truth: Tensor, faces: Tensor) -> Tensor:
    """Mean difference of edge lengths, in units of `UNIT_M`."""
    lengths, true_lengths = _edges(mesh, faces).norm(dim=-1), _edges(truth, faces).norm(dim=-1)
    return (lengths - true_lengths).abs().mean() / UNIT_M


def consistency_3d(mesh: Tensor, views: TwoViews) -> Tensor:
    """Mean difference of the two views' meshes in the second one's axes, in units of `UNIT_M`."""
    first, second = mesh.chunk(2)
    return (first @ views.R_second_first.transpose(1, 2) - second).abs().mean() / UNIT_M


def consistency_2d(uv: Tensor, views: TwoViews) -> Tensor:
    """Mean difference of the two views' landmarks in the second crop, crop units."""
    first, second = uv.chunk(2)
    A = views.A_second_first
    return (first @ A[:, :, :2].transpose(1, 2) + A[:, None, :, 2] - second).abs().mean()


def _edges(vertices: Tensor, faces: Tensor) -> Tensor:
    """(B, F, 3, 3): the three edges of every face, each from one corner to the next."""
    corners = vertices.index_select(1, faces.flatten()).unflatten(1, tuple(faces.shape))
    return corners.roll(-1, dims=2) - corners  # (B, F, 3 edges, xyz)
