"""Confidence-guided sampling of MaskHand: codes in a few passes, from none known to all.

The most confident codes of each pass stay, the others are hidden again. The number of passes is
fixed and all random draws are an input, so that it is one pure graph of static shapes. Ours: to
the likeliest hand the next pass is shown mean codes, not the most probable ones. Its error is least
where every token is the mean of all it may be, and a wrong code that is shown as certain misleads
the others.
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
    """N hands as codes."""

    index: Tensor
    """(N, M) int64"""
    embedding: Tensor
    """(N, M, D) to decode: mean codes for likeliest hands, the codes themselves for drawn ones."""
    hand: Tensor
    """(N, 6 + S + 3) of the last pass, see `TokenPrediction`."""
    likelihood: Tensor
    """(N,) geometric mean of the codes' probabilities."""
    explained: Tensor
    """(N,) share of the codes' variance that the image explains, above 0 to 1, as the first pass
    says. Unlike a probability it does not fall where many codes mean nearly the same."""


def sample_codes(
    predicted: Callable[[Tensor, Tensor], TokenPrediction],
    codebook: Tensor,
    index: Tensor,
    *,
    steps: int,
    draws: Tensor | None,
    temperature: float,
) -> Sampled:
    """T passes from all codes hidden.

    Args:
        predicted: one pass: (N, M, D) codes and (N, M) bool, which of them are hidden.
        codebook: (K, D)
        index: (N, M) int64 zeros.
        steps: T
        draws: (B, H - 1, T, M) uniform in [0, 1), where N is B H and the first of every H hands is
            the likeliest; None where all are.
        temperature: of the drawn codes; 0: all hands are the likeliest.
    """
    masked = index == 0
    confidence = torch.zeros_like(index, dtype=torch.float32)
    embedding = torch.nn.functional.embedding(index, codebook)
    found, explained = None, torch.zeros_like(confidence[:, 0])
    for step in range(1, steps + 1):
        found = predicted(embedding, masked)
        logits = found.logits.float()
        share = torch.softmax(logits, dim=2)
        chosen, codes = logits.argmax(2), mean_codes(share, codebook)
        if step == 1:
            explained = _explained(share, codes, codebook)
        if draws is not None and temperature > 0.0:
            hands = 1 + draws.shape[1]
            likeliest = (torch.arange(hands, device=draws.device) == 0)[None, :, None]
            # A row of nothing for the likeliest hand of each crop.
            of_step = torch.nn.functional.pad(draws[:, :, step - 1], (0, 0, 1, 0))  # (B, H, M)
            likeliest = likeliest.expand(of_step.shape).flatten(0, 1)  # (N, M)
            drawn = drawn_codes(logits, of_step.flatten(0, 1), temperature)
            chosen = torch.where(likeliest, chosen, drawn)
            of_chosen = torch.nn.functional.embedding(chosen, codebook)
            codes = torch.where(likeliest[..., None], codes, of_chosen)
        sure = share.gather(2, chosen[..., None])[..., 0]  # (N, M)
        index = torch.where(masked, chosen, index)
        confidence = torch.where(masked, sure, confidence)
        embedding = torch.where(masked[..., None], codes, embedding)
        left = num_masked(step / steps, index.shape[1])
        masked = masked & least_confident(torch.where(masked, confidence, KEPT), left)
    assert found is not None
    likelihood = confidence.clamp_min(_LEAST).log().mean(1).exp()
    return Sampled(index, embedding, found.hand, likelihood, explained)


def _explained(share: Tensor, mean: Tensor, codebook: Tensor) -> Tensor:
    """(N,) of (N, M, K) probabilities and their (N, M, D) mean codes."""
    squares = codebook.square().sum(1)  # (K,)
    left = share.to(codebook.dtype) @ squares - mean.square().sum(2)  # (N, M)
    whole = squares.mean() - codebook.mean(0).square().sum()
    return (1.0 - left.mean(1) / whole.clamp_min(_LEAST)).clamp(_LEAST_EXPLAINED, 1.0)


def mean_codes(share: Tensor, codebook: Tensor) -> Tensor:
    """(N, M, D) mean code under (N, M, K) probabilities; has a gradient, as no choice has."""
    return share.to(codebook.dtype) @ codebook
