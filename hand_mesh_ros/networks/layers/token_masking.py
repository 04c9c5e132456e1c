"""Masks of tokens: how many are hidden when, which ones, and which code a token takes.

The schedule and the sampling of masked generative transformers (MaskGIT, Chang et al. 2022), with
the rule of MoMask (Guo et al. 2024) that a token which was kept once stays. All shapes are static.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KEPT = 2.0
"""Confidence of tokens that stay: above every probability."""
_EPSILON = 1e-9


def num_masked(progress: float, tokens: int) -> int:
    """How many of M tokens are hidden at a progress from 0 (all) to 1 (none), by a cosine.

    Raises:
        ValueError: progress is outside of 0 to 1.
    """
    if not 0.0 <= progress <= 1.0:
        raise ValueError(f"progress is {progress}, expected 0 to 1")
    return math.ceil(tokens * math.cos(0.5 * math.pi * progress) - _EPSILON)


def random_masks(progress: Tensor, order: Tensor) -> Tensor:
    """(B, M) bool, True where hidden: as many as `num_masked` says, and at least one.

    Args:
        progress: (B,) 0 to 1.
        order: (B, M) random numbers; the lowest are hidden.
    """
    tokens = order.shape[1]
    wanted = torch.ceil(tokens * torch.cos(0.5 * math.pi * progress) - 1e-4).clamp_min(1.0)
    return ranks(order) < wanted[:, None]


def least_confident(confidence: Tensor, number: int) -> Tensor:
    """(B, M) bool: those `number` tokens whose (B, M) confidence is lowest."""
    return ranks(confidence) < number


def ranks(values: Tensor) -> Tensor:
    """(B, M) int64 place of each value in its row, 0 for the lowest; of equal ones the first.

    By comparing all with all: no sort is needed, and every compiler knows how.
    """
    tokens = values.shape[1]
    place = torch.arange(tokens, device=values.device)
    earlier = place < place[:, None]  # (M, M), row: token, column: the other
    mine, other = values[:, :, None], values[:, None, :]
    before = (other < mine) | ((other == mine) & earlier)
    return before.sum(2)


def drawn_codes(logits: Tensor, draws: Tensor, temperature: float) -> Tensor:
    """(B, M) int64 codes drawn by their probabilities; temperature 0 takes the likeliest.

    Args:
        logits: (B, M, K)
        draws: (B, M) uniform in [0, 1): the same draws give the same codes.
        temperature: above 0 the distribution's width, 1 is as learned.
    """
    if temperature == 0.0:
        return logits.argmax(2)
    upto = torch.softmax(logits.float() / temperature, dim=2).cumsum(2)  # (B, M, K)
    return (upto <= draws.float()[:, :, None]).sum(2).clamp_max(logits.shape[2] - 1)
