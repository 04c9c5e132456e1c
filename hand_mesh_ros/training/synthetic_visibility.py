"""Which vertices and keypoints of a rendered hand its image shows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from hand_mesh_ros.conventions import JOINT_PARENTS
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.rasterizer import Raster

_SKIN_TOLERANCE_M = 0.003
_FLESH_M = 0.035
"""A keypoint lies no deeper than this below skin that shows it."""


def project(points_m: Tensor, K: Tensor) -> Tensor:
    """(N, P, 2) px of (N, P, 3) points by (N, 3, 3) cameras."""
    flat = points_m[..., :2] / points_m[..., 2:].clamp_min(1e-3)
    return flat * K[:, None, [0, 1], [0, 1]] + K[:, None, :2, 2]


def in_image(px: Tensor, inside: Tensor) -> Tensor:
    """(N, P) bool of (N, P, 2) px: on a pixel that is `inside` (N, H, W) bool."""
    height, width = inside.shape[1:]
    x, y = px.round().long().unbind(-1)
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return within & _at(inside, x, y)


def vertex_visibility(
    vertices_m: Tensor, normals: Tensor, px: Tensor, raster: Raster, inside: Tensor
) -> Tensor:
    """(N, V) bool: turned to the camera, in the image, and nothing lies before it."""
    facing = (normals * vertices_m).sum(-1) < 0
    # Within a pixel to all sides, since depth changes from pixel to pixel on slopes.
    far = raster.depth.clamp_max(1e3)[:, None]
    farthest = max_pool2d(far, 3, stride=1, padding=1)[:, 0]
    x, y = px.round().long().unbind(-1)
    open_to = vertices_m[..., 2] < _at(farthest, x, y) + _SKIN_TOLERANCE_M
    return facing & open_to & in_image(px, inside)


def keypoint_visibility(
    keypoints_m: Tensor, px: Tensor, raster: Raster, shows: Tensor, inside: Tensor
) -> Tensor:
    """(N, 21) bool: the image shows skin over it, of its own bone or the next ones.

    Args:
        keypoints_m: (N, 21, 3)
        px: (N, 21, 2)
        raster: of the scene.
        shows: (21, F + 1) of `skin_over_keypoints`.
        inside: (N, H, W) bool, pixels of the camera's image.
    """
    found = torch.zeros(px.shape[:2], dtype=torch.bool, device=px.device)
    keypoint = torch.arange(21, device=px.device)
    x, y = px.round().long().unbind(-1)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            face, depth = _at(raster.face_id, x + dx, y + dy), _at(raster.depth, x + dx, y + dy)
            near = (keypoints_m[..., 2] - depth).abs() < _FLESH_M
            found |= shows[keypoint, face] & near  # face -1 is the last column: background
    return found & in_image(px, inside)


def covered_by_others(visible: Tensor, px: Tensor, raster: Raster, first_other: int) -> Tensor:
    """(N, P) bool: what is seen in place of hidden points is neither this hand nor its arm.

    Args:
        visible: (N, P) bool of those functions.
        px: (N, P, 2)
        raster: of the scene.
        first_other: the first of the scene's faces that belong to other things.
    """
    x, y = px.round().long().unbind(-1)
    return ~visible & (_at(raster.face_id, x, y) >= first_other)


def skin_over_keypoints(model: HandModel, forearm_faces: int, all_faces: int) -> np.ndarray:
    """(21, F + 1) bool: whether a face of the scene is skin over a keypoint; last: background.

    Args:
        model: its faces are the scene's first.
        forearm_faces: how many follow them.
        all_faces: F of the scene.
    """
    owner = model.skinning_weights[model.faces].mean(1).argmax(1)  # (F,)
    owner = np.concatenate([owner, np.zeros(forearm_faces, int)])
    parent = np.array(JOINT_PARENTS)
    joint = model.keypoint_regressors["anatomical"].joint[:, None]  # (21, 1)
    related = (owner == joint) | (owner == parent[joint]) | (parent[owner] == joint)
    shows = np.zeros((21, all_faces + 1), bool)
    shows[:, : len(owner)] = related
    return shows


def _at(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, P) values of an (N, H, W) image at (N, P) pixels, or at the nearest of its own."""
    height, width = image.shape[1:]
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return image.flatten(1).gather(1, index)
