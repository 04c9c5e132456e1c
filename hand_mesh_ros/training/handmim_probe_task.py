"""Trains the probe of a frozen transformer: how much of a hand's pose its tokens show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.handmim import UNIT_M
from hand_mesh_ros.networks.handmim_probe import HandMIMProbe, HandMIMProbeConfig, lifted
from hand_mesh_ros.networks.vit_weights import load_vit_file
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.image_task import ImageTask, ImageTaskOptions
from hand_mesh_ros.training.task import Batch, register_task
from hand_mesh_ros.training.typed_config import option

_KEYPOINTS = "anatomical"


@dataclass(frozen=True)
class HandMIMProbeOptions(ImageTaskOptions):
    """The transformer, beside the data."""

    backbone_weights: str = option(
        "", "the transformer's file: a run of handmim_pretrain, or timm's ViT; empty: random"
    )


@register_task(
    "handmim_probe",
    network="handmim_probe",
    network_config=HandMIMProbeConfig(),
    options=HandMIMProbeOptions(),
    trainer=TrainerConfig(
        steps=10_000,
        batch_size=128,
        learning_rate=1e-3,
        weight_decay=1e-4,
        warmup_steps=100,
        val_every_steps=1000,
        checkpoint_every_steps=1000,
    ),
)
class HandMIMProbeTask(ImageTask):
    """How much of a hand's pose a frozen transformer shows: two small networks read 2.5D off it."""

    network: HandMIMProbe
    options: HandMIMProbeOptions

    def __init__(
        self, network: nn.Module, options: HandMIMProbeOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Load the transformer.

        Raises:
            CheckpointError: its weights cannot be read, or do not fit.
        """
        super().__init__(network, options, model=model, batch_size=batch_size)
        if options.backbone_weights:
            load_vit_file(self.network.backbone, Path(options.backbone_weights).expanduser())

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Distances in crop units, and in hand lengths."""
        out = self.network(batch["image"])
        depth = batch[f"{_KEYPOINTS}_m"][..., 2]
        return {
            "pose2d": (out["keypoints_uv"] - batch[f"{_KEYPOINTS}_uv"]).abs().mean(),
            "depth": (out["depth_m"] - depth).abs().mean() / UNIT_M,
        }

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Errors as in the paper's table 4; the wrist's true depth is given for those in 3D."""
        size_px = self.network_config.image_size_px
        pixels, metres = [], []
        for batch in batches:
            out = network(batch["image"])
            error_uv = out["keypoints_uv"] - batch[f"{_KEYPOINTS}_uv"]
            pixels.append(size_px * error_uv.norm(dim=2).mean(1).cpu().numpy())
            root = batch["root_m"]
            depth = (root[:, 2:] + out["depth_m"]).clamp_min(0.0)
            points = lifted(out["keypoints_uv"], depth, batch["K_crop"], size_px)
            # `size` scales about the camera, so labels are consistent with the image as they are.
            error = points - root[:, None] - batch[f"{_KEYPOINTS}_m"]
            metres.append(error.norm(dim=2).mean(1).cpu().numpy())
        return {
            "keypoint_error_px": float(np.concatenate(pixels).mean()),
            "keypoint_error_mm": 1e3 * float(np.concatenate(metres).mean()),
        }

    def pictures(self, network: nn.Module, batch: Batch) -> dict[str, np.ndarray]:
        """None: there is no mesh to show."""
        return {}
