"""Mesh-aligned feedback (PyMAF, Zhang et al. 2021): features where the mesh is now correct it.

Written after the papers alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

_START_GAIN = 0.01
"""Of the decoders: the first correction is almost none."""


class HandParameters(NamedTuple):
    """What is corrected from step to step."""

    rotations_6d: Tensor
    """(B, 96) first two columns of each joint's rotation."""
    shape: Tensor
    """(B, 10)"""
    camera: Tensor
    """(B, 3) log of the crop's sides a metre, and u, v of the wrist."""

    def detached(self) -> HandParameters:
        """Each step is to learn its own correction."""
        return HandParameters(*(values.detach() for values in self))


class FeaturePyramid(nn.Module):
    """A token map, finer and finer by transposed convolutions of stride 2."""

    def __init__(self, width: int, channels: int, levels: int) -> None:
        super().__init__()
        before = (width, *([channels] * (levels - 1)))
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(c, channels, 4, 2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
            for c in before
        )

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """(B, C, 2 g, 2 g), (B, C, 4 g, 4 g), ... from (B, D, g, g)."""
        levels, x = [], tokens
        for up in self.up:
            x = up(x)
            levels.append(x)
        return levels


class PointSampler(nn.Module):
    """A few numbers for each point of a map: bilinear features through a small network."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        """Build it.

        Args:
            channels: of the map.
            widths: of the layers; the last is what comes out for a point.
        """
        super().__init__()
        # The point's own feature is given to each layer again, but for the first.
        inputs = (channels, *(w + channels for w in widths[:-1]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(inputs, widths, strict=True))

    def forward(self, features: Tensor, points_uv: Tensor) -> Tensor:
        """(B, N widths[-1]) from (B, C, h, w) and (B, N, 2) crop units."""
        # align_corners=False puts -1 and 1 on the outer corners, where uv has 0 and 1.
        grid = (2.0 * points_uv - 1.0)[:, :, None]  # (B, N, 1, 2)
        at_points = nn.functional.grid_sample(features, grid, align_corners=False)
        at_points = at_points[..., 0].transpose(1, 2)  # (B, N, C)
        x = at_points
        for k, layer in enumerate(self.layers):
            x = layer(x if k == 0 else torch.cat([x, at_points], dim=2))
            # PyMAF ends in a ReLU. Its few outputs die where a backbone starts from nothing: no
            # image reaches the hand then, and no gradient the backbone.
            x = nn.functional.leaky_relu(x)
        return x.flatten(1)


class Regressor(nn.Module):
    """Features and the present parameters to better ones, and to landmarks beside the mesh's."""

    def __init__(
        self, features: int, hidden: int, dropout: float, num_shape: int, *, landmarks: bool
    ) -> None:
        """Build it.

        Args:
            features: numbers that the points give together.
            hidden: width.
            dropout: share of the width.
            num_shape: coefficients of the hand's shape.
            landmarks: also give shifts of landmarks in the image.
        """
        super().__init__()
        sizes = (96, num_shape, 3)
        # Two linear maps in a row: dropout between them is all that is not linear (as in PyMAF).
        self.trunk = nn.Sequential(
            *(nn.Linear(features + sum(sizes), hidden), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.Dropout(dropout)),
        )
        corrections = [nn.Linear(hidden, size) for size in sizes]
        for layer in corrections:
            nn.init.xavier_uniform_(layer.weight, gain=_START_GAIN)
            nn.init.zeros_(layer.bias)
        self.corrections = nn.ModuleList(corrections)
        self.landmarks = None
        if landmarks:
            self.landmarks = nn.Linear(hidden, 42)
            nn.init.zeros_(self.landmarks.weight)
            nn.init.zeros_(self.landmarks.bias)

    def forward(
        self, features: Tensor, now: HandParameters
    ) -> tuple[HandParameters, Tensor | None]:
        """New parameters, and (B, 21, 2) shifts of landmarks, crop units, where asked for."""
        x = self.trunk(torch.cat([features, *now], dim=1))
        new = (old + layer(x) for old, layer in zip(now, self.corrections, strict=True))
        shift = None if self.landmarks is None else self.landmarks(x).unflatten(1, (21, 2))
        return HandParameters(*new), shift


def project_weakly(points_m: Tensor, camera: Tensor) -> Tensor:
    """(B, N, 2) crop units of (B, N, 3) points about the wrist, all at the wrist's distance."""
    return points_m[..., :2] * camera[:, None, :1].exp() + camera[:, None, 1:]
