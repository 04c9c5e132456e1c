"""What is behind the hands: painted clutter, or images of a folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from hand_mesh_ros.sources.base import SourceError
from hand_mesh_ros.sources.files import list_images
from hand_mesh_ros.sources.skin import skin_tone
from hand_mesh_ros.training.datasets.image_file import read_image
from hand_mesh_ros.training.synthetic_dice import Dice

_SHAPES = 9
_TILE = 16
_PICTURE_PX = 256
_MOST_PICTURES = 2000
_GRAIN_CELLS = (2, 4, 9, 20, 48)


def paint_backgrounds(size: int, dice: Dice) -> Tensor:
    """(N, 3, size, size) sRGB: gradients, noise of several scales, a pattern, soft shapes."""
    n = dice.n
    ramp = torch.linspace(-1.0, 1.0, size, device=dice.device)
    y, x = torch.meshgrid(ramp, ramp, indexing="ij")
    image = _gradient(x, y, dice.stream("gradient"))
    image = image + _grain(size, dice.stream("grain"))
    image = torch.lerp(image, *_pattern(x, y, dice.stream("pattern")))
    _add_shapes(image, x, y, dice.stream("shapes"))
    # Some rooms are dim or pale.
    contrast = dice.uniform(0.45, 1.05, 1, 1, 1)
    level = dice.uniform(0.2, 0.65, 1, 1, 1)
    return (level + contrast * (image - 0.5)).reshape(n, 3, size, size).clamp(0.0, 1.0)


def toward_hand(image: Tensor, drawn: Tensor, share: float, dice: Dice) -> Tensor:
    """Bring the mean colour of some backgrounds near the hand's: wood, sand, skin, its own light.

    Args:
        image: (N, 3, S, S) sRGB, the backgrounds.
        drawn: (N, 4, S, S) what is before them: sRGB times cover, and cover.
        share: of the pictures.
        dice: source of all randomness.
    """
    sums = drawn.sum((2, 3))  # (N, 4)
    hand = (sums[:, :3] / sums[:, 3:].clamp_min(1.0))[..., None, None]
    amount = dice.chance(share, 1, 1, 1) * dice.uniform(0.3, 0.9, 1, 1, 1)
    amount = amount * (sums[:, 3] >= 1.0).float()[:, None, None, None]
    return (image + amount * (hand - image.mean((2, 3), keepdim=True))).clamp(0.0, 1.0)


class PictureFolder:
    """Small copies of a folder's images, from which backgrounds are cut."""

    def __init__(self, folder: Path) -> None:
        """Read them.

        Raises:
            ValueError: no such folder, or no image in it.
        """
        if not folder.is_dir():
            raise ValueError(f"background_folder {folder}: no such folder; give one with images")
        try:
            paths = list_images(folder)
        except SourceError as error:
            raise ValueError(f"background_folder: {error}") from error
        self.pictures = torch.stack([_small(path) for path in paths[:_MOST_PICTURES]])

    def draw(self, size: int, dice: Dice) -> Tensor:
        """(N, 3, size, size) sRGB: random parts, turned a little and flipped."""
        self.pictures = self.pictures.to(dice.device)
        chosen = self.pictures[dice.index(len(self.pictures))].float() / 255.0
        half = dice.uniform(0.25, 0.7)  # of the picture's half side
        angle = 0.25 * dice.normal().clamp(-2.0, 2.0)
        flip = 1.0 - 2.0 * dice.chance(0.5)
        rows = torch.stack([half * angle.cos() * flip, -half * angle.sin(),
                            half * angle.sin() * flip, half * angle.cos()], -1)  # fmt: skip
        shift = dice.uniform(-1.0, 1.0, 2, 1) * (1.0 - half[:, None, None])
        theta = torch.cat([rows.view(-1, 2, 2), shift], dim=2)
        shape = [dice.n, 3, size, size]
        grid = torch.nn.functional.affine_grid(theta, shape, align_corners=False)
        return grid_sample(chosen, grid, padding_mode="reflection", align_corners=False)


def _small(path: Path) -> Tensor:
    image = read_image(path, upright=True)
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side > _PICTURE_PX else cv2.INTER_LINEAR
    square = cv2.resize(square, (_PICTURE_PX, _PICTURE_PX), interpolation=interpolation)
    return torch.from_numpy(square).permute(2, 0, 1)


def _colors(dice: Dice, *shape: int) -> Tensor:
    """(N, *shape, 3) sRGB: mostly muted, some saturated, some near black or white."""
    grey = dice.uniform(-0.05, 1.05, *shape, 1)
    vivid = 0.03 + 0.22 * dice.uniform(0.0, 1.0, *([1] * len(shape)), 1) ** 4
    return (grey + vivid * dice.normal(*shape, 3)).clamp(0.0, 1.0)


def _gradient(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    """(N, 3, S, S) from one colour to another, in any direction."""
    direction = dice.direction(2)[..., None, None]  # (N, 2, 1, 1)
    place = 0.5 + 0.5 * (direction[:, 0] * x + direction[:, 1] * y)
    start = _colors(dice)
    end = start + 0.25 * dice.normal(3)
    return torch.lerp(start[..., None, None], end[..., None, None], place[:, None])


def _grain(size: int, dice: Dice) -> Tensor:
    """(N, 3, S, S) noise of several scales about 0: patches, smears, texture."""
    total: Tensor | float = 0.0
    for cells in _GRAIN_CELLS:
        tall, wide = cells + 2, cells + 2
        values = dice.normal(1, tall, wide) + 0.15 * dice.normal(3, tall, wide)
        # Quadratic in the draw: most are faint, a few are strong.
        strength = 0.16 * dice.uniform(0.0, 1.0, 1, 1, 1) ** 3 + 0.008
        total = total + interpolate(strength * values, (size, size), mode="bilinear")
    return total  # pyright: ignore[reportReturnType]


def _pattern(x: Tensor, y: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """(N, 3, S, S) a tile repeated over a tilted plane, and (N, 1, S, S) how much of it."""
    n = dice.n
    kind = dice.index(5)
    coarse = _colors(dice, 4, 4)
    fine = coarse.repeat_interleave(_TILE // 4, 1).repeat_interleave(_TILE // 4, 2)
    steps = torch.arange(_TILE, device=dice.device)
    speckled = _colors(dice, _TILE, _TILE)
    soft = torch.lerp(fine, speckled, 0.2)
    striped = _colors(dice, _TILE, 1).expand(n, _TILE, _TILE, 3)  # shelf, keyboard, blind
    spots = ((steps[:, None] - 7.5) ** 2 + (steps - 7.5) ** 2 < 22).float()[None, ..., None]
    spotted = torch.lerp(_colors(dice, 1, 1), torch.lerp(soft, speckled, 0.5), spots)
    checks = ((steps[:, None] // 8 + steps // 8) % 2).float()[None, ..., None]
    checked = torch.lerp(_colors(dice, 1, 1), _colors(dice, 1, 1), checks)
    tiles = torch.stack([soft, speckled, striped, spotted, checked], dim=1)  # (N, 5, 16, 16, 3)
    tile = tiles[torch.arange(n, device=dice.device), kind]

    angle = dice.uniform(0.0, 6.2832, 1, 1)
    cosine, sine = angle.cos(), angle.sin()
    tilt = 1.0 + 0.6 * dice.uniform(0.0, 1.0, 1, 1) * (cosine * y + sine * x)
    period = dice.uniform(-2.2, 0.3, 1, 1).exp()
    u = ((cosine * x + sine * y) / (period * tilt)) % 1.0
    v = ((-sine * x + cosine * y) / (period * tilt)) % 1.0
    # One more row and column, equal to the first, so that a tile joins the next smoothly.
    tile = pad(tile.permute(0, 3, 1, 2), [0, 1, 0, 1], mode="circular")
    grid = 2.0 * torch.stack([u, v], dim=-1) - 1.0
    pixels = grid_sample(tile, grid, align_corners=True)
    amount = dice.chance(0.35, 1, 1, 1) * dice.uniform(0.2, 1.0, 1, 1, 1)
    return pixels, amount.expand(-1, 1, *x.shape)


def _add_shapes(image: Tensor, x: Tensor, y: Tensor, dice: Dice) -> None:
    """Rounded boxes, bars and ellipses over it, in place: furniture, people, cables."""
    tones = np.stack([skin_tone(a) / 255.0 for a in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)])
    skins = torch.tensor(tones, dtype=torch.float32, device=dice.device)
    count = dice.index(_SHAPES + 1)
    for k in range(_SHAPES):
        middle = dice.uniform(-1.2, 1.2, 2, 1, 1)
        angle = dice.chance(0.6, 1, 1) * dice.uniform(0.0, 3.1416, 1, 1)
        cosine, sine = angle.cos(), angle.sin()
        dx, dy = x - middle[:, 0], y - middle[:, 1]
        size = dice.uniform(-3.2, 0.1, 2, 1, 1).exp()
        # A third are bars across the picture, with light along their edges like a profile.
        bar = dice.chance(0.35, 1, 1)
        u = ((cosine * dx + sine * dy) / (size[:, 0] + 3.0 * bar)).abs()
        v = (cosine * dy - sine * dx) / (0.4 * size[:, 1] + 0.02)
        ball = dice.chance(0.35, 1, 1)
        distance = torch.lerp(torch.maximum(u, v.abs()), (u * u + v * v).sqrt(), ball)
        width_px = dice.uniform(-4.2, -0.8, 1, 1).exp() / size.amin(1)
        cover = ((1.0 - distance) / width_px + 0.5).clamp(0.0, 1.0)
        cover = cover * (k < count)[:, None, None]
        flesh = skins[dice.index(len(skins))] * dice.uniform(0.5, 1.1, 1)
        color = torch.where(dice.chance(0.25, 1) > 0, flesh, _colors(dice))[..., None, None]
        shading = 1.0 + dice.uniform(-0.35, 0.35, 1, 1) * v.clamp(-1.0, 1.0)
        image.lerp_(color * shading[:, None], cover[:, None].expand_as(image))
