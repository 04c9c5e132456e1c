"""The moving average of a network's weights: what is evaluated and saved."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """average <- d average + (1 - d) weights, after each step.

    At step k, d = min(decay, (1 + k) / (10 + k)), so that the first, untrained weights are soon
    forgotten. Running statistics of norms are averaged too, as they belong to the weights of the
    same time; integer buffers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay, self._updates = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        ours, theirs = self.network.state_dict(), network.state_dict()
        floating = [name for name, tensor in ours.items() if tensor.is_floating_point()]
        if floating:  # one call for all: small networks have many small tensors
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                [ours[name] for name in floating], [theirs[name] for name in floating], 1.0 - decay
            )
        for name in ours.keys() - set(floating):
            ours[name].copy_(theirs[name])

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {"updates": self._updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._updates = state["updates"]
        self.network.load_state_dict(state["network"])
