"""Maps of an image at several scales, all of one width, from a transformer or a ResNet."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from hand_mesh_ros.networks.layers.imagenet import NormalizeColors
from hand_mesh_ros.networks.layers.mesh_feedback import FeaturePyramid
from hand_mesh_ros.networks.layers.resnet import IMAGENET_WIDTH, ResNet, ResNetName
from hand_mesh_ros.networks.layers.vit import PATCH_PX, SIZES, VisionTransformer, ViTName

BackboneName = Literal["tiny", "small", "base", "large", "resnet18", "resnet34"]
"""Names of `ViTName` and `ResNetName`."""
RESNETS = ("resnet18", "resnet34")


class TransformerMaps(nn.Module):
    """A plain transformer's token map, and finer ones of it (ViTDet, Li et al. 2022)."""

    def __init__(self, name: ViTName, image_size_px: int, width: int, levels: int) -> None:
        super().__init__()
        self.backbone = VisionTransformer(name, image_size_px)
        of_tokens = SIZES[name].width
        self.coarsest = nn.Conv2d(of_tokens, width, 1)
        self.finer = FeaturePyramid(of_tokens, width, levels - 1) if levels > 1 else None
        self.strides = tuple(PATCH_PX >> i for i in range(levels))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, C, S/16, S/16), (B, C, S/8, S/8), ... from (B, 3, S, S)."""
        grid = self.backbone.grid
        patches = self.backbone(image).patches  # (B, N, D)
        tokens = patches.transpose(1, 2).unflatten(2, (grid, grid))
        finer = [] if self.finer is None else self.finer(tokens)
        return [self.coarsest(tokens), *finer]


class ResNetMaps(nn.Module):
    """A ResNet's stages, each told what the coarser ones saw (feature pyramid, Lin et al. 2017)."""

    def __init__(
        self, name: ResNetName, width: int, levels: int, *, stage_width: int = IMAGENET_WIDTH
    ) -> None:
        super().__init__()
        self.backbone = ResNet(name, stage_width)
        self.normalize = NormalizeColors()
        kept = self.backbone.channels[::-1][:levels]  # coarse to fine
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in kept)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
            for _ in kept
        )
        self.strides = tuple(32 >> i for i in range(levels))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, C, S/32, S/32), (B, C, S/16, S/16), ... from (B, 3, S, S)."""
        stages = self.backbone(self.backbone.stem(self.normalize(image)))[::-1]
        maps, before = [], None
        for stage, lateral, smooth in zip(stages, self.lateral, self.smooth, strict=False):
            x = lateral(stage)
            if before is not None:
                x = x + nn.functional.interpolate(before, scale_factor=2.0, mode="nearest")
            before = x
            maps.append(smooth(x))
        return maps


def multi_scale_maps(
    name: BackboneName, image_size_px: int, width: int, levels: int, *, stage_width: int
) -> TransformerMaps | ResNetMaps:
    """The encoder of that name; `stage_width` is a ResNet's alone."""
    if name in RESNETS:
        return ResNetMaps(cast(ResNetName, name), width, levels, stage_width=stage_width)
    return TransformerMaps(cast(ViTName, name), image_size_px, width, levels)
