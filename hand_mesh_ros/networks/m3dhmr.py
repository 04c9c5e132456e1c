"""M3DHMR (Lin et al. 2025, arXiv 2505.20058): one crop of a right hand to a mesh, without a model.

Two stacked encoders find 21 landmarks; features sampled there are lifted to a coarse mesh and
refined by dynamic spiral convolutions and a layer that looks along the vertex's own finger.

What the paper leaves open is from MobRecon (Chen et al. 2022), on which it builds. Ours: the
hourglass and its widths, the lifting matrix's start, the optional landmark cue, and the wrist,
which is taken to the origin exactly. "Crop units" (uv): (0, 0) is the outer corner of the crop's
top left pixel, (1, 1) of its bottom right one, so uv = (px + 0.5) / image_size_px.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mesh_levels import mesh_levels
from hand_mesh_ros.hand_models.spirals import level_spirals, region_spirals
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.networks.layers.crop_inputs import check_crop, example_crops
from hand_mesh_ros.networks.layers.gaussian_maps import gaussian_maps
from hand_mesh_ros.networks.layers.imagenet import NormalizeColors
from hand_mesh_ros.networks.layers.landmark_context import LandmarkContext
from hand_mesh_ros.networks.layers.landmark_cue import known_cue, require_cue_reader
from hand_mesh_ros.networks.layers.resnet import (
    ResNet,
    ResNetName,
    ResNetStages,
    load_imagenet_weights,
)
from hand_mesh_ros.networks.layers.spiral_conv import SpiralConv, SpiralKind, spiral_conv
from hand_mesh_ros.networks.layers.up_sample import UpSample
from hand_mesh_ros.networks.registry import register_network

UNIT_M = 0.2
"""Vertices inside the network are in units of this, about a hand's length."""
_LIFT_STDDEV_M = 0.03
PRETRAINED = ("encoder.stacks.0.", "encoder.fusions.0.", "encoder.stacks.1.stages.layer1.")
"""What the paper takes from pre-training: the first stack and the first layer of the second."""


@dataclass(frozen=True)
class M3DHMRConfig:
    """Sizes, and the switches of the paper's tables 1 to 3."""

    backbone: ResNetName = "resnet18"
    stack_widths: tuple[int, ...] = (64, 64)
    """Channels of each stack's first stage, one entry a stack; ImageNet weights fit 64."""
    hourglass_width: int = 128
    image_size_px: int = 128
    mesh_widths: tuple[int, ...] = (256, 256, 128, 64, 32)
    """Channels of each level of the mesh, coarse to fine; the coarsest is what is lifted."""
    convolution: SpiralKind = "dynamic"
    """"dynamic" is the paper's DSC; the others are its table 2."""
    kernels: int = 8
    """K of the dynamic convolution."""
    spiral_length: int = 9
    spiral_dilation: int = 1
    roi: bool = True
    roi_length: int = 16
    roi_dilation: int = 3
    landmark_cue: bool = False
    """Takes a detector's landmarks beside the image; each stack then says how far they are off."""
    cue_stddev: float = 0.03
    """Of their dots, crop units."""
    cue_dropout: float = 0.3
    """Share of training samples that get no cue, so that the network can do without."""
    landmark_context: bool = False
    """Pose features also tell where all landmarks are: much of a pose is learned from that alone,
    long before the image's features are good."""
    keypoints: Literal["anatomical", "detector"] = "anatomical"
    """Which of the hand model's keypoints all 21 are, in the image and in space."""

    def __post_init__(self) -> None:
        for name, known in (
            ("backbone", get_args(ResNetName)),
            ("convolution", get_args(SpiralKind)),
            ("keypoints", ("anatomical", "detector")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name in ("hourglass_width", "kernels", "spiral_length", "spiral_dilation"):
            _at_least_one(name, getattr(self, name))
        for name in ("roi_length", "roi_dilation"):
            _at_least_one(name, getattr(self, name))
        for name, shortest in (("stack_widths", 1), ("mesh_widths", 2)):
            widths = getattr(self, name)
            if len(widths) < shortest:
                raise ValueError(f"{name} needs {shortest} entries or more, got {widths}")
            for i, width in enumerate(widths):
                _at_least_one(f"{name}[{i}]", width)
        if self.image_size_px < 64 or self.image_size_px % 32:
            raise ValueError(
                f"image_size_px must be a multiple of 32 from 64 on, got {self.image_size_px}"
            )
        if not self.cue_stddev > 0.0:
            raise ValueError(f"cue_stddev must be positive, got {self.cue_stddev}")
        if not 0.0 <= self.cue_dropout < 1.0:
            raise ValueError(f"cue_dropout must be in [0, 1), got {self.cue_dropout}")

    @classmethod
    def small(cls) -> M3DHMRConfig:
        """Below 16 million parameters; the first stack still takes ImageNet weights."""
        return cls(
            stack_widths=(64, 32), hourglass_width=48, mesh_widths=(128, 128, 64, 64, 32), kernels=4
        )


@register_network("m3dhmr", config=M3DHMRConfig)
class M3DHMR(nn.Module):
    """A crop of a right hand (a left one mirrored) to its mesh and landmarks."""

    keypoint_weights: Tensor
    wrist_weights: Tensor

    def __init__(self, config: M3DHMRConfig, model: HandModel) -> None:
        super().__init__()
        self.config = config
        self.encoder = StackedEncoder(config)
        self.context = None
        if config.landmark_context:
            self.context = LandmarkContext(config.mesh_widths[0])
        self.lift = nn.Parameter(_lifting_start(config, model))
        self.decoder = MeshDecoder(config, model)
        # Saved with the weights: fitted numbers may differ in their last digits elsewhere.
        keypoints = vertex_keypoint_weights(model, config.keypoints)
        wrist = vertex_keypoint_weights(model, "anatomical")[:1]
        self.register_buffer("keypoint_weights", torch.tensor(keypoints, dtype=torch.float32))
        self.register_buffer("wrist_weights", torch.tensor(wrist, dtype=torch.float32))

    def forward(self, image: Tensor, landmark_cue: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruct a batch.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            landmark_cue: (B, 21, 3) u, v in crop units and a weight from 0 (unknown) to 1. None is
                the same as all unknown.

        Returns:
            vertices_m (B, V, 3) and keypoints_m (B, 21, 3), camera axes, wrist joint at the origin;
            keypoints_uv (B, 21, 2) in crop units; stack_keypoints_uv (B, stacks, 21, 2), those of
            every stack, of which the last are keypoints_uv.
        """
        latent, stacks = self.encoder(image, landmark_cue)
        uv = stacks[-1].uv
        # align_corners=False puts -1 and 1 on the outer corners, where uv has 0 and 1.
        grid = (2.0 * uv - 1.0)[:, :, None]  # (B, 21, 1, 2)
        at_landmarks = nn.functional.grid_sample(
            latent, grid, padding_mode="border", align_corners=False
        )  # (B, C, 21, 1)
        pose_features = at_landmarks[..., 0].transpose(1, 2)  # (B, 21, C), eq. 1
        if self.context is not None:
            pose_features = pose_features + self.context(uv)
        vertices = UNIT_M * self.decoder(self.lift @ pose_features)  # eq. 2
        vertices = vertices - self.wrist_weights @ vertices
        return {
            "vertices_m": vertices,
            "keypoints_m": self.keypoint_weights @ vertices,
            "keypoints_uv": uv,
            "stack_keypoints_uv": torch.stack([s.uv for s in stacks], dim=1),
        }

    def forward_pretraining(
        self, image: Tensor, landmark_cue: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Run the encoder alone: stack_keypoints_uv, and stack_heatmaps (B, stacks, 21, S/4, S/4).

        The maps are to be `gaussian_maps` of the true landmarks; only pre-training asks that.
        """
        _, stacks = self.encoder(image, landmark_cue)
        return {
            "stack_keypoints_uv": torch.stack([s.uv for s in stacks], dim=1),
            "stack_heatmaps": torch.stack([s.maps for s in stacks], dim=1),
        }

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take what the paper keeps of pre-training from a pre-trained network's state dict.

        Raises:
            ValueError: a tensor is missing there or has another shape.
        """
        own = {k: v for k, v in self.state_dict().items() if k.startswith(PRETRAINED)}
        for name, tensor in own.items():
            if name not in state or state[name].shape != tensor.shape:
                got = tuple(state[name].shape) if name in state else "nothing"
                raise ValueError(f"pre-trained {name!r} must be {tuple(tensor.shape)}, got {got}")
        self.load_state_dict({name: state[name] for name in own}, strict=False)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        config = self.config
        return example_crops(batch, config.image_size_px, landmark_cue=config.landmark_cue)


class StackOutput(NamedTuple):
    """What one stack found."""

    features: list[Tensor]
    """Of its four stages, fine to coarse."""
    hourglass: Tensor
    """(B, C, S/4, S/4)"""
    maps: Tensor
    """(B, 21, S/4, S/4), heat-maps while pre-training."""
    uv: Tensor
    """(B, 21, 2) crop units."""


class StackedEncoder(nn.Module):
    """ResNets one after the other; each later one sees the stem's features and the stack before."""

    def __init__(self, config: M3DHMRConfig) -> None:
        super().__init__()
        self.config = config
        first, *later = config.stack_widths
        self.stacks = nn.ModuleList([Stack(ResNet(config.backbone, first), config)])
        self.fusions = nn.ModuleList()
        for width in later:
            self.fusions.append(_conv_bn_relu(first + config.hourglass_width + 21, width, 1))
            self.stacks.append(Stack(ResNetStages(config.backbone, width), config))
        self.cue = None
        if config.landmark_cue:
            # Zero at the start: an ImageNet stem works on as if there were no cue.
            self.cue = nn.Conv2d(21, first, 3, padding=1, bias=False)
            nn.init.zeros_(self.cue.weight)
        self.latent = nn.Conv2d(8 * config.stack_widths[-1], config.mesh_widths[0], 1)
        self.normalize = NormalizeColors()

    def forward(
        self, image: Tensor, landmark_cue: Tensor | None
    ) -> tuple[Tensor, list[StackOutput]]:
        """(B, C, S/32, S/32) features to lift, and what every stack found."""
        check_crop(image, self.config.image_size_px)
        first, *later = cast("list[Stack]", list(self.stacks))
        trunk = cast(ResNet, first.stages)
        stem = trunk.stem(self.normalize(image))  # (B, C, S/4, S/4)
        near: Tensor | None = None
        if landmark_cue is not None:
            reader = require_cue_reader(self.cue)
            dropout = self.config.cue_dropout if self.training else 0.0
            cue_uv, weight = known_cue(landmark_cue, dropout=dropout)
            near = weight * (cue_uv - 0.5)
            maps = gaussian_maps(cue_uv, stem.shape[2], self.config.cue_stddev)
            stem = stem + reader(maps * weight[..., None])
        outputs = [first(stem, near)]
        for fusion, stack in zip(self.fusions, later, strict=True):
            before = outputs[-1]
            seen = fusion(torch.cat([stem, before.hourglass, before.maps], dim=1))
            outputs.append(stack(seen, near))
        return self.latent(outputs[-1].features[-1]), outputs

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Start every stack from torchvision's ResNet weights.

        Raises:
            ValueError: they are another ResNet's, or a stack has another width.
        """
        for stack in cast("list[Stack]", list(self.stacks)):
            load_imagenet_weights(stack.stages, state)


class Stack(nn.Module):
    """Stages of a ResNet, an hourglass back up to 1/4, and landmarks read off its maps."""

    def __init__(self, stages: ResNetStages, config: M3DHMRConfig) -> None:
        super().__init__()
        width, cells = config.hourglass_width, (config.image_size_px // 8) ** 2
        self.stages = stages
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in stages.channels)
        self.smooth = nn.ModuleList(_conv_bn_relu(width, width, 3) for _ in stages.channels[1:])
        self.maps = nn.Conv2d(width, 21, 1)
        # One small network for all landmarks, on each one's map at 1/8; it can point out of the
        # crop, where a maximum could not.
        self.landmark = nn.Sequential(
            *(nn.Linear(cells, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2))
        )

    def forward(self, x: Tensor, near: Tensor | None) -> StackOutput:
        """Down and up again.

        Args:
            x: (B, C, S/4, S/4)
            near: (B, 21, 2) where landmarks are about, crop units from the middle; None: unknown.
        """
        features = self.stages(x)
        up = self.lateral[3](features[3])  # (B, C, S/32, S/32)
        for i in (2, 1, 0):
            up = nn.functional.interpolate(up, scale_factor=2.0, mode="nearest")
            up = self.smooth[i](up + self.lateral[i](features[i]))  # (B, C, S/4, S/4) at last
        maps = self.maps(up)
        cells = nn.functional.avg_pool2d(maps, 2).flatten(2)  # (B, 21, S/8 S/8)
        uv = 0.5 + self.landmark(cells)
        return StackOutput(features, up, maps, uv if near is None else uv + near)


class MeshDecoder(nn.Module):
    """Features of the coarsest level to vertices of the full mesh, in units of `UNIT_M`."""

    def __init__(self, config: M3DHMRConfig, model: HandModel) -> None:
        super().__init__()
        num_levels = len(config.mesh_widths)
        levels = mesh_levels(model, num_levels)
        spirals = level_spirals(model, config.spiral_length, config.spiral_dilation, num_levels)
        self.up, self.convs = nn.ModuleList(), nn.ModuleList()
        for i in range(num_levels - 1):
            level = num_levels - 2 - i  # of the mesh that this step arrives at
            before, after = config.mesh_widths[i : i + 2]
            self.up.append(UpSample(levels.up[level]))
            self.convs.append(
                spiral_conv(
                    config.convolution, before, after, spirals[level], kernels=config.kernels
                )
            )
        width = config.mesh_widths[-1]
        self.roi = None
        if config.roi:
            regions = region_spirals(model, config.roi_length, config.roi_dilation)
            self.roi = SpiralConv(width, width, regions)
        self.head = SpiralConv(width, 3, spirals[0])
        # The first meshes are points, not explosions: training starts twice as fast.
        with torch.no_grad():
            self.head.linear.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, 3) from (B, V_coarsest, C)."""
        for up, conv in zip(self.up, self.convs, strict=True):
            x = torch.relu(conv(up(x)))  # (B, V of the level, C)
        if self.roi is not None:
            x = x + torch.relu(self.roi(x))
        return self.head(x)


def _conv_bn_relu(channels_in: int, channels: int, size: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


def _lifting_start(config: M3DHMRConfig, model: HandModel) -> Tensor:
    """(V_coarse, 21) rows summing to 1: each coarse vertex from the landmarks near it at rest.

    MobRecon starts with one constant, from which all vertices get the same features.
    """
    coarse = mesh_levels(model, len(config.mesh_widths)).vertices_m[-1] - model.joint_template_m[0]
    offset = coarse[:, None] - model.keypoints_at_rest(config.keypoints)  # (V, 21, 3)
    closeness = np.exp(-0.5 * np.sum((offset / _LIFT_STDDEV_M) ** 2, axis=2)) + 1e-6
    lift = closeness / closeness.sum(axis=1, keepdims=True)
    return torch.tensor(lift, dtype=torch.float32)


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
