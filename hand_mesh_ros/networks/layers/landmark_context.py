"""What all landmarks together say, for tokens that would otherwise see only their own place."""

from __future__ import annotations

from torch import Tensor, nn


class LandmarkContext(nn.Module):
    """(B, 21, 2) landmarks in crop units to (B, N, C) features, each one of all landmarks."""

    def __init__(self, channels: int, tokens: int = 21, width: int = 384, narrow: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(42, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()),
            *(nn.Linear(width, tokens * narrow), nn.Unflatten(1, (tokens, narrow)), nn.ReLU()),
            nn.Linear(narrow, channels),
        )

    def forward(self, uv: Tensor) -> Tensor:
        """Crop units become about a normal distribution's."""
        return self.layers(4.0 * (uv - 0.5).flatten(1))
