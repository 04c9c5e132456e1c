"""Two views of each image with known geometry, and which patches the student does not see."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from hand_mesh_ros.networks.layers.pseudo_keypoints import ViewGeometry
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.typed_config import check_ranges, option

_GREY = (0.299, 0.587, 0.114)
_BLUR_REACH = 4
_TRIES = 10


@dataclass(frozen=True)
class ViewConfig:
    """How far the two views of an image are apart; colours as in iBOT, the paper prints none."""

    rotation_deg: float = option(45.0, "largest turn of a view", minimum=0.0, maximum=180.0)
    crop_area: tuple[float, float] = option((0.4, 1.0), "of a view, shares of the image")
    jitter_share: float = option(0.8, "of views whose colours change", minimum=0.0, maximum=1.0)
    brightness: float = option(0.4, "factor 1 - x to 1 + x", minimum=0.0, maximum=1.0)
    contrast: float = option(0.4, "factor 1 - x to 1 + x", minimum=0.0, maximum=1.0)
    saturation: float = option(0.2, "factor 1 - x to 1 + x", minimum=0.0, maximum=1.0)
    hue: float = option(0.1, "turn of the colours, parts of a circle", minimum=0.0, maximum=0.5)
    grey_share: float = option(0.2, "of views without colour", minimum=0.0, maximum=1.0)
    blur_share_first: float = option(1.0, "of first views", minimum=0.0, maximum=1.0)
    blur_share_second: float = option(0.1, "of second views", minimum=0.0, maximum=1.0)
    solarise_share: float = option(0.2, "of second views", minimum=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        check_ranges(self)
        low, high = self.crop_area
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"crop_area is {self.crop_area}, expected 0 < low <= high <= 1")


@dataclass(frozen=True)
class MaskConfig:
    """How much of a view the student does not see."""

    share: tuple[float, float] = option((0.1, 0.5), "of hidden patches, drawn for each view")
    min_aspect: float = option(
        0.3, "smallest height over width of a block, and the inverse", minimum=0.01, maximum=1.0
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        low, high = self.share
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"share is {self.share}, expected 0 < low <= high <= 1")


def draw_geometry(config: ViewConfig, dice: Dice) -> ViewGeometry:
    """Random turns and crops; the crop's centre keeps it inside of the image before the turn."""
    limit = math.radians(config.rotation_deg)
    angle = dice.uniform(-limit, limit)
    cosine, sine = angle.cos(), angle.sin()
    R = torch.stack([cosine, -sine, sine, cosine], dim=-1).view(-1, 2, 2)
    scale = dice.uniform(*config.crop_area).sqrt()
    centre = (1.0 - scale)[:, None] * dice.uniform(-1.0, 1.0, 2)
    return ViewGeometry(R, centre, scale)


def cut_views(image: Tensor, geometry: ViewGeometry, size_px: int) -> Tensor:
    """(B, 3, size, size) views of (B, 3, H, H) images; black beyond their edges."""
    grid = affine_grid(geometry.theta(), [len(image), 3, size_px, size_px], align_corners=False)
    return grid_sample(image, grid, padding_mode="zeros", align_corners=False)


def change_colors(image: Tensor, config: ViewConfig, dice: Dice, *, second: bool) -> Tensor:
    """(B, 3, S, S) in [0, 1] with other light, colour and sharpness, as in iBOT but for the flip.

    Args:
        image: (B, 3, S, S) in [0, 1].
        config: strengths.
        dice: source of all randomness.
        second: the second view is blurred less often, and solarised now and then.
    """
    jitter = dice.stream("jitter")
    on = jitter.chance(config.jitter_share, 1, 1, 1)
    brightness = _factor(jitter, config.brightness)
    contrast = _factor(jitter, config.contrast)
    saturation = _factor(jitter, config.saturation)
    changed = image * brightness
    middle = _grey(changed).mean((2, 3), keepdim=True)
    changed = (middle + contrast * (changed - middle)).clamp(0.0, 1.0)
    grey = _grey(changed)
    changed = (grey + saturation * (changed - grey)).clamp(0.0, 1.0)
    changed = _turned_hue(changed, jitter.uniform(-config.hue, config.hue)).clamp(0.0, 1.0)
    image = torch.lerp(image, changed, on)
    image = torch.lerp(image, _grey(image), dice.stream("grey").chance(config.grey_share, 1, 1, 1))
    share = config.blur_share_second if second else config.blur_share_first
    image = _blurred(image, share, dice.stream("blur"))
    if second:
        on = dice.stream("solarise").chance(config.solarise_share, 1, 1, 1)
        image = torch.lerp(image, torch.where(image > 0.5, 1.0 - image, image), on)
    return image


def draw_masks(n: int, grid: int, config: MaskConfig, rng: np.random.Generator) -> np.ndarray:
    """(N, grid grid) bool, hidden patches in rectangular blocks (BEiT's way)."""
    masks = np.zeros((n, grid, grid), bool)
    for mask in masks:
        wanted = round(rng.uniform(*config.share) * grid * grid)
        _add_blocks(mask, wanted, config, rng)
    return masks.reshape(n, -1)


def _add_blocks(
    mask: np.ndarray, wanted: int, config: MaskConfig, rng: np.random.Generator
) -> None:
    """Hide `wanted` patches, in place; what no block fits into is hidden one by one."""
    grid = len(mask)
    log_aspect = math.log(config.min_aspect)
    smallest = (grid // 3) ** 2
    while (left := wanted - int(mask.sum())) > 0:
        for _ in range(_TRIES):
            area = rng.uniform(min(smallest, left), left)
            aspect = math.exp(rng.uniform(log_aspect, -log_aspect))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if not (1 <= height <= grid and 1 <= width <= grid):
                continue
            top, start = rng.integers(grid - height + 1), rng.integers(grid - width + 1)
            block = mask[top : top + height, start : start + width]
            if 0 < block.size - int(block.sum()) <= left:
                block[:] = True
                break
        else:
            free = np.flatnonzero(~mask)
            mask.flat[rng.choice(free, left, replace=False)] = True


def _factor(dice: Dice, strength: float) -> Tensor:
    return dice.uniform(max(1.0 - strength, 0.0), 1.0 + strength, 1, 1, 1)


def _grey(image: Tensor) -> Tensor:
    """(B, 1, S, S) lightness."""
    weights = image.new_tensor(_GREY).view(3, 1, 1)
    return (image * weights).sum(1, keepdim=True)


def _turned_hue(image: Tensor, turn: Tensor) -> Tensor:
    """Colours turned about the grey axis by (B,) parts of a full circle."""
    angle = 2.0 * math.pi * turn[:, None, None]
    axis = image.new_full((3,), 1.0 / math.sqrt(3.0))
    x, y, z = axis.tolist()
    K = image.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    eye = torch.eye(3, device=image.device)
    R = eye + angle.sin() * K + (1.0 - angle.cos()) * (K @ K)  # (B, 3, 3)
    return (R @ image.flatten(2)).view_as(image)


def _blurred(image: Tensor, share: float, dice: Dice) -> Tensor:
    """A Gaussian of 0.1 to 2 pixels at 224, on that share of the images."""
    stddev = dice.uniform(0.1, 2.0) * image.shape[-1] / 224.0
    # Almost nothing where it is off: one kernel for all.
    stddev = torch.where(dice.chance(share) > 0, stddev, torch.full_like(stddev, 1e-3))
    at = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=image.device, dtype=image.dtype)
    kernel = torch.softmax(-0.5 * (at / stddev[:, None]) ** 2, dim=1)  # (B, K)
    weights = kernel.repeat_interleave(3, 0)[:, None]  # (3 B, 1, K)
    padded = torch.nn.functional.pad(image, [_BLUR_REACH] * 4, mode="replicate")
    flat = padded.flatten(0, 1)[None]  # (1, 3 B, H, W)
    groups = flat.shape[1]
    flat = torch.nn.functional.conv2d(flat, weights[:, :, None], groups=groups)
    flat = torch.nn.functional.conv2d(flat, weights[..., None], groups=groups)
    return flat[0].view_as(image)
