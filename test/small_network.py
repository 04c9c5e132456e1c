"""A network of images that compiles in a moment, for tests of what compiles networks."""

from dataclasses import dataclass

import torch
from torch import nn

from hand_mesh_ros.backends.base import EngineSpec
from hand_mesh_ros.backends.engine_cache import EngineCache
from hand_mesh_ros.backends.kinds import EngineRequest, EngineSource
from hand_mesh_ros.backends.typed_network import network_spec


@dataclass(frozen=True)
class SmallConfig:
    """Nothing to choose but the size."""

    width: int = 8


class SmallNetwork(nn.Module):
    """Two inputs, so that their order matters; lengths of about a hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 + 2, 15)
        self.register_buffer("offset_m", torch.linspace(-0.1, 0.1, 15))

    def forward(self, image: torch.Tensor, cue: torch.Tensor) -> dict[str, torch.Tensor]:
        if image.shape[1:] != (3, 32, 32):
            raise ValueError(f"image must be (B, 3, 32, 32), got {tuple(image.shape)}")
        x = torch.relu(self.norm(self.conv(image))).mean(dim=(2, 3))
        out = 0.1 * self.head(torch.cat([x, cue], dim=1)) + self.offset_m
        return {"vertices_m": out.unflatten(1, (5, 3)), "score": torch.sigmoid(out[:, 0])}

    def example_inputs(self, batch: int) -> dict[str, torch.Tensor]:
        return {"image": torch.rand(batch, 3, 32, 32), "cue": torch.randn(batch, 2)}


def small_network() -> SmallNetwork:
    """The same numbers at every call."""
    torch.manual_seed(0)
    return SmallNetwork().eval()


def small_request(folder, *, log=print, device="cpu", **spec) -> EngineRequest:
    """All of a request but the network's name can be chosen."""
    network = small_network()
    made: EngineSpec = network_spec(network, **spec)
    source = EngineSource("small", network, SmallConfig())
    cache = EngineCache(folder, log=log)
    return EngineRequest(source, made, torch.device(device), cache, threads=1)
