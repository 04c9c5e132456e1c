"""One vector of a whole image and a map of its details, by any of the published encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

from torch import Tensor, nn

from hand_mesh_ros.networks.layers.efficientnet import (
    DEEP_CHANNELS,
    SHALLOW_CHANNELS,
    EfficientNetB0,
)
from hand_mesh_ros.networks.layers.imagenet import NormalizeColors
from hand_mesh_ros.networks.layers.resnet import IMAGENET_WIDTH, ResNet, load_imagenet_weights

EncoderName = Literal["resnet18", "resnet34", "resnet50", "efficientnet_b0"]


class ImageFeatures(NamedTuple):
    """What an encoder makes of B images."""

    whole: Tensor
    """(B, C) mean of the last features: what would go to a classifier."""
    shallow: Tensor
    """(B, c, S / 2, S / 2) of the first convolution."""


class ImageEncoder(nn.Module):
    """Images in [0, 1] to `ImageFeatures`; `whole_channels` and `shallow_channels` are C and c."""

    def __init__(self, name: EncoderName) -> None:
        super().__init__()
        self.normalize = NormalizeColors()
        if name == "efficientnet_b0":
            self.network: nn.Module = EfficientNetB0()
            self.whole_channels, self.shallow_channels = DEEP_CHANNELS, SHALLOW_CHANNELS
        else:
            network = ResNet(name)
            self.network = network
            self.whole_channels, self.shallow_channels = network.channels[-1], IMAGENET_WIDTH

    def forward(self, image: Tensor) -> ImageFeatures:
        """From (B, 3, S, S) RGB in [0, 1]."""
        if isinstance(self.network, EfficientNetB0):
            shallow = self.network.shallow(self.normalize(image))
            deep = self.network(shallow)
        else:
            network = cast(ResNet, self.network)
            shallow = network.shallow(self.normalize(image))
            deep = network(network.maxpool(shallow))[-1]
        return ImageFeatures(deep.mean(dim=(2, 3)), shallow)

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Start from torchvision's weights.

        Raises:
            ValueError: they are another network's.
        """
        load_imagenet_weights(self.network, state)
