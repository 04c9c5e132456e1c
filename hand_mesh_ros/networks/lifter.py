"""The lifter: from 2D landmarks of one hand to its pose, shape, place and their uncertainty.

A multilayer perceptron with skips, after Martinez et al., "A simple yet effective baseline for 3d
human pose estimation", ICCV 2017, without their batch norm and dropout: it regresses the hand
model's parameters, not points, and says how sure it is. `reconstruction/lifter.py` runs the same
weights in numpy and says what inputs and outputs mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.registry import register_network
from hand_mesh_ros.reconstruction.lifter import NETWORK, NUM_FEATURES, OUTPUTS
from hand_mesh_ros.training.typed_config import check_ranges, option


@dataclass(frozen=True)
class LifterConfig:
    """Size of the network."""

    width: int = option(768, "of every layer", minimum=8)
    blocks: int = option(3, "pairs of layers with a skip", minimum=1)

    def __post_init__(self) -> None:
        check_ranges(self)


@register_network(NETWORK, config=LifterConfig)
class LifterNetwork(nn.Module):
    """(B, F) features to named outputs; the same for every hand model, but for the weights."""

    def __init__(self, config: LifterConfig, model: HandModel) -> None:
        super().__init__()
        width = config.width
        self.first = nn.Linear(NUM_FEATURES, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.last = nn.Linear(width, sum(OUTPUTS.values()))
        # At first every block passes its input on, and every hand is the usual one.
        for layer in self.outer:
            nn.init.zeros_(layer.get_parameter("weight"))
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)
        start = OUTPUTS["angles"]
        with torch.no_grad():
            self.last.bias[start : start + 6] = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """(B, F) to (B, n) of each of `OUTPUTS`."""
        x = self.first(features)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(torch.relu(inner(torch.relu(x))))
        out = self.last(torch.relu(x))
        return dict(zip(OUTPUTS, out.split(list(OUTPUTS.values()), dim=1), strict=True))

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Named inputs, as `forward` takes them."""
        return {"features": torch.randn(batch, NUM_FEATURES)}
