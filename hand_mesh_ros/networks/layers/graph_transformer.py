"""Graph layers over tokens: fixed neighbours of a hand's skeleton, and blocks that learn theirs.

After what is known of MaskHand's pose cue and of its graph-based refinement of queries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hand_mesh_ros.conventions import BONES
from hand_mesh_ros.networks.layers.vit import Attention

_SQUEEZE = 4
_KERNEL = 3


class SkeletonGraph(nn.Module):
    """Numbers of 21 landmarks to tokens: two graph convolutions along the hand's bones."""

    neighbours: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.register_buffer("neighbours", skeleton_neighbours(), persistent=False)
        self.place = nn.Parameter(0.02 * torch.randn(1, 21, width))
        self.first, self.second = nn.Linear(features, width), nn.Linear(width, width)

    def forward(self, landmarks: Tensor) -> Tensor:
        """(B, 21, C) from (B, 21, F)."""
        x = nn.functional.gelu(self.neighbours @ self.first(landmarks) + self.place)
        return x + self.second(self.neighbours @ x)


class GraphTransformerBlock(nn.Module):
    """A graph convolution with learnt neighbours, attention beside a convolution, and gates."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.neighbours = nn.Parameter(torch.eye(tokens) + 0.02 * torch.randn(tokens, tokens))
        self.graph_norm, self.graph = nn.LayerNorm(width), nn.Linear(width, width)
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        padding = _KERNEL // 2
        self.convolution = nn.Conv1d(width, width, _KERNEL, padding=padding, groups=width)
        self.gate_norm = nn.LayerNorm(width)
        self.squeeze = nn.Linear(width, width // _SQUEEZE)
        self.excite = nn.Linear(width // _SQUEEZE, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) from (B, N, C)."""
        x = x + nn.functional.gelu(self.graph(self.neighbours @ self.graph_norm(x)))
        y = self.norm(x)
        x = x + self.attention(y) + self.convolution(y.transpose(1, 2)).transpose(1, 2)
        y = self.gate_norm(x)
        gates = torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean(1, keepdim=True)))))
        return x + gates * y


def skeleton_neighbours() -> Tensor:
    """(21, 21) rows that sum to 1: each landmark and those that a bone joins it to, alike."""
    joined = torch.eye(21)
    for a, b in BONES:
        joined[a, b] = joined[b, a] = 1.0
    return joined / joined.sum(1, keepdim=True)
