"""A detector's landmarks as numbers for a network: what is not known is 0."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

_SPREAD = 0.1
"""Crop units that landmarks differ by: networks learn faster from numbers of about 1."""
_Reader = TypeVar("_Reader", bound=nn.Module)


def require_cue_reader(reader: _Reader | None) -> _Reader:
    """The layers that read the cue, of a network that has been given one.

    Raises:
        ValueError: None: it has been built to take no cue.
    """
    if reader is None:
        raise ValueError("this network takes no landmark_cue; set landmark_cue in its config")
    return reader


def known_cue(cue: Tensor, *, dropout: float) -> tuple[Tensor, Tensor]:
    """(B, 21, 2) u, v in crop units and (B, 21, 1) weights from 0 (unknown) to 1.

    Args:
        cue: (B, 21, 3) both together.
        dropout: share of samples of which nothing is known.

    Raises:
        ValueError: another shape.
    """
    if cue.dim() != 3 or cue.shape[1:] != (21, 3):
        raise ValueError(f"landmark_cue must be (B, 21, 3): u, v, weight; got {tuple(cue.shape)}")
    weight = cue[..., 2:]
    if dropout > 0.0:
        weight = weight * (torch.rand(cue.shape[0], 1, 1, device=cue.device) >= dropout)
    return cue[..., :2], weight


def landmark_numbers(cue: Tensor, *, dropout: float) -> Tensor:
    """(B, 21, 3) u and v about the crop's middle, in tenths of it, and the weight.

    The first two times the weight, so that nothing is said of what is not known. Arguments and
    errors are those of `known_cue`.
    """
    uv, weight = known_cue(cue, dropout=dropout)
    return torch.cat([(uv - 0.5) / _SPREAD * weight, weight], dim=2)


def optional_numbers(
    cue: Tensor | None, like: Tensor, *, reader: nn.Module | None, dropout: float
) -> Tensor:
    """`landmark_numbers`, all 0 where there is no cue.

    Args:
        cue: as of `landmark_numbers`, or None.
        like: (B, ...) whose device and type zeros get.
        reader: as of `require_cue_reader`.
        dropout: as of `landmark_numbers`.

    Raises:
        ValueError: another shape, or a cue for a network that takes none.
    """
    if cue is None:
        return like.new_zeros(like.shape[0], 21, 3)
    require_cue_reader(reader)
    return landmark_numbers(cue, dropout=dropout)


def known_landmarks(numbers: Tensor, otherwise_uv: Tensor) -> Tensor:
    """(B, 21, 2) crop units: the cue's of `landmark_numbers`, others where those are unknown."""
    weight = numbers[..., 2:]
    return _SPREAD * numbers[..., :2] + 0.5 * weight + (1.0 - weight) * otherwise_uv


def cue_network(channels: int, hidden: int) -> nn.Sequential:
    """(B, 63) `landmark_numbers` to the (B, C) that all landmarks say together."""
    return nn.Sequential(
        *(nn.Linear(63, hidden), nn.GELU()),
        *(nn.Linear(hidden, hidden), nn.GELU()),
        nn.Linear(hidden, channels),
    )
