"""Every crop of a batch a second time: turned about its middle, scaled, in other colours.

The crop's camera looks straight at the middle, so the turn is an exact turn of the camera and the
scale an exact change of its lens: labels of the second view are those of the first, moved.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from hand_mesh_ros.training.synthetic_camera import jitter_color
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.task import Batch

R_SECOND_FIRST, A_SECOND_FIRST = "R_second_first", "A_second_first"
"""Keys: (B, 3, 3) turns points of the first view, (B, 2, 3) takes its uv into the second."""


def with_second_views(
    batch: Batch, dice: Dice, *, rotation_deg: float, scale: tuple[float, float], color: float
) -> Batch:
    """A batch of 2 B crops: the B given ones, then each once more.

    Args:
        batch: B crops, keys of `engine_crops.py`.
        dice: of B images; source of all randomness.
        rotation_deg: largest turn.
        scale: of what the crop shows, lowest and highest.
        color: strength of the changes of colour, 0 for none.

    Returns:
        All keys of the batch with 2 B rows (which vertices are visible is said of the first view),
        and the two keys above with B rows.
    """
    limit = math.radians(rotation_deg)
    angle, s = dice.uniform(-limit, limit), dice.uniform(*scale)
    R = _turns(angle)
    A = torch.zeros(dice.n, 2, 3, device=dice.device)
    A[:, :, :2] = s[:, None, None] * R[:, :2, :2]
    A[:, :, 2] = 0.5 - 0.5 * A[:, :, :2].sum(2)  # the middle, (0.5, 0.5), stays
    second = {name: _moved(name, values, R, A, s) for name, values in batch.items()}
    if color > 0:
        jittered = jitter_color(second["image"], color, dice.stream("second color"))
        second["image"] = jittered.clamp(0.0, 1.0)
    both = {name: torch.cat([values, second[name]]) for name, values in batch.items()}
    return {**both, R_SECOND_FIRST: R, A_SECOND_FIRST: A}


def _moved(name: str, values: Tensor, R: Tensor, A: Tensor, scale: Tensor) -> Tensor:
    if name == "image":
        return _warped(values, R, scale)
    if name == "mask":
        return _warped(values[:, None].float(), R, scale)[:, 0] >= 0.5
    if name == "root_m":
        return torch.einsum("bij,bj->bi", R, values)
    if name.endswith("_m"):
        return values @ R.transpose(1, 2)
    if name.endswith("_uv"):
        return _affine(values, A)
    if name == "landmark_cue":
        return torch.cat([_affine(values[..., :2], A), values[..., 2:]], dim=-1)
    if name == "rotations":
        return torch.cat([(R @ values[:, 0])[:, None], values[:, 1:]], dim=1)
    if name == "K_crop":
        K = values.clone()
        K[:, :2, :2] *= scale[:, None, None]
        return K
    return values


def _affine(uv: Tensor, A: Tensor) -> Tensor:
    return uv @ A[:, :, :2].transpose(1, 2) + A[:, None, :, 2]


def _warped(images: Tensor, R: Tensor, scale: Tensor) -> Tensor:
    """(B, C, S, S) images turned and scaled about their middle; black where nothing was seen."""
    back = torch.zeros(len(images), 2, 3, device=images.device)
    back[:, :, :2] = R[:, :2, :2].transpose(1, 2) / scale[:, None, None]
    grid = affine_grid(back, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _turns(angle: Tensor) -> Tensor:
    """(B, 3, 3) rotations about the optical axis."""
    c, s = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
