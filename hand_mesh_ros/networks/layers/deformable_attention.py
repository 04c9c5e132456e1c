"""Deformable attention over several maps (Zhu et al. 2021), of `grid_sample` and products alone.

Each token looks at a few points about a place of its own, at every level; where they lie and how
much each counts is read off the token. No special kernel is needed, so it exports and compiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_START_CELLS = 1.0
"""The first points lie on rings of 1, 2, ... times this many cells of the finest map."""


class DeformableAttention(nn.Module):
    """Tokens gather from maps, near their reference points."""

    def __init__(self, width: int, heads: int, *, levels: int, points: int, finest: int) -> None:
        """Build it.

        Args:
            width: C of tokens and maps.
            heads: H, each with its own points.
            levels: L maps.
            points: P a head and level.
            finest: cells a side of the finest map: the unit of the first offsets.
        """
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.value = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(levels))
        self.offset = nn.Linear(width, heads * levels * points * 2)
        self.weight = nn.Linear(width, heads * levels * points)
        self.proj = nn.Linear(width, width)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        with torch.no_grad():
            self.offset.bias.copy_(_rings(heads, levels, points, finest).flatten())

    def values(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C, h, w) of every level: made once for all tokens that look at the same maps.

        Args:
            maps: L of (B, C, h, w).
        """
        return [layer(level) for layer, level in zip(self.value, maps, strict=True)]

    def forward(self, tokens: Tensor, places_uv: Tensor, values: Sequence[Tensor]) -> Tensor:
        """(B, N, C) what each token gathers.

        Args:
            tokens: (B, N, C)
            places_uv: (B, N, 2) crop units: (0, 0) is the outer corner of the top left pixel, (1,
                1) of the bottom right one. Points outside of the crop see nothing.
            values: of `values`.
        """
        # Letters: B images, N tokens, H heads, L levels, P points, C width, E width of a head.
        sizes = (self.heads, self.levels, self.points)
        offset = self.offset(tokens).unflatten(2, (*sizes, 2))  # (B, N, H, L, P, 2)
        at = places_uv[:, :, None, None, None] + offset
        # align_corners=False puts -1 and 1 on the outer corners, where uv has 0 and 1.
        grid = (2.0 * at - 1.0).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (L, B H, N, P, 2)
        weight = torch.softmax(self.weight(tokens).unflatten(2, (self.heads, -1)), dim=3)
        weight = weight.unflatten(3, (self.levels, -1)).permute(3, 0, 2, 1, 4)  # (L, B, H, N, P)
        gathered = []
        for level, value in enumerate(values):
            of_heads = value.unflatten(1, (self.heads, -1)).flatten(0, 1)  # (B H, E, h, w)
            seen = nn.functional.grid_sample(of_heads, grid[level], align_corners=False)
            seen = seen * weight[level].flatten(0, 1)[:, None]  # (B H, E, N, P)
            gathered.append(seen.sum(3))
        x = torch.stack(gathered).sum(0).unflatten(0, (-1, self.heads))  # (B, H, E, N)
        return self.proj(x.flatten(1, 2).transpose(1, 2))


def _rings(heads: int, levels: int, points: int, finest: int) -> Tensor:
    """(H, L, P, 2) crop units: each head looks into its own direction, each point farther."""
    angle = 2.0 * math.pi * torch.arange(heads) / heads
    direction = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)  # (H, 2)
    far = _START_CELLS / finest * torch.arange(1, points + 1)  # (P,)
    rings = direction[:, None, None] * far[:, None]  # (H, 1, P, 2)
    return rings.expand(heads, levels, points, 2)
