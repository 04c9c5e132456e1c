"""Features of a coarse mesh on a finer one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.mesh_levels import UpSampling


class UpSample(nn.Module):
    """Features of a coarse mesh on the next finer one; (B, V_coarse, C) to (B, V_fine, C)."""

    index: Tensor
    weight: Tensor

    def __init__(self, up: UpSampling) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(up.index))
        self.register_buffer("weight", torch.tensor(up.weight[..., None], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the corners of each fine vertex's triangle."""
        corners = x.index_select(1, self.index.flatten()).unflatten(1, tuple(self.index.shape))
        return (corners * self.weight).sum(dim=2)
