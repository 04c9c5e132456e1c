"""Pixels from a transformer's tokens (HandMIM section 3.4): a pyramid fed by several blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NUM_STEPS = 4
"""Doublings from patches of 16 pixels to pixels."""


class PixelDecoder(nn.Module):
    """Four transposed convolutions; after each but the last, an earlier block's tokens join in.

    The paper names neither blocks nor widths, and not how tokens reach a finer map: here a linear
    layer makes them as wide as the map, and they are enlarged without further weights.
    """

    def __init__(self, width: int, widths: tuple[int, ...]) -> None:
        """Build it.

        Args:
            width: of the tokens.
            widths: channels after each of the four doublings.
        """
        super().__init__()
        self.start = nn.Conv2d(width, widths[0], 1)
        before = (widths[0], *widths[:-1])
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, padding=1), nn.GELU())
            for a, b in zip(before, widths, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, c, 1) for c in widths[:-1])
        self.fuse = nn.ModuleList(nn.Conv2d(2 * c, c, 1) for c in widths[:-1])
        self.colors = nn.Conv2d(widths[-1], 3, 1)
        self.apply(_initialise)

    def forward(self, taken: Sequence[Tensor], rows: int, columns: int) -> Tensor:
        """(B, 3, 16 rows, 16 columns) from the (B, N, D) tokens of four blocks, deepest last."""
        maps = [t.transpose(1, 2).unflatten(2, (rows, columns)) for t in taken]  # (B, D, h, w)
        x = self.start(maps[-1])
        earlier = maps[-2::-1]
        for k, up in enumerate(self.up):
            x = up(x)
            if k < len(self.fuse):
                beside = nn.functional.interpolate(self.lateral[k](earlier[k]), x.shape[2:])
                x = self.fuse[k](torch.cat([x, beside], dim=1))
        return self.colors(x)


def _initialise(module: nn.Module) -> None:
    """Signals keep their size on the way, or the first thousand steps would paint grey."""
    if isinstance(module, nn.ConvTranspose2d):
        # A pixel sums 2 x 2 of the kernel's 4 x 4 places.
        nn.init.normal_(module.weight, std=(2.0 / (4 * module.in_channels)) ** 0.5)
    elif isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=module.in_channels**-0.5)
    else:
        return
    nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all have one
