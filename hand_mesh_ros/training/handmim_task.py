"""Trains HandMIM's mesh (section 3.5), from pre-trained weights or from none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.handmim import UNIT_M, HandMIM, HandMIMConfig
from hand_mesh_ros.networks.handmim_losses import (
    HandMIMLossWeights,
    HandTruth,
    dense_loss,
    handmim_losses,
)
from hand_mesh_ros.networks.vit_weights import load_vit_file
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.dense_truth import DenseTruth
from hand_mesh_ros.training.image_task import ImageTask, ImageTaskOptions
from hand_mesh_ros.training.task import Batch, register_task
from hand_mesh_ros.training.typed_config import ConfigError, option


@dataclass(frozen=True)
class HandMIMTaskOptions(ImageTaskOptions):
    """Losses and the transformer's start, beside the data."""

    weights: HandMIMLossWeights = field(
        default_factory=HandMIMLossWeights, metadata={"text": "of the losses, section 3.5"}
    )
    backbone_weights: str = option(
        "", "file to start from: a run of handmim_pretrain, or timm's ViT; empty: none"
    )
    trained_blocks: int = option(
        -1, "last blocks of the transformer that are trained; 0: none, -1: all", minimum=-1
    )


@register_task(
    "handmim",
    network="handmim",
    network_config=HandMIMConfig(),
    options=HandMIMTaskOptions(),
    trainer=TrainerConfig(
        steps=100_000,
        batch_size=128,
        learning_rate=1e-4,
        weight_decay=0.05,
        warmup_steps=1000,
        ema_decay=0.999,
        val_every_steps=1000,
        checkpoint_every_steps=1000,
    ),
)
class HandMIMTask(ImageTask):
    """HandMIM: a vision transformer, best pre-trained by `handmim_pretrain`, with PyMAF's loop."""

    network: HandMIM
    options: HandMIMTaskOptions

    def __init__(
        self, network: nn.Module, options: HandMIMTaskOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Load the transformer's start and freeze what is not to be trained.

        Raises:
            CheckpointError: the weights cannot be read, or do not fit.
            ConfigError: more blocks are to be trained than there are.
        """
        super().__init__(network, options, model=model, batch_size=batch_size)
        backbone = self.network.backbone
        if options.backbone_weights:
            load_vit_file(backbone, Path(options.backbone_weights).expanduser())
        if options.trained_blocks >= 0:
            try:
                backbone.train_last_blocks(options.trained_blocks)
            except ValueError as error:
                raise ConfigError(f"task.trained_blocks: {error}") from error
        self._dense = DenseTruth(model, UNIT_M)

    def extra_modules(self) -> dict[str, nn.Module]:
        """What dense truth is made of, which moves to the device."""
        return {"dense": self._dense}

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Section 3.5, of every step of the loop; and of dense maps where the network has some."""
        network, weights = self.network, self.options.weights
        levels = network.features(batch["image"])
        terms = handmim_losses(
            network.steps(levels, self.network_inputs(batch).get("landmark_cue")),
            HandTruth.of(batch, self.network_config.keypoints),
            image_size_px=self.network_config.image_size_px,
            weights=weights,
        )
        if self.network_config.dense_supervision and weights.dense > 0.0:
            if "mask" not in batch:
                raise ConfigError(
                    "network.dense_supervision needs masks of hands, which task.datasets have not; "
                    "switch it off, or train on the engine alone"
                )
            maps = network.dense_maps(levels)
            with torch.no_grad():
                hand, place = self._dense(batch, maps.shape[-1])
            terms["dense"] = weights.dense * dense_loss(maps, hand, place)
        return terms


@register_task(
    "handmim_small",
    network="handmim",
    network_config=replace(HandMIMConfig.small(), landmark_cue=True),
    options=HandMIMTaskOptions(),
    trainer=TrainerConfig(
        steps=1000,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.02,
        warmup_steps=100,
        ema_decay=0.998,
        precision="bf16-mixed",
        val_every_steps=200,
        checkpoint_every_steps=100,
    ),
)
class SmallHandMIMTask(HandMIMTask):
    """HandMIM with a tiny transformer at 128 px, told of a detector's landmarks: an hour of CPU."""
