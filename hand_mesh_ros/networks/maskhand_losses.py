"""Losses of MaskHand: cross-entropy of hidden codes, and those of the hand that they decode to.

The hand is decoded from mean codes, so that its losses reach the probabilities. Its terms are those
of HandMIM (`handmim_losses.py`), units included. The paper prints no weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hand_mesh_ros.networks.handmim import HandStep
from hand_mesh_ros.networks.handmim_losses import HandLossWeights, HandTruth, handmim_losses


@dataclass(frozen=True)
class MaskHandLossWeights(HandLossWeights):
    """Those of HandMIM's hand, and one more."""

    tokens: float = 0.2
    """Cross-entropy of hidden codes."""


def maskhand_losses(
    logits: Tensor,
    step: HandStep,
    *,
    index: Tensor,
    masked: Tensor,
    truth: HandTruth,
    image_size_px: int,
    weights: MaskHandLossWeights,
) -> dict[str, Tensor]:
    """Weighted terms by name; those of weight 0 are left out.

    Args:
        logits: (B, M, K)
        step: the hand of mean codes where hidden, of true ones elsewhere.
        index: (B, M) true codes.
        masked: (B, M) bool, which were hidden; at least one.
        truth: B hands.
        image_size_px: side of the crop.
        weights: of the terms.
    """
    terms = {}
    if weights.tokens > 0.0:
        terms["tokens"] = weights.tokens * masked_cross_entropy(logits, index, masked)
    return terms | handmim_losses([step], truth, image_size_px=image_size_px, weights=weights)


def masked_cross_entropy(logits: Tensor, index: Tensor, masked: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of the codes that are hidden; what is shown says nothing."""
    terms = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), index.flatten(), reduction="none"
    )
    hidden = masked.flatten().to(terms.dtype)
    return (terms * hidden).sum() / hidden.sum().clamp_min(1.0)
