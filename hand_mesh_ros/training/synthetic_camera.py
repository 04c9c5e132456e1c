"""What a camera does to a picture: blur, noise, compression, colour."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.synthetic_response import (
    chroma_noise,
    sharper,
    tone_curve,
    vignette,
)

_REFERENCE_PX = 128
_SHARPEST_PX = 0.32
_THINNEST_PX = 0.35
# Quantisation of 8 x 8 blocks in JPEG's Annex K is close to 16 + 11 per step of frequency for
# lightness, and rises to 99 at once for colour.
_LUMA_STEP = 11.0, 8.0
_CHROMA_STEP = 17.0, 22.0


def photograph(image: Tensor, box_px: Tensor, config: SyntheticConfig, dice: Dice) -> Tensor:
    """(N, 3, S, S) sRGB as a camera delivers it, of the same shape and range 0 to 1.

    Args:
        image: (N, 3, S, S) sRGB, 0 to 1.
        box_px: (N,) side of the crop in pixels of the camera's image.
        config: strengths.
        dice: source of all randomness.
    """
    image = blur(image, box_px, config, dice.stream("blur"))
    if config.vignetting > 0:
        image = vignette(image, config.vignetting, dice.stream("vignetting"))
    if config.color_jitter > 0:
        image = jitter_color(image, config.color_jitter, dice.stream("color"))
    if config.tone_curve > 0:
        image = tone_curve(image, config.tone_curve, dice.stream("tone curve"))
    if config.chroma_noise > 0:
        image = chroma_noise(image, config.chroma_noise, dice.stream("chroma noise"))
    if config.noise > 0:
        image = add_noise(image, config.noise, dice.stream("noise"))
    if config.jpeg > 0:
        image = compress(image, config.jpeg, dice.stream("jpeg"))
    return image.clamp(0.0, 1.0)


def blur(image: Tensor, box_px: Tensor, config: SyntheticConfig, dice: Dice) -> Tensor:
    """Lens, motion and missing resolution as one Gaussian, longer in the direction of motion.

    The camera's sharpening is in the same kernel.
    """
    if max(config.defocus_px, config.motion_blur, config.low_resolution, config.sharpening) == 0:
        return image
    size = image.shape[-1]
    unit = size / _REFERENCE_PX
    sharp = dice.uniform(0.0, 1.0) ** 2.0 * config.defocus_px * unit
    enlarged = (size / box_px).clamp_max(4.0 * unit)
    missing = 0.45 * config.low_resolution * (enlarged * enlarged - 1.0).clamp_min(0.0).sqrt()
    # Even the best picture has no edges of one pixel.
    edges = min(config.defocus_px, 1.0) * _SHARPEST_PX
    variance = sharp * sharp + missing * missing + edges * edges + 1e-4
    path = dice.chance(config.motion_blur) * dice.uniform(0.0, 1.0) * config.motion_blur_px * unit
    along = dice.direction(2)
    # A path of length L smears like a Gaussian of variance L L / 12. It is as wide as a pixel, or
    # it would pass between the pixels.
    variance = torch.where(path > 0, variance.clamp_min(_THINNEST_PX**2), variance)
    C = variance[:, None, None] * torch.eye(2, device=image.device)
    C = C + (path * path / 12.0)[:, None, None] * along[:, :, None] * along[:, None, :]
    reach = math.ceil(3.2 * unit)
    steps = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    offset = torch.stack([x, y], dim=-1)  # (K, K, 2)
    power = torch.einsum("yxa,nab,yxb->nyx", offset, torch.linalg.inv(C), offset)
    kernel = (-0.5 * power).exp()
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    if config.sharpening > 0:
        kernel = sharper(kernel, config.sharpening, dice.stream("sharpening"))
    n, channels = image.shape[:2]
    weights = kernel.repeat_interleave(channels, 0)[:, None]  # (3 N, 1, K, K)
    padded = pad(image, [reach] * 4, mode="replicate").flatten(0, 1)[None]
    return conv2d(padded, weights, groups=n * channels)[0].unflatten(0, (n, channels))


def jitter_color(image: Tensor, strength: float, dice: Dice) -> Tensor:
    """White balance, brightness, contrast, saturation and gamma."""
    warm = strength * 0.06 * dice.normal(1)
    green = strength * 0.03 * dice.normal(1)
    gain = (strength * 0.1 * dice.normal(1)).exp()
    balance = (gain * torch.cat([warm, green, -warm], dim=1).exp())[..., None, None]
    gamma = (strength * 0.1 * dice.normal(1, 1, 1)).exp()
    image = (image * balance).clamp(1e-4, 1.2) ** gamma
    grey = image.mean(1, keepdim=True)
    saturation = (strength * 0.2 * dice.normal(1, 1, 1)).exp().clamp_max(1.4)
    contrast = (strength * 0.1 * dice.normal(1, 1, 1)).exp()
    middle = image.mean((1, 2, 3), keepdim=True)
    return middle + contrast * (grey + saturation * (image - grey) - middle)


def add_noise(image: Tensor, most: float, dice: Dice) -> Tensor:
    """Noise that grows with light, on part of the images in grains of two pixels."""
    level = most * dice.uniform(0.0, 1.0, 1, 1, 1) ** 2
    fine = dice.normal(*image.shape[1:])
    coarse = interpolate(avg_pool2d(fine, 2), scale_factor=2, mode="bilinear") * 2.2
    field = torch.lerp(fine, coarse, dice.uniform(0.0, 0.9, 1, 1, 1))
    # Each channel has its own noise, and demosaicing leaves part of it to all three.
    field = torch.lerp(field, field.mean(1, keepdim=True), 0.5)
    return image + level * (0.4 + image.clamp(0.0, 1.0)).sqrt() * field


def compress(image: Tensor, share: float, dice: Dice) -> Tensor:
    """Quantise 8 x 8 blocks as JPEG does, with colour at half the resolution."""
    height, width = image.shape[2:]
    chosen = dice.chance(share, 1, 1, 1)
    step = dice.uniform(-3.0, 0.4, 1, 1).exp() / 255.0
    to_ycc = image.new_tensor(
        [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
    )
    ycc = torch.einsum("dc,nchw->ndhw", to_ycc, image)
    luma = _quantise(ycc[:, :1], step, *_LUMA_STEP)
    half = avg_pool2d(ycc[:, 1:], 2)
    half = pad(half, [0, -half.shape[3] % 8, 0, -half.shape[2] % 8], mode="replicate")
    chroma = interpolate(_quantise(half, step, *_CHROMA_STEP), scale_factor=2, mode="nearest")
    ycc = torch.cat([luma, chroma[..., :height, :width]], dim=1)
    back = torch.einsum("dc,nchw->ndhw", torch.linalg.inv(to_ycc), ycc)
    return torch.where(chosen > 0, back, image)


def _quantise(values: Tensor, step: Tensor, base: float, rise: float) -> Tensor:
    """(N, C, H, W) with each block's cosine coefficients rounded to multiples of the step."""
    k = torch.arange(8, device=values.device, dtype=values.dtype)
    D = torch.cos(math.pi / 8.0 * (k + 0.5) * k[:, None]) * 0.5  # orthonormal DCT-II
    D[0] *= math.sqrt(0.5)
    width = step[:, None, None, None] * (base + rise * (k[:, None] + k))  # (N, 1, 1, 1, 8, 8)
    blocks = values.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    frequencies = D @ blocks @ D.T  # (N, C, H/8, W/8, 8, 8)
    width = width.view(len(values), 1, 1, 1, 8, 8)
    rounded = (frequencies / width).round() * width
    back = D.T @ rounded @ D
    return back.transpose(3, 4).flatten(4, 5).flatten(2, 3)
