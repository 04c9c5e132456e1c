"""What a camera's sensor and its processing make of light: fall-off, curve, blotches, sharpening.

All strengths are factors: 0 leaves the picture as it is, 1 is as usual cameras have it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from hand_mesh_ros.training.synthetic_dice import Dice

_BLOTCH_PX = 4
_SOFT = 0.4
"""Share of a mean of 3 x 3 pixels: as wide as a Gaussian of half a pixel."""
_STEEPEST = 0.45
"""From 0.5 on, the curve would fall somewhere."""


def vignette(image: Tensor, strength: float, dice: Dice) -> Tensor:
    """(N, 3, S, S) darker away from some middle: a crop may be of any part of the image."""
    ramp = torch.linspace(-1.0, 1.0, image.shape[-1], device=dice.device)
    middle = dice.uniform(-1.0, 1.0, 2, 1, 1)
    square = (ramp - middle[:, 0]) ** 2 + (ramp[:, None] - middle[:, 1]) ** 2  # (N, S, S)
    dark = strength * 0.1 * dice.uniform(0.0, 1.0, 1, 1) ** 2
    return image * (1.0 - dark * square)[:, None].clamp_min(0.0)


def tone_curve(image: Tensor, strength: float, dice: Dice) -> Tensor:
    """(N, 3, S, S) with steeper or flatter middle tones, of each channel a little different.

    Some pictures are overexposed before it; after it colours are paler, and some pictures have a
    veil of stray light.
    """
    bright = 1.0 + strength * 0.25 * dice.chance(0.3, 1, 1, 1) * dice.uniform(0.0, 1.0, 1, 1, 1)
    steep = dice.uniform(-0.2, 0.6, 1, 1, 1) + 0.04 * dice.normal(3, 1, 1)
    steep = (strength * steep).clamp(-_STEEPEST, _STEEPEST)
    veil = strength * 0.12 * dice.uniform(0.0, 1.0, 1, 1, 1) ** 3
    veil = veil * (1.0 + 0.15 * dice.normal(3, 1, 1)).clamp_min(0.0)
    paler = strength * dice.uniform(0.0, 0.4, 1, 1, 1)
    x = (image * bright).clamp_(0.0, 1.0)
    bend = (x - 0.5).mul_(x).mul_(1.0 - x)  # (N, 3, S, S), 0 at black, middle and white
    x = x.addcmul_(bend, 4.0 * steep)
    grey = (x[:, :1] + x[:, 1:2]).add_(x[:, 2:]).div_(3.0)
    x = x.lerp_(grey, paler.clamp_max(1.0))
    return x.mul_(1.0 - veil).add_(veil)


def chroma_noise(image: Tensor, strength: float, dice: Dice) -> Tensor:
    """(N, 3, S, S) with soft blotches of colour, as denoising leaves them in dim light."""
    side = image.shape[-1] // _BLOTCH_PX
    blotches = dice.normal(3, side, side)
    blotches = blotches - blotches.mean(1, keepdim=True)  # of colour, not of light
    level = strength * 0.03 * dice.uniform(0.0, 1.0, 1, 1, 1) ** 2
    return image + interpolate(level * blotches, image.shape[2:], mode="bilinear")


def sharper(kernel: Tensor, strength: float, dice: Dice) -> Tensor:
    """(N, K, K) kernels of a blur and of a sharpening after it, which half of the pictures have.

    A picture gets its difference from the mean of 3 x 3 pixels added: halos along its edges.
    """
    chosen = dice.chance(0.5, 1, 1)
    amount = strength * chosen * dice.uniform(0.0, 1.5, 1, 1)
    # A lens comes first, so that no steps of single pixels get halos.
    kernel = torch.lerp(kernel, _mean_of_9(kernel), min(strength, 1.0) * _SOFT * chosen)
    kernel = kernel + amount * (kernel - _mean_of_9(kernel))
    return kernel / kernel.sum((1, 2), keepdim=True)


def _mean_of_9(kernel: Tensor) -> Tensor:
    """(N, K, K) each with its neighbours, nothing beyond the edges."""
    return avg_pool2d(kernel[:, None], 3, stride=1, padding=1)[:, 0]
