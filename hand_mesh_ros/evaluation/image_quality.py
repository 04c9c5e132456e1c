"""How alike two images are within a region: SSIM (Wang et al. 2004) and PSNR."""

from __future__ import annotations

import torch
from torch import Tensor

_WINDOW, _STDDEV_PX = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
"""For colours from 0 to 1."""
_BEST_MSE = 1e-10


def masked_ssim(image: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean structural similarity over a region; NaN where it is empty.

    Outside of it both are taken to be the truth, so that only the region is judged.

    Args:
        image: (B, 3, H, W) 0 to 1.
        truth: likewise.
        mask: (B, H, W) bool.
    """
    _check(image, truth, mask)
    image = torch.where(mask[:, None], image, truth)
    x, y = _blurred(image), _blurred(truth)
    x2, y2 = _blurred(image * image) - x * x, _blurred(truth * truth) - y * y
    xy = _blurred(image * truth) - x * y
    similarity = (2 * x * y + _C1) * (2 * xy + _C2) / ((x * x + y * y + _C1) * (x2 + y2 + _C2))
    return _mean_inside(similarity.mean(dim=1), mask)


def masked_psnr_db(image: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """(B,) peak signal to noise ratio over a region, dB, of a peak of 1; as `masked_ssim`."""
    _check(image, truth, mask)
    mse = _mean_inside((image - truth).square().mean(dim=1), mask)
    return -10.0 * torch.log10(mse.clamp_min(_BEST_MSE))


def _blurred(x: Tensor) -> Tensor:
    """By a Gaussian of 11 pixels; borders are mirrored."""
    at = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-0.5 * (at / _STDDEV_PX) ** 2)
    weights = (weights / weights.sum()).expand(x.shape[1], 1, 1, -1)
    edge = _WINDOW // 2
    x = torch.nn.functional.pad(x, (edge, edge, edge, edge), mode="reflect")
    x = torch.nn.functional.conv2d(x, weights, groups=x.shape[1])
    return torch.nn.functional.conv2d(x, weights.transpose(2, 3), groups=x.shape[1])


def _mean_inside(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) of (B, H, W)."""
    return (values * mask).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))


def _check(image: Tensor, truth: Tensor, mask: Tensor) -> None:
    wanted = (image.shape[0], *image.shape[2:])
    if image.shape != truth.shape or mask.shape != wanted or mask.dtype != torch.bool:
        raise ValueError(
            f"image is {tuple(image.shape)}, truth {tuple(truth.shape)}, mask {mask.dtype} "
            f"{tuple(mask.shape)}; expected two (B, 3, H, W) and a bool (B, H, W)"
        )
