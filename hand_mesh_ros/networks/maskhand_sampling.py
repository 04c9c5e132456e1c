"""Sampling of MaskHand: codes in a few passes, from none known to all, and hands beside these.

Of the likeliest hand the most confident codes of each pass stay, the others are hidden again. Ours:
the next pass is shown mean codes, not the most probable ones. Its error is least where every token
is the mean of all it may be, and a wrong code that is shown as certain misleads the others.

Ours, too: further hands are not drawn by confidence, for to redraw the improbable codes until
probable ones come makes all hands alike. A few tokens, whichever, get drawn codes, and one pass
says what the others are on average beside them. Many such hands are put into groups, and the mean
of a group stands for it. Of 64 draws eight groups' means come nearer to the true hand than eight
draws do (`tools/measure_maskhand.py`).

The number of passes is fixed and all random draws are an input, so that it is one pure graph of
static shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hand_mesh_ros.networks.layers.token_masking import (
    KEPT,
    drawn_codes,
    least_confident,
    num_masked,
)

_LEAST = 1e-12
_LEAST_EXPLAINED = 1e-3


class TokenPrediction(NamedTuple):
    """What one pass says of N hands."""

    logits: Tensor
    """(N, M, K)"""
    hand: Tensor
    """(N, 6 + S + 3) the global rotation, the shape, and the camera."""


class Sampled(NamedTuple):
    """B likeliest hands as codes."""

    index: Tensor
    """(B, M) int64, the most probable codes."""
    embedding: Tensor
    """(B, M, D) mean codes, to decode."""
    hand: Tensor
    """(B, 6 + S + 3) of the last pass, see `TokenPrediction`."""
    explained: Tensor
    """(B,) share of the codes' variance that the image explains, above 0 to 1, as the first pass
    says. Unlike a probability it does not fall where many codes mean nearly the same."""
    first_logits: Tensor
    """(B, M, K) of the first pass, that knows no code."""


class Drawn(NamedTuple):
    """N further hands as codes."""

    embedding: Tensor
    """(N, M, D) to decode: drawn codes, and the mean codes of all other tokens beside these."""
    hand: Tensor
    """(N, 6 + S + 3), see `TokenPrediction`."""


def likeliest_codes(
    predicted: Callable[[Tensor, Tensor], TokenPrediction],
    codebook: Tensor,
    index: Tensor,
    *,
    steps: int,
) -> Sampled:
    """Confidence-guided: T passes from all codes hidden.

    Args:
        predicted: one pass: (B, M, D) codes and (B, M) bool, which of them are hidden.
        codebook: (K, D)
        index: (B, M) int64 zeros.
        steps: T
    """
    masked = index == 0
    confidence = torch.zeros_like(index, dtype=torch.float32)
    embedding = torch.nn.functional.embedding(index, codebook)
    found, first_logits, explained = None, None, None
    for step in range(1, steps + 1):
        found = predicted(embedding, masked)
        logits = found.logits.float()
        share = torch.softmax(logits, dim=2)
        sure, chosen = share.max(2)  # (B, M)
        codes = mean_codes(share, codebook)
        if first_logits is None:
            first_logits, explained = logits, _explained(share, codes, codebook)
        index = torch.where(masked, chosen, index)
        confidence = torch.where(masked, sure, confidence)
        embedding = torch.where(masked[..., None], codes, embedding)
        left = num_masked(step / steps, index.shape[1])
        masked = masked & least_confident(torch.where(masked, confidence, KEPT), left)
    assert found is not None
    assert first_logits is not None
    assert explained is not None
    return Sampled(index, embedding, found.hand, explained, first_logits)


def drawn_hands(
    predicted: Callable[[Tensor, Tensor], TokenPrediction],
    codebook: Tensor,
    first_logits: Tensor,
    draws: Tensor,
    *,
    tokens: int,
    temperature: float,
) -> Drawn:
    """One pass beside a few drawn codes.

    Args:
        predicted: one pass: (N, M, D) codes and (N, M) bool, which of them are hidden.
        codebook: (K, D)
        first_logits: (N, M, K) where no code is known.
        draws: (N, 2, M) uniform in [0, 1): what decides the codes, and which ones are taken.
        tokens: how many codes are drawn, 1 to M.
        temperature: of these codes; 0: the most probable ones.
    """
    chosen = drawn_codes(first_logits, draws[:, 0], temperature)  # (N, M)
    codes = torch.nn.functional.embedding(chosen, codebook)
    masked = least_confident(draws[:, 1], chosen.shape[1] - tokens)
    found = predicted(codes, masked)
    means = mean_codes(torch.softmax(found.logits.float(), dim=2), codebook)
    return Drawn(torch.where(masked[..., None], means, codes), found.hand)


def groups(points: Tensor, number: int, *, rounds: int) -> Tensor:
    """(B, H, N) of 0 and 1: which of H groups each of N points belongs to, by k-means.

    The centre of the first group is the origin and stays; those of the others start at the first
    points. A group of which nothing is left becomes one with the first, and is empty.

    Args:
        points: (B, N, F), N at least H - 1.
        number: H
        rounds: how often points go to the nearest centre, from 1 on.
    """
    points = points.float()  # squares of millimetres
    origin = torch.zeros_like(points[:, 0])
    centres = torch.cat([origin[:, None], points[:, : number - 1]], dim=1)  # (B, H, F)
    names = torch.arange(number, device=points.device)[:, None]
    members = None
    for _ in range(rounds):
        # |p - c|^2 without |p|^2, which is the same for all centres.
        far = centres.square().sum(2)[..., None] - 2.0 * centres @ points.transpose(1, 2)
        members = (far.argmin(1, keepdim=True) == names).to(points.dtype)  # (B, H, N)
        centres = group_means(members, points, origin)
    assert members is not None
    return members


def group_means(members: Tensor, values: Tensor, first: Tensor) -> Tensor:
    """(B, H, F): what is given as the first group's and of empty ones, the means of all others.

    Args:
        members: (B, H, N) of `groups`.
        values: (B, N, F)
        first: (B, F)
    """
    count = members.sum(2, keepdim=True)  # (B, H, 1)
    is_first = (torch.arange(members.shape[1], device=members.device) == 0)[:, None]
    means = members @ values.float() / count.clamp_min(1.0)
    return torch.where(is_first | (count == 0.0), first[:, None], means.to(values.dtype))


def _explained(share: Tensor, mean: Tensor, codebook: Tensor) -> Tensor:
    """(N,) of (N, M, K) probabilities and their (N, M, D) mean codes."""
    squares = codebook.square().sum(1)  # (K,)
    left = share.to(codebook.dtype) @ squares - mean.square().sum(2)  # (N, M)
    whole = squares.mean() - codebook.mean(0).square().sum()
    return (1.0 - left.mean(1) / whole.clamp_min(_LEAST)).clamp(_LEAST_EXPLAINED, 1.0)


def mean_codes(share: Tensor, codebook: Tensor) -> Tensor:
    """(N, M, D) mean code under (N, M, K) probabilities; has a gradient, as no choice has."""
    return share.to(codebook.dtype) @ codebook
