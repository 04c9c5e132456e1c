"""Points drawn as blurred dots: a landmark cue for a network, or the target of its heat-maps."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST_EXPONENT = -30.0
"""Further out (7.7 deviations) a dot is 0. Its tail would fall below 1e-38: such numbers are right,
but a processor takes many times as long for each, and a convolution over such maps with it."""


def gaussian_maps(points_uv: Tensor, size: int, stddev: float) -> Tensor:
    """(B, N, size, size) maps with a peak of 1 at each of (B, N, 2) points.

    Args:
        points_uv: crop units: (0, 0) is the outer corner of the top left pixel, (1, 1) of the
            bottom right one. Points outside of the crop leave their slope, or nothing.
        size: cells along each axis.
        stddev: of the dots, crop units.
    """
    centres = (torch.arange(size, dtype=points_uv.dtype, device=points_uv.device) + 0.5) / size
    exponent = -0.5 * ((centres - points_uv[..., None]) / stddev) ** 2  # (B, N, 2, size)
    along = torch.where(exponent > _LEAST_EXPONENT, exponent.exp(), 0.0)
    return along[:, :, 1, :, None] * along[:, :, 0, None, :]
