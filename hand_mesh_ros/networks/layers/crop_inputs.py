"""What image networks take: a square crop, and a detector's landmarks where they want some."""

from __future__ import annotations

import torch
from torch import Tensor


def check_crop(image: Tensor, size_px: int) -> None:
    """Refuse what is no batch of (B, 3, S, S) crops; raises ValueError."""
    if image.dim() != 4 or image.shape[1:] != (3, size_px, size_px):
        raise ValueError(
            f"image must be (B, 3, {size_px}, {size_px}) for image_size_px {size_px}, "
            f"got {tuple(image.shape)}"
        )


def example_crops(batch: int, size_px: int, *, landmark_cue: bool = False) -> dict[str, Tensor]:
    """Random inputs of the right shapes by name, always the same.

    Args:
        batch: number of crops.
        size_px: their side.
        landmark_cue: also (B, 21, 3) u, v in crop units and a weight from 0 to 1.
    """
    random = torch.Generator().manual_seed(0)
    inputs = {"image": torch.rand(batch, 3, size_px, size_px, generator=random)}
    if landmark_cue:
        inputs["landmark_cue"] = torch.rand(batch, 21, 3, generator=random)
    return inputs
