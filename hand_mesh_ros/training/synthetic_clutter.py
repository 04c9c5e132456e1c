"""Clutter behind hands: rows of sharp-edged things, as shelves, desks, cables and leaves have them.

Two sheets of cells lie over the picture, one coarse and one fine, turned, sheared row by row and
sometimes bent; a cell has a box or a ball in it, or nothing. No loop over things.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hand_mesh_ros.training.synthetic_dice import Dice

_CELLS = ((0.8, 3.5), (3.0, 14.0))
"""Fewest and most cells over half the picture, of the coarse sheet and the fine one."""
_TABLE = 16
"""Different rows, and different things in one; then they come again. A power of two."""


def add_clutter(image: Tensor, share: float, dice: Dice) -> Tensor:
    """(N, 3, S, S) sRGB, a share of the pictures with things over what was there."""
    chosen = dice.chance(share).nonzero()[:, 0]
    if len(chosen) == 0:
        return image
    some = image[chosen]
    for k, cells in enumerate(_CELLS):
        some = _add_sheet(some, cells, dice.stream(f"sheet {k}").of(len(chosen)))
    return image.index_copy(0, chosen, some)


def _add_sheet(image: Tensor, cells: tuple[float, float], dice: Dice) -> Tensor:
    """Things of one size over (M, 3, S, S) pictures; M is that of the dice."""
    size = image.shape[-1]
    u, v, px = _sheet_coordinates(size, cells, dice.stream("place"))
    row = v.floor()
    of_row = (row.long() & (_TABLE - 1)).flatten(1)  # (M, S S)
    rows = dice.stream("rows")
    shift, stretch = rows.uniform(0.0, 8.0, _TABLE), rows.uniform(0.7, 1.4, _TABLE)
    u = (u.flatten(1) * stretch.gather(1, of_row) + shift.gather(1, of_row)).view_as(u)
    column = u.floor()
    first = _TABLE * _TABLE * torch.arange(dice.n, device=dice.device)
    cell = of_row * _TABLE + (column.long().flatten(1) & (_TABLE - 1)) + first[:, None]
    things = _things(dice.stream("things"))  # (10, M T T)
    found = things.index_select(1, cell.flatten()).view(len(things), *u.shape)  # (10, M, S, S)
    color = found[:3].transpose(0, 1)
    half_u, half_v, ball, shade_u, shade_v, label, present = found[3:]

    u, v = u.sub_(column).sub_(0.5), v.sub_(row).sub_(0.5)
    to_u, to_v = u.abs().div_(half_u), v.abs().div_(half_v)
    shade = (label * (to_v < 0.45)).addcmul_(shade_u, u).addcmul_(shade_v, v).add_(1.0)
    distance = torch.where(ball > 0, torch.hypot(to_u, to_v), torch.maximum(to_u, to_v))
    edge_px = (1.0 - distance).mul_(torch.minimum(half_u, half_v)).div_(px)
    cover = edge_px.add_(0.5).clamp_(0.0, 1.0).mul_(present)
    return torch.lerp(image, (color * shade[:, None]).clamp_(0.0, 1.0), cover[:, None])


def _sheet_coordinates(
    size: int, cells: tuple[float, float], dice: Dice
) -> tuple[Tensor, Tensor, Tensor]:
    """(M, S, S) column and row of each pixel in units of cells, and (M, 1, 1) a pixel's length."""
    ramp = torch.linspace(-1.0, 1.0, size, device=dice.device)
    y, x = ramp[:, None], ramp
    angle = dice.uniform(0.0, 6.2832, 1, 1)
    bend = 0.15 * dice.uniform(0.0, 1.0, 1, 1, 1) * dice.chance(0.5, 1, 1, 1) * dice.normal(2, 6, 6)
    bend = interpolate(bend, (size, size), mode="bilinear")
    low, high = cells
    number = low * (high / low) ** dice.uniform(0.0, 1.0, 1, 1)
    squeeze = (0.5 * dice.normal(1, 1)).clamp(-1.0, 1.0).exp()
    u = (angle.cos() * x + angle.sin() * y + bend[:, 0]) * number * squeeze
    v = (angle.cos() * y - angle.sin() * x + bend[:, 1]) * number / squeeze
    phase = dice.uniform(0.0, 8.0, 2, 1, 1)
    px = 2.0 / size * number * torch.maximum(squeeze, 1.0 / squeeze)
    return u + phase[:, 0], v + phase[:, 1], px


def _things(dice: Dice) -> Tensor:
    """(10, M T T) RGB, half sizes in cells, ball or box, shading to both sides, label, presence."""
    grid = (_TABLE, _TABLE, 1)
    grey = dice.uniform(-0.05, 1.05, *grid)
    vivid = 0.02 + 0.2 * dice.uniform(0.0, 1.0, *grid) ** 5
    color = grey + vivid * dice.normal(_TABLE, _TABLE, 3)
    # Things that lie together are often alike.
    common = dice.uniform(0.0, 1.0, 1, 1, 1) + 0.06 * dice.normal(1, 1, 3)
    color = torch.lerp(color, common, dice.uniform(0.0, 0.85, 1, 1, 1)).clamp(0.0, 1.0)
    # Beyond half a cell they touch, and a row becomes a rail or a cable.
    usual = dice.uniform(0.1, 0.6, 1, 1, 2)
    half = (usual * dice.uniform(0.6, 1.2, _TABLE, _TABLE, 2)).clamp_min(0.03)
    ball = dice.chance(0.5, 1, 1, 1) * dice.chance(0.6, *grid)
    shading = dice.uniform(-0.7, 0.7, _TABLE, _TABLE, 2)
    label = dice.chance(0.3, *grid) * dice.uniform(-0.7, 0.7, *grid)
    crowd = dice.uniform(-0.4, 1.0, 1, 1, 1)  # some sheets are empty
    present = (dice.uniform(0.0, 1.0, *grid) < crowd).float()
    things = torch.cat([color, half, ball, shading, label, present], dim=3)
    return things.flatten(0, 2).T.contiguous()
