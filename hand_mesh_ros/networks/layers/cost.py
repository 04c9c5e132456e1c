"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class NetworkCost:
    """Size of a network and the work of one forward pass."""

    params_m: float
    """Millions of trained numbers."""
    gmacs: float
    """Billions of multiply-accumulates in convolutions and matrix products."""


def network_cost(network: nn.Module, inputs: dict[str, Tensor]) -> NetworkCost:
    """Count by running `network(**inputs)` once, in evaluation mode."""
    was_training = network.training
    network.eval()
    # Attention as plain products: what a fused kernel does is not counted on a CPU.
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter, torch.no_grad():
        network(**inputs)
    network.train(was_training)
    params = sum(p.numel() for p in network.parameters())
    return NetworkCost(params_m=params / 1e6, gmacs=counter.get_total_flops() / 2e9)
