"""Things before a hand or in it: boxes, balls, cylinders, cards and what lies between them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice

CELLS = 4
"""Cells along the edges of the cube that all are made of."""
ABSENT_M = -1.0
"""Depth of what is not there: behind the camera, so the rasteriser leaves it out."""
_PALM_TO_SKIN_M = 0.012
_PAD_TO_SKIN_M = 0.007
_PAD = 0.25
"""A finger's pad is so much of its last bone short of the tip."""
_KINDS_M = (
    ((0.0035, 0.006), (0.0035, 0.006), (0.045, 0.09)),
    ((0.0, 1.0), (0.9, 1.1), (0.9, 1.1)),
    ((0.002, 0.006), (0.02, 0.03), (0.03, 0.055)),
    ((0.0, 1.0), (0.6, 1.2), (1.0, 2.5)),
)
"""Half sizes from thumb to finger, across and along: of a pen, a ball, a card or phone, a cup or
box. A first size of 0 to 1 means: as large as the fingers' gap, the others in proportion."""
_SMALLEST_M, _LARGEST_M = 0.004, 0.045


def held_objects(cube: Tensor, keypoints_m: Tensor, config: SyntheticConfig, dice: Dice) -> Tensor:
    """(N, C, 3) m, something across the palm of each hand, or absent.

    Args:
        cube: (C, 3) of `cube_grid`.
        keypoints_m: (N, 21, 3) right hands, camera frame.
        config: has its share.
        dice: source of all randomness.
    """
    wrist, index, little = (keypoints_m[:, k] for k in (0, 5, 17))
    across = normalize(little - index, dim=-1)
    normal = normalize(torch.linalg.cross(index - wrist, little - wrist), dim=-1)
    palm = 0.35 * wrist + 0.65 * keypoints_m[:, [5, 9, 13, 17]].mean(1)
    thick = dice.uniform(0.006, 0.035, 1)
    size = torch.cat([thick, thick * dice.uniform(0.6, 1.6, 1), dice.uniform(0.02, 0.11, 1)], 1)
    centre = palm + (_PALM_TO_SKIN_M + thick) * normal + 0.015 * dice.normal(1) * across
    axis = normalize(across + 0.35 * dice.normal(3), dim=-1)
    return _placed(cube, centre, axis, normal, size, dice.chance(config.held_object), dice)


def pinched_objects(
    cube: Tensor, keypoints_m: Tensor, config: SyntheticConfig, dice: Dice
) -> Tensor:
    """(N, C, 3) m, something between thumb and a finger, as thick as their gap; see `held_objects`.

    Thin things lie at the thumb.
    """
    rows = torch.arange(dice.n, device=dice.device)
    tip = torch.tensor([8, 12, 16], device=dice.device)[dice.index(3)]
    thumb = torch.lerp(keypoints_m[:, 4], keypoints_m[:, 3], _PAD)
    finger = torch.lerp(keypoints_m[rows, tip], keypoints_m[rows, tip - 1], _PAD)
    toward = finger - thumb
    gap = 0.5 * toward.norm(dim=1, keepdim=True) - _PAD_TO_SKIN_M
    gap = gap.clamp(_SMALLEST_M, _LARGEST_M)
    toward = normalize(toward, dim=-1)

    ranges = cube.new_tensor(_KINDS_M)[dice.index(len(_KINDS_M))]  # (N, 3, 2)
    half = torch.lerp(ranges[..., 0], ranges[..., 1], dice.uniform(0.0, 1.0, 3))
    fills = ranges[:, :1, 1] == 1.0
    half = torch.where(fills, gap * torch.cat([torch.ones_like(gap), half[:, 1:]], 1), half)
    axis = normalize(torch.linalg.cross(toward, dice.normal(3)), dim=-1)
    centre = thumb + (_PAD_TO_SKIN_M + half[:, :1]) * toward
    across = torch.linalg.cross(axis, toward)
    return _placed(cube, centre, axis, across, half, dice.chance(config.pinched_object), dice)


def passing_objects(
    cube: Tensor, keypoints_m: Tensor, config: SyntheticConfig, dice: Dice
) -> Tensor:
    """(N, C, 3) m, something between each hand and the camera, or absent; see `held_objects`."""
    rows = torch.arange(dice.n, device=dice.device)
    aim = keypoints_m[rows, dice.index(21)] + 0.02 * dice.normal(3)
    # Along the ray to what it hides, so that it does hide it.
    centre = aim * (1.0 - dice.uniform(0.03, 0.1, 1) / aim[:, 2:].clamp_min(0.2))
    size = torch.cat([dice.uniform(0.004, 0.02, 2), dice.uniform(0.01, 0.1, 1)], dim=1)
    axis, other = dice.direction(), dice.direction()
    return _placed(cube, centre, axis, other, size, dice.chance(config.passing_object), dice)


def _placed(
    cube: Tensor,
    centre: Tensor,
    axis: Tensor,
    other: Tensor,
    half_size_m: Tensor,
    present: Tensor,
    dice: Dice,
) -> Tensor:
    """(N, C, 3) m: superquadrics with their third axis along `axis`."""
    # Exponent 2 makes it round, 12 nearly square, within the section and along the axis.
    section, along = (2.0 + 10.0 * dice.chance(0.5, 1) for _ in range(2))  # (N, 1)
    flat = cube[:, :2].abs()[None]  # (1, C, 2)
    ring = (flat ** section[..., None]).sum(-1).clamp_min(1e-12) ** (1.0 / section)  # (N, C)
    norm = (ring**along + cube[:, 2].abs() ** along) ** (1.0 / along)
    points = cube / norm[..., None] * half_size_m[:, None]  # (N, C, 3)
    x = normalize(torch.linalg.cross(other, axis), dim=-1)
    R = torch.stack([x, torch.linalg.cross(axis, x), axis], dim=-1)  # (N, 3, 3)
    world = points @ R.transpose(1, 2) + centre[:, None]
    gone = world.new_tensor([0.0, 0.0, ABSENT_M])
    return torch.where(present[:, None, None] > 0, world, gone)
