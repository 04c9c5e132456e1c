"""Random numbers on any device: one stream for each effect, so that no switch shifts the others."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class Dice:
    """Draws for N images at a time; the same seed on the same device gives the same numbers."""

    def __init__(self, seed: int, n: int, device: torch.device) -> None:
        self.seed, self.n, self.device = seed, n, device
        self._generator = torch.Generator(device).manual_seed(seed)

    def stream(self, name: str) -> Dice:
        """Other dice, decided by this one's seed and the name alone."""
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=7).digest()
        return Dice(int.from_bytes(digest, "little"), self.n, self.device)

    def of(self, n: int) -> Dice:
        """Dice of the same seed for another number of images."""
        return Dice(self.seed, n, self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(N, *shape) float32."""
        values = torch.rand(self.n, *shape, generator=self._generator, device=self.device)
        return low + (high - low) * values

    def normal(self, *shape: int) -> Tensor:
        """(N, *shape) standard normal float32."""
        return torch.randn(self.n, *shape, generator=self._generator, device=self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        """(N, *shape) float32, 1 in that share of cases, else 0."""
        return (self.uniform(0.0, 1.0, *shape) < share).float()

    def index(self, count: int, *shape: int) -> Tensor:
        """(N, *shape) int64, 0 to count - 1."""
        size = (self.n, *shape)
        return torch.randint(count, size, generator=self._generator, device=self.device)

    def direction(self, dimensions: int = 3) -> Tensor:
        """(N, dimensions) unit, uniform."""
        return torch.nn.functional.normalize(self.normal(dimensions), dim=-1)
