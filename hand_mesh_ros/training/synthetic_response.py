"""What a camera's sensor and its processing make of light: fall-off, curve, blotches, sharpening.

All strengths are factors: 0 leaves the picture as it is, 1 is as usual cameras do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from hand_mesh_ros.training.synthetic_dice import Dice

_BLOTCH_PX = 4
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

    Some pictures are overexposed before it, some have a veil of stray light after it.
    """
    bright = 1.0 + strength * 0.25 * dice.chance(0.3, 1, 1, 1) * dice.uniform(0.0, 1.0, 1, 1, 1)
    steep = dice.uniform(-0.2, 0.6, 1, 1, 1) + 0.06 * dice.normal(3, 1, 1)
    steep = (strength * steep).clamp(-_STEEPEST, _STEEPEST)
    veil = strength * 0.12 * dice.uniform(0.0, 1.0, 1, 1, 1) ** 3
    veil = veil * (1.0 + 0.15 * dice.normal(3, 1, 1)).clamp_min(0.0)
    x = (image * bright).clamp(0.0, 1.0)
    x = x + 4.0 * steep * (x - 0.5) * x * (1.0 - x)
    return veil + (1.0 - veil) * x


def chroma_noise(image: Tensor, strength: float, dice: Dice) -> Tensor:
    """(N, 3, S, S) with soft blotches of colour, as denoising leaves them in dim light."""
    side = image.shape[-1] // _BLOTCH_PX
    blotches = dice.normal(3, side, side)
    blotches = blotches - blotches.mean(1, keepdim=True)  # of colour, not of light
    level = strength * 0.03 * dice.uniform(0.0, 1.0, 1, 1, 1) ** 2
    return image + interpolate(level * blotches, image.shape[2:], mode="bilinear")


def sharpen(image: Tensor, strength: float, dice: Dice) -> Tensor:
    """(N, 3, S, S) with steeper edges and halos along them, half of the pictures."""
    amount = strength * dice.chance(0.5, 1, 1, 1) * dice.uniform(0.0, 1.5, 1, 1, 1)
    around = avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    return image + amount * (image - around)
