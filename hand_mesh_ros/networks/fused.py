"""Image and lifter together: a crop, and the hand that landmarks alone suggest, to a better one.

The lifter knows how hands bend, and sees 21 points; an image shows where those points really are,
and what lies in front. So this network starts from the lifter's hand and learns what that is off:
features are read where its keypoints lie in the crop, correct its rotations, shape and landmarks,
and are read again. Before anything is learned the answer is the lifter's.

Ours, with the feedback of PyMAF (Zhang et al. 2021) and the encoder of `maskhand_context.py`. Crop
units (uv): (0, 0) is the outer corner of the crop's top left pixel, (1, 1) of its bottom right one,
so uv = (px + 0.5) / image_size_px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_hand import (
    TorchHand,
    rotations_from_axis_angle,
    six_from_rotations,
)
from hand_mesh_ros.hand_models.torch_precision import in_single_precision
from hand_mesh_ros.networks.layers.crop_inputs import example_crops
from hand_mesh_ros.networks.layers.multi_scale import BackboneName
from hand_mesh_ros.networks.maskhand_context import Context, ContextEncoder
from hand_mesh_ros.networks.registry import register_network

_UV_UNIT = 0.05
"""Crop units that landmarks are off by: networks learn faster from numbers of about 1."""
_STDDEV_UNIT_M = 0.003
_TURN_UNIT_RAD = 0.1
_LOG_STDDEV_RANGE = -3.0, 3.0


@dataclass(frozen=True)
class FusedConfig:
    """Sizes; the encoder's fields are those of `MaskHandConfig`."""

    backbone: BackboneName = "resnet18"
    image_size_px: int = 128
    stage_width: int = 64
    levels: int = 3
    width: int = 192
    cue_stddev: float = 0.03
    corrections: int = 2
    """Times that features are read and the hand is corrected."""
    point_width: int = 32
    """Numbers that are kept of what is read at a keypoint."""
    hidden: int = 512
    keypoints: Literal["anatomical"] = "anatomical"

    def __post_init__(self) -> None:
        for name in ("stage_width", "levels", "width", "corrections", "point_width", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.image_size_px < 64 or self.image_size_px % 32:
            raise ValueError(
                f"image_size_px must be a multiple of 32 from 64 on, got {self.image_size_px}"
            )
        if not self.cue_stddev > 0.0:
            raise ValueError(f"cue_stddev must be positive, got {self.cue_stddev}")


class FusedStep(NamedTuple):
    """The hand after one correction; m, camera axes of the crop, wrist joint at the origin."""

    vertices_m: Tensor
    """(B, V, 3)"""
    keypoints_m: Tensor
    """(B, 21, 3)"""
    keypoints_uv: Tensor
    """(B, 21, 2) crop units."""
    rotations: Tensor
    """(B, 16, 3, 3) of each joint relative to its parent; the first into the camera."""
    shape: Tensor
    """(B, 10)"""
    keypoint_stddev_m: Tensor
    """(B, 21) of each keypoint about the hand's centre, root mean square over the axes."""


@register_network("fused", config=FusedConfig)
class Fused(nn.Module):
    """A crop of a right hand (a left one mirrored) and its lifted hand to a corrected one."""

    def __init__(self, config: FusedConfig, model: HandModel) -> None:
        super().__init__()
        self.config = config
        self.context = ContextEncoder(
            config.backbone,
            config.image_size_px,
            width=config.width,
            levels=config.levels,
            stage_width=config.stage_width,
            cue_stddev=config.cue_stddev,
            cue_dropout=0.0,
        )
        self.hand = TorchHand(model)
        self.correctors = nn.ModuleList(
            _Corrector(config, self.hand.num_shape) for _ in range(config.corrections)
        )

    def forward(
        self,
        image: Tensor,
        landmark_cue: Tensor,
        lifted_rotations: Tensor,
        lifted_shape: Tensor,
        lifted_uv: Tensor,
        lifted_stddev_m: Tensor,
    ) -> dict[str, Tensor]:
        """Reconstruct a batch.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            landmark_cue: (B, 21, 3) u, v in crop units and a weight from 0 (unknown) to 1.
            lifted_rotations: (B, 16, 3, 3) of the lifter's hand, each joint's relative to its
                parent's, the first into the crop's camera.
            lifted_shape: (B, 10) of that hand, as large as the template.
            lifted_uv: (B, 21, 2) its anatomical keypoints, crop units.
            lifted_stddev_m: (B, 21) how sure the lifter is of each.

        Returns:
            The fields of the last `FusedStep` by name.
        """
        steps = self.steps(
            image, landmark_cue, lifted_rotations, lifted_shape, lifted_uv, lifted_stddev_m
        )
        return steps[-1]._asdict()

    def steps(
        self,
        image: Tensor,
        landmark_cue: Tensor,
        rotations: Tensor,
        shape: Tensor,
        uv: Tensor,
        stddev_m: Tensor,
    ) -> list[FusedStep]:
        """The hand after each correction; arguments as of `forward`."""
        context = self.context(image, landmark_cue)
        steps: list[FusedStep] = []
        for corrector in self.correctors:
            given = (x.detach() for x in (rotations, shape, uv, stddev_m))
            rotations, shape, uv, stddev_m = cast(_Corrector, corrector)(
                context, landmark_cue, *given
            )
            posed = self.hand(rotations, shape)
            keypoints = self.hand.keypoints(posed, shape, self.config.keypoints)
            steps.append(FusedStep(posed.vertices_m, keypoints, uv, rotations, shape, stddev_m))
        return steps

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        random = torch.Generator().manual_seed(1)
        turns = 0.3 * torch.randn(batch, 16, 3, generator=random)
        return {
            **example_crops(batch, self.config.image_size_px, landmark_cue=True),
            "lifted_rotations": rotations_from_axis_angle(turns),
            "lifted_shape": torch.randn(batch, self.hand.num_shape, generator=random),
            "lifted_uv": torch.rand(batch, 21, 2, generator=random),
            "lifted_stddev_m": 0.003 * (0.5 + torch.rand(batch, 21, generator=random)),
        }


class _Corrector(nn.Module):
    """Features at a hand's keypoints to what the hand is off."""

    def __init__(self, config: FusedConfig, num_shape: int) -> None:
        super().__init__()
        width, points = config.width, config.point_width
        # Of a keypoint: every level's feature, its token, the cue's and the heat-map's places
        # about it, the cue's weight and the deviation.
        self.at_point = nn.Sequential(
            *(nn.Linear((config.levels + 1) * width + 6, 4 * points), nn.ReLU()),
            *(nn.Linear(4 * points, points), nn.ReLU()),
        )
        known = 21 * (points + 6) + 96 + num_shape + 42 + width
        self.layers = nn.Sequential(
            *(nn.Linear(known, config.hidden), nn.ReLU()),
            *(nn.Linear(config.hidden, config.hidden), nn.ReLU()),
        )
        self.sizes = (48, num_shape, 42, 21)
        self.off = nn.Linear(config.hidden, sum(self.sizes))
        nn.init.zeros_(self.off.weight)
        nn.init.zeros_(self.off.bias)

    def forward(
        self,
        context: Context,
        landmark_cue: Tensor,
        rotations: Tensor,
        shape: Tensor,
        uv: Tensor,
        stddev_m: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Better rotations, shape, uv and deviations."""
        # align_corners=False puts -1 and 1 on the outer corners, where uv has 0 and 1.
        grid = (2.0 * uv - 1.0)[:, :, None]  # (B, 21, 1, 2)
        read = [
            nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
            for x in context.maps
        ]
        weight = landmark_cue[..., 2:]
        about = torch.cat(
            [
                (landmark_cue[..., :2] - uv) / _UV_UNIT * weight,
                (context.uv - uv) / _UV_UNIT,
                weight,
                torch.log(stddev_m[..., None] / _STDDEV_UNIT_M),
            ],
            dim=2,
        )  # (B, 21, 6)
        features = [x[..., 0].transpose(1, 2) for x in read]
        points = self.at_point(torch.cat([*features, context.landmarks, about], dim=2))
        known = (
            *(points.flatten(1), about.flatten(1), six_from_rotations(rotations).flatten(1)),
            *(shape, 4.0 * (uv - 0.5).flatten(1), context.whole),
        )
        off = self.off(self.layers(torch.cat(known, dim=1))).float()
        turn, larger, shift, log_ratio = off.split(self.sizes, dim=1)
        low, high = _LOG_STDDEV_RANGE
        return (
            _turned(rotations, _TURN_UNIT_RAD * turn.unflatten(1, (16, 3))),
            shape + larger,
            uv + _UV_UNIT * shift.unflatten(1, (21, 2)),
            stddev_m * log_ratio.clamp(low, high).exp(),
        )


@in_single_precision
def _turned(rotations: Tensor, turn_rad: Tensor) -> Tensor:
    """(B, 16, 3, 3) rotations after which each joint turns by an axis-angle of its own frame."""
    return rotations @ rotations_from_axis_angle(turn_rad)
