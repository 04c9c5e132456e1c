"""ResNets (He et al. 2016) as feature extractors, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

ResNetName = Literal["resnet18", "resnet34"]
"""Those of basic blocks, whose stages have 1, 2, 4 and 8 times the stem's width."""
DeepResNetName = Literal["resnet50"]
"""Those of bottlenecks, whose stages have four times as many."""
BLOCKS: dict[ResNetName | DeepResNetName, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
}
_BOTTLENECK = 4
IMAGENET_WIDTH = 64
"""Channels of the first stage; with another number published weights do not fit."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            skip = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H / stride, W / stride) from (B, channels_in, H, W)."""
        skip = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(skip + self.bn2(self.conv2(x)))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones that make it narrow and wide again, and a skip."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        narrow = channels // _BOTTLENECK
        self.conv1 = nn.Conv2d(channels_in, narrow, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            skip = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H / stride, W / stride) from (B, channels_in, H, W)."""
        skip = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(skip + self.bn3(self.conv3(x)))


class ResNetStages(nn.Module):
    """The four stages without the stem: features at 1/4, 1/8, 1/16 and 1/32 of the image."""

    def __init__(self, name: ResNetName | DeepResNetName, width: int = IMAGENET_WIDTH) -> None:
        super().__init__()
        block, widen = (Bottleneck, _BOTTLENECK) if name == "resnet50" else (BasicBlock, 1)
        first_stage = widen * width
        self.channels = (first_stage, 2 * first_stage, 4 * first_stage, 8 * first_stage)
        before = width
        for i, (channels, blocks) in enumerate(zip(self.channels, BLOCKS[name], strict=True)):
            first = block(before, channels, stride=1 if i == 0 else 2)
            rest = (block(channels, channels) for _ in range(blocks - 1))
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *rest))
            before = channels
        _initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Four features, fine to coarse, from (B, width, S / 4, S / 4)."""
        features = []
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
            features.append(x)
        return features


class ResNet(ResNetStages):
    """Stem and stages."""

    def __init__(self, name: ResNetName | DeepResNetName, width: int = IMAGENET_WIDTH) -> None:
        super().__init__(name, width)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        _initialise(self.conv1)

    def shallow(self, image: Tensor) -> Tensor:
        """(B, width, S / 2, S / 2) of the first convolution, from (B, 3, S, S)."""
        return torch.relu(self.bn1(self.conv1(image)))

    def stem(self, image: Tensor) -> Tensor:
        """(B, width, S / 4, S / 4) from (B, 3, S, S)."""
        return self.maxpool(self.shallow(image))


def load_imagenet_weights(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Take all that the network has from torchvision's state dict.

    Raises:
        ValueError: a tensor of the network is missing there or has another shape.
    """
    own = network.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise ValueError(f"ImageNet weights: {name!r} is missing; are they of another network?")
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"ImageNet weights: {name!r} is {tuple(state[name].shape)}, the network's is "
                f"{tuple(tensor.shape)}; published weights fit a width of {IMAGENET_WIDTH}"
            )
    network.load_state_dict({name: state[name] for name in own})


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            # Each block starts as its skip, or a deep network without ImageNet weights runs away.
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
