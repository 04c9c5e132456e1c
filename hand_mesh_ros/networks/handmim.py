"""HandMIM (Li et al. 2025, Front. Phys. 12:1515842), section 3.5: a right hand's crop to its mesh.

A plain vision transformer, best with weights of `handmim_pretrain.py`, and PyMAF's feedback loop:
its token map is made finer level by level; at each, features are read where the present mesh lies,
and correct pose, shape and camera. The first step reads a grid, since there is no mesh yet.

What the paper leaves open is from PyMAF. Ours: any hand model; the camera's scale as a logarithm,
so that it is never negative; a shift for each landmark in the image, since a camera without
perspective cannot say where exactly it is; and, where wanted, a detector's landmarks, which every
correction is told of. Crop units (uv): (0, 0) is the outer corner of the crop's top left pixel,
(1, 1) of its bottom right one, so uv = (px + 0.5) / image_size_px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mesh_levels import NUM_LEVELS, mesh_levels
from hand_mesh_ros.hand_models.torch_hand import TorchHand, rotations_from_6d, six_from_rotations
from hand_mesh_ros.networks.handmim_pretrain import check_vit
from hand_mesh_ros.networks.layers.crop_inputs import check_crop, example_crops
from hand_mesh_ros.networks.layers.landmark_cue import (
    cue_network,
    known_landmarks,
    optional_numbers,
)
from hand_mesh_ros.networks.layers.mesh_feedback import (
    FeaturePyramid,
    HandParameters,
    PointSampler,
    Regressor,
    project_weakly,
)
from hand_mesh_ros.networks.layers.vit import SIZES, VisionTransformer, ViTName
from hand_mesh_ros.networks.registry import register_network

UNIT_M = 0.2
"""About a hand's length: lengths in losses are in units of this."""
_START_SIDES_PER_M = 4.5
"""Scale of the first camera: a hand of the usual size in a crop of the usual margin."""


@dataclass(frozen=True)
class HandMIMConfig:
    """Sizes of the transformer and of the loop."""

    backbone: ViTName = "small"
    image_size_px: int = 224
    drop_path: float = 0.1
    steps: int = 3
    """Corrections; each has its own level of the pyramid."""
    pyramid_width: int = 256
    grid_points: int = 21
    """Points a side that the first step reads."""
    mesh_level: int = 2
    """Of the mesh whose vertices later steps read; 2 has a quarter of the hand's."""
    point_widths: tuple[int, ...] = (128, 64, 5)
    hidden: int = 1024
    dropout: float = 0.5
    landmark_shifts: bool = True
    """The last step; False: keypoints_uv are the mesh's in a camera without perspective."""
    dense_supervision: bool = False
    """While training, the finest level also says which pixels show which part of the hand."""
    landmark_cue: bool = False
    """Takes a detector's landmarks beside the image."""
    cue_dropout: float = 0.1
    """Share of training samples that get no cue, so that the network can do without."""
    keypoints: Literal["anatomical", "detector"] = "anatomical"
    """Which of the hand model's keypoints all 21 are, in the image and in space."""

    def __post_init__(self) -> None:
        check_vit(self.backbone, self.image_size_px, self.drop_path)
        for name in ("steps", "pyramid_width", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.grid_points < 2:
            raise ValueError(f"grid_points must be at least 2, got {self.grid_points}")
        if not 0 <= self.mesh_level < NUM_LEVELS:
            raise ValueError(f"mesh_level must be 0 to {NUM_LEVELS - 1}, got {self.mesh_level}")
        if not self.point_widths or min(self.point_widths) < 1:
            raise ValueError(f"point_widths must be numbers from 1 on, got {self.point_widths}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not 0.0 <= self.cue_dropout < 1.0:
            raise ValueError(f"cue_dropout must be in [0, 1), got {self.cue_dropout}")
        if self.keypoints not in ("anatomical", "detector"):
            raise ValueError(
                f"keypoints must be 'anatomical' or 'detector', got {self.keypoints!r}"
            )

    @classmethod
    def small(cls) -> HandMIMConfig:
        """Below 9 million parameters, for small crops; trains on a CPU."""
        return cls(
            backbone="tiny",
            image_size_px=128,
            drop_path=0.0,
            pyramid_width=64,
            point_widths=(64, 32, 5),
            hidden=384,
            dropout=0.0,
        )


class HandStep(NamedTuple):
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
    camera: Tensor
    """(B, 3) crop sides a metre at the wrist, and u, v of the wrist."""


@register_network("handmim", config=HandMIMConfig)
class HandMIM(nn.Module):
    """A crop of a right hand (a left one mirrored) to pose, shape, mesh and camera."""

    start_rotations_6d: Tensor
    grid_uv: Tensor
    read_vertices: Tensor

    def __init__(self, config: HandMIMConfig, model: HandModel) -> None:
        super().__init__()
        self.config = config
        width = SIZES[config.backbone].width
        self.backbone = VisionTransformer(
            config.backbone, config.image_size_px, drop_path=config.drop_path
        )
        self.pyramid = FeaturePyramid(width, config.pyramid_width, config.steps)
        self.hand = TorchHand(model)
        # Saved with the weights, which mean nothing with another start or other vertices.
        self.register_buffer("start_rotations_6d", _start_rotations_6d(model))
        at = (torch.arange(config.grid_points) + 0.5) / config.grid_points
        v, u = torch.meshgrid(at, at, indexing="ij")
        self.register_buffer("grid_uv", torch.stack([u, v], dim=2).flatten(0, 1))
        self.register_buffer("read_vertices", _level_vertices(model, config.mesh_level))
        self.cue, cue_width = None, 0
        if config.landmark_cue:
            self.cue, cue_width = cue_network(config.hidden, config.hidden), config.hidden
        self.samplers, self.regressors = nn.ModuleList(), nn.ModuleList()
        for step in range(config.steps):
            points = len(self.grid_uv) if step == 0 else len(self.read_vertices)
            self.samplers.append(PointSampler(config.pyramid_width, config.point_widths))
            self.regressors.append(
                Regressor(
                    points * config.point_widths[-1] + cue_width,
                    config.hidden,
                    config.dropout,
                    self.hand.num_shape,
                    landmarks=config.landmark_shifts and step == config.steps - 1,
                )
            )
        self.dense = nn.Conv2d(config.pyramid_width, 4, 1) if config.dense_supervision else None

    def forward(self, image: Tensor, landmark_cue: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruct a batch.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            landmark_cue: (B, 21, 3) u, v in crop units and a weight from 0 (unknown) to 1. None is
                the same as all unknown.

        Returns:
            The fields of the last `HandStep` by name.
        """
        return self.steps(self.features(image), landmark_cue)[-1]._asdict()

    def features(self, image: Tensor) -> list[Tensor]:
        """The pyramid's levels, coarse to fine: (B, C, S/8, S/8) and on."""
        check_crop(image, self.config.image_size_px)
        patches = self.backbone(image).patches  # (B, N, D)
        grid = self.backbone.grid
        return self.pyramid(patches.transpose(1, 2).unflatten(2, (grid, grid)))

    def steps(self, levels: list[Tensor], landmark_cue: Tensor | None = None) -> list[HandStep]:
        """The hand after each correction, from the pyramid's levels and the landmarks."""
        batch = levels[0].shape[0]
        cue = optional_numbers(
            landmark_cue,
            levels[0],
            reader=self.cue,
            dropout=self.config.cue_dropout if self.training else 0.0,
        )
        told = None if self.cue is None else self.cue(cue.flatten(1))  # (B, C)
        now, points_uv = self._start(batch), self.grid_uv.expand(batch, -1, -1)
        steps: list[HandStep] = []
        for level, sampler, regressor in zip(levels, self.samplers, self.regressors, strict=True):
            given = now.detached()
            read = sampler(level, points_uv)
            if told is not None:
                read = torch.cat([read, told], dim=1)
            now, shift = cast(Regressor, regressor)(read, given)
            steps.append(self._hand_of(now, shift, cue))
            vertices = steps[-1].vertices_m.index_select(1, self.read_vertices)
            points_uv = project_weakly(vertices, now.camera).detach()
        return steps

    def dense_maps(self, levels: list[Tensor]) -> Tensor:
        """(B, 4, s, s): logit of showing the hand, and which place of the hand at rest (`UNIT_M`).

        Raises:
            ValueError: dense_supervision is off.
        """
        if self.dense is None:
            raise ValueError("this network has no dense maps; set dense_supervision in its config")
        return self.dense(levels[-1])

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        config = self.config
        return example_crops(batch, config.image_size_px, landmark_cue=config.landmark_cue)

    def _start(self, batch: int) -> HandParameters:
        rotations = self.start_rotations_6d.expand(batch, -1)
        camera = rotations.new_tensor([float(np.log(_START_SIDES_PER_M)), 0.5, 0.5])
        shape = torch.zeros_like(rotations[:, : self.hand.num_shape])
        return HandParameters(rotations, shape, camera.expand(batch, -1))

    def _hand_of(self, now: HandParameters, shift: Tensor | None, cue: Tensor) -> HandStep:
        rotations = rotations_from_6d(now.rotations_6d.unflatten(1, (16, 6)))  # (B, 16, 3, 3)
        posed = self.hand(rotations, now.shape)
        keypoints = self.hand.keypoints(posed, now.shape, self.config.keypoints)
        uv = project_weakly(keypoints, now.camera)
        if shift is not None:
            # Detached: landmarks in the image shall not bend the hand towards a camera that is not
            # quite right. It learns from them through the true camera, see the losses.
            uv = known_landmarks(cue, uv.detach()) + shift
        camera = torch.cat([now.camera[:, :1].exp(), now.camera[:, 1:]], dim=1)
        return HandStep(posed.vertices_m, keypoints, uv, rotations, now.shape, camera)


def _start_rotations_6d(model: HandModel) -> Tensor:
    """(96,) a relaxed hand, not turned."""
    anatomy = Anatomy.of(model)
    rotations = torch.tensor(anatomy.rotations(anatomy.mean_rad), dtype=torch.float32)
    return six_from_rotations(rotations).flatten()


def _level_vertices(model: HandModel, level: int) -> Tensor:
    """(N,) vertices of the full mesh that are those of a coarser one."""
    index = np.arange(len(model.template_m))
    for kept in mesh_levels(model).kept[:level]:
        index = index[kept]
    return torch.tensor(index)
