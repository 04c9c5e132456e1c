"""Convolutions along spirals of a mesh: plain, depth-separable, and dynamic (M3DHMR section 3.2).

All take (B, V, C_in) and give (B, V, C_out); their spirals are (V, S) vertex indices. The spirals
are saved with the weights, which mean nothing on others.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

SpiralKind = Literal["spiral", "depth_separable", "dynamic"]


class SpiralConv(nn.Module):
    """One linear map of a spiral's features, the same for all vertices (SpiralNet++)."""

    spirals: Tensor

    def __init__(self, channels_in: int, channels_out: int, spirals: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("spirals", torch.as_tensor(spirals, dtype=torch.long).clone())
        self.linear = nn.Linear(spirals.shape[1] * channels_in, channels_out)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, C_out) from (B, V, C_in)."""
        return self.linear(gather_spirals(x, self.spirals).flatten(2))


class DepthSeparableSpiralConv(nn.Module):
    """One filter a channel along the spiral, then one matrix for the channels (MobRecon)."""

    spirals: Tensor

    def __init__(self, channels_in: int, channels_out: int, spirals: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("spirals", torch.as_tensor(spirals, dtype=torch.long).clone())
        length = spirals.shape[1]
        self.filter = nn.Parameter(torch.randn(length, channels_in) / math.sqrt(length))
        self.linear = nn.Linear(channels_in, channels_out, bias=False)
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, C_out) from (B, V, C_in)."""
        return self.linear((gather_spirals(x, self.spirals) * self.filter).sum(dim=2))


class DynamicSpiralConv(nn.Module):
    """K kernels that every vertex mixes by its own feature (DSC, eqs. 4 to 6).

    The paper mixes weights, then applies them. Both maps are linear, so the K results are mixed
    instead: the same numbers without a weight tensor for every vertex.
    """

    spirals: Tensor

    def __init__(
        self, channels_in: int, channels_out: int, spirals: np.ndarray, *, kernels: int
    ) -> None:
        super().__init__()
        self.register_buffer("spirals", torch.as_tensor(spirals, dtype=torch.long).clone())
        self.kernels, self.channels_out = kernels, channels_out
        self.reduce = nn.Linear(channels_in, max(channels_in // 2, 1))
        self.choose = nn.Linear(self.reduce.out_features, kernels)
        self.spatial = nn.Linear(spirals.shape[1] * channels_in, kernels * channels_out)
        self.channel = nn.Linear(channels_out, kernels * channels_out)
        for layer in (self.spatial, self.channel):
            # Every kernel as SpiralConv starts, times sqrt(K): a mean of K independent kernels has
            # 1 / sqrt(K) of one's spread, which over four layers would leave no signal.
            for kernel in layer.weight.data.chunk(kernels):
                nn.init.xavier_uniform_(kernel, gain=math.sqrt(kernels))
            nn.init.zeros_(layer.bias)

    def attention(self, x: Tensor) -> Tensor:
        """(B, V, K) share of each kernel; sums to 1."""
        return torch.softmax(self.choose(torch.relu(self.reduce(x))), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, C_out) from (B, V, C_in)."""
        # Letters: B batch, V vertices, K kernels, O channels out.
        share = self.attention(x)[..., None]  # (B, V, K, 1)
        each = (self.kernels, self.channels_out)
        y = self.spatial(gather_spirals(x, self.spirals).flatten(2)).unflatten(2, each)
        y = (y * share).sum(dim=2)  # (B, V, O)
        y = self.channel(y).unflatten(2, each)  # (B, V, K, O)
        return (y * share).sum(dim=2)


def spiral_conv(
    kind: SpiralKind, channels_in: int, channels_out: int, spirals: np.ndarray, *, kernels: int
) -> nn.Module:
    """Build the convolution of that kind; only the dynamic one has several kernels."""
    if kind == "dynamic":
        return DynamicSpiralConv(channels_in, channels_out, spirals, kernels=kernels)
    plain = {"spiral": SpiralConv, "depth_separable": DepthSeparableSpiralConv}
    return plain[kind](channels_in, channels_out, spirals)


def gather_spirals(x: Tensor, spirals: Tensor) -> Tensor:
    """(B, V, S, C) features along the spirals, from (B, V, C)."""
    # index_select: the gradient of x[:, index] is many times slower on a CPU.
    return x.index_select(1, spirals.flatten()).unflatten(1, tuple(spirals.shape))
