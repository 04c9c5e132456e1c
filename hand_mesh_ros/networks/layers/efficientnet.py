"""EfficientNet-B0 (Tan and Le 2019) as a feature extractor, with torchvision's parameter names."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

SHALLOW_CHANNELS, DEEP_CHANNELS = 32, 1280
_DROP_BLOCK = 0.2
"""Share of samples that skip the last block while training; it rises linearly from 0."""


class _Stage(NamedTuple):
    expand: int
    kernel: int
    stride: int
    channels: int
    blocks: int


_STAGES = (
    _Stage(1, 3, 1, 16, 1),
    _Stage(6, 3, 2, 24, 2),
    _Stage(6, 5, 2, 40, 2),
    _Stage(6, 3, 2, 80, 3),
    _Stage(6, 5, 1, 112, 3),
    _Stage(6, 5, 2, 192, 4),
    _Stage(6, 3, 1, 320, 1),
)


class EfficientNetB0(nn.Module):
    """The convolution that comes first, seven stages of inverted bottlenecks, and one more."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn(3, SHALLOW_CHANNELS, 3, stride=2)]
        before, number, total = SHALLOW_CHANNELS, 0, sum(stage.blocks for stage in _STAGES)
        for stage in _STAGES:
            blocks = []
            for k in range(stage.blocks):
                stride = stage.stride if k == 0 else 1
                blocks.append(
                    InvertedBottleneck(
                        before,
                        stage.channels,
                        stage.kernel,
                        stride=stride,
                        expand=stage.expand,
                        drop=_DROP_BLOCK * number / total,
                    )
                )
                before, number = stage.channels, number + 1
            layers.append(nn.Sequential(*blocks))
        layers.append(_conv_bn(before, DEEP_CHANNELS, 1))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def shallow(self, image: Tensor) -> Tensor:
        """(B, 32, S / 2, S / 2) of the first convolution, from (B, 3, S, S)."""
        return self.features[0](image)

    def forward(self, shallow: Tensor) -> Tensor:
        """(B, 1280, S / 32, S / 32) from what `shallow` gave."""
        x = shallow
        for layer in list(self.features)[1:]:
            x = layer(x)
        return x


class InvertedBottleneck(nn.Module):
    """Wider, filtered channel by channel, weighed by what the image shows, narrow again."""

    def __init__(
        self, before: int, channels: int, kernel: int, *, stride: int, expand: int, drop: float
    ) -> None:
        super().__init__()
        wide = expand * before
        layers: list[nn.Module] = [] if expand == 1 else [_conv_bn(before, wide, 1)]
        layers += [
            _conv_bn(wide, wide, kernel, stride=stride, groups=wide),
            SqueezeExcitation(wide, before // 4),
            _conv_bn(wide, channels, 1, activation=False),
        ]
        self.block = nn.Sequential(*layers)
        self.skips, self.drop = stride == 1 and before == channels, drop

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H / stride, W / stride) from (B, before, H, W)."""
        if not self.skips:
            return self.block(x)
        branch = self.block(x)
        if self.training and self.drop > 0.0:
            kept = 1.0 - self.drop
            branch = branch * (torch.rand(len(x), 1, 1, 1, device=x.device) < kept) / kept
        return x + branch


class SqueezeExcitation(nn.Module):
    """A weight from 0 to 1 for each channel, from the means of all."""

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, narrow, 1)
        self.fc2 = nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), channels weighed."""
        weight = nn.functional.silu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(weight))


def _conv_bn(
    before: int,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: bool = True,
) -> nn.Sequential:
    conv = nn.Conv2d(
        before, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    norm = nn.BatchNorm2d(channels)
    return nn.Sequential(conv, norm, nn.SiLU()) if activation else nn.Sequential(conv, norm)
