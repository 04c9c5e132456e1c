"""A detector's landmarks as numbers for a network: what is not known is 0."""

from __future__ import annotations

import torch
from torch import Tensor

_SPREAD = 0.1
"""Crop units that landmarks differ by: networks learn faster from numbers of about 1."""


def landmark_numbers(cue: Tensor, *, dropout: float) -> Tensor:
    """(B, 21, 3) u and v about the crop's middle, in tenths of it, and the weight.

    The first two times the weight, so that nothing is said of what is not known.

    Args:
        cue: (B, 21, 3) u, v in crop units and a weight from 0 (unknown) to 1.
        dropout: share of samples of which nothing is known.

    Raises:
        ValueError: another shape.
    """
    if cue.dim() != 3 or cue.shape[1:] != (21, 3):
        raise ValueError(f"landmark_cue must be (B, 21, 3): u, v, weight; got {tuple(cue.shape)}")
    weight = cue[..., 2:]
    if dropout > 0.0:
        weight = weight * (torch.rand(cue.shape[0], 1, 1, device=cue.device) >= dropout)
    return torch.cat([(cue[..., :2] - 0.5) / _SPREAD * weight, weight], dim=2)
