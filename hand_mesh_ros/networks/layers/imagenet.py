"""Colours as networks that start from ImageNet weights want them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class NormalizeColors(nn.Module):
    """(B, 3, H, W) RGB in [0, 1] to mean 0 and deviation 1 over ImageNet."""

    mean: Tensor
    stddev: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", IMAGENET_MEAN), ("stddev", IMAGENET_STDDEV)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """To the network."""
        return (image - self.mean) / self.stddev

    def inverse(self, normalized: Tensor) -> Tensor:
        """Back to [0, 1]."""
        return normalized * self.stddev + self.mean
