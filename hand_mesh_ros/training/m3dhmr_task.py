"""Trains M3DHMR (section 3.4 and 4 of the paper): on rendered crops, data sets, or both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.m3dhmr import M3DHMR, M3DHMRConfig
from hand_mesh_ros.networks.m3dhmr_losses import (
    M3DHMRLossWeights,
    TwoViews,
    m3dhmr_losses,
    pretraining_losses,
)
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.image_task import ImageTask, ImageTaskOptions
from hand_mesh_ros.training.task import Batch, register_task
from hand_mesh_ros.training.two_views import A_SECOND_FIRST, R_SECOND_FIRST
from hand_mesh_ros.training.typed_config import option


@dataclass(frozen=True)
class M3DHMRTaskOptions(ImageTaskOptions):
    """Losses beside the data."""

    weights: M3DHMRLossWeights = field(
        default_factory=M3DHMRLossWeights, metadata={"text": "of the losses, section 3.4"}
    )
    lift_learning_rate: float = option(
        0.01,
        "of the lifting matrix, whose rows have to part before fingers have a front and a back; "
        "0: as all others",
        minimum=0.0,
    )
    pretraining_steps: int = option(
        0, "first steps that train the encoder alone, on heat-maps and landmarks", minimum=0
    )
    heatmap_stddev: float = option(
        0.03, "of the true heat-maps' dots, crop units", minimum=0.001, maximum=0.5
    )


_PAPER = TrainerConfig(
    steps=155_000,
    batch_size=32,
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="step",
    milestones=(30 / 38,),
    step_factor=0.1,
    ema_decay=0.999,
    val_every_steps=2000,
    checkpoint_every_steps=2000,
)
"""38 epochs of FreiHAND's 130,240 images, in batches of 32."""


@register_task(
    "m3dhmr_paper",
    network="m3dhmr",
    network_config=M3DHMRConfig(),
    options=M3DHMRTaskOptions(
        two_views=True, template_size=False, pretraining_steps=15_000, lift_learning_rate=0.0
    ),
    trainer=_PAPER,
)
class M3DHMRTask(ImageTask):
    """M3DHMR as in the paper: ResNet-18, batch 32, 155,000 steps; for a GPU."""

    network: M3DHMR
    options: M3DHMRTaskOptions

    def __init__(
        self, network: M3DHMR, options: M3DHMRTaskOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """See `ImageTask`."""
        super().__init__(network, options, model=model, batch_size=batch_size)
        self._topology = _Topology(model)

    def extra_modules(self) -> dict[str, nn.Module]:
        """The faces, which move to the device."""
        return {"topology": self._topology}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """The lifting matrix has a learning rate of its own, and no decay."""
        groups, rate = super().parameter_groups(weight_decay), self.options.lift_learning_rate
        if rate == 0.0:
            return groups
        lift = self.network.lift
        for group in groups:
            group["params"] = [p for p in group["params"] if p is not lift]
        return [*groups, {"params": [lift], "lr": rate, "weight_decay": 0.0}]

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Section 3.4; in the first steps those of the encoder's pre-training instead."""
        inputs = self.network_inputs(batch)
        keypoints_uv = batch[f"{self.network_config.keypoints}_uv"]
        if step < self.options.pretraining_steps:
            return pretraining_losses(
                self.network.forward_pretraining(**inputs),
                keypoints_uv=keypoints_uv,
                stddev=self.options.heatmap_stddev,
            )
        views = None
        if self.options.two_views:
            views = TwoViews(batch[R_SECOND_FIRST], batch[A_SECOND_FIRST])
        return m3dhmr_losses(
            self.network(**inputs),
            vertices_m=batch["vertices_m"],
            keypoints_uv=keypoints_uv,
            faces=self._topology.faces,
            weights=self.options.weights,
            views=views,
        )


@register_task(
    "m3dhmr",
    network="m3dhmr",
    network_config=replace(M3DHMRConfig.small(), landmark_cue=True, landmark_context=True),
    # Among vertices still far from their places, lengths and directions of edges tell little.
    options=M3DHMRTaskOptions(weights=M3DHMRLossWeights(normal=0.05, edge=0.5)),
    trainer=TrainerConfig(
        steps=3400,
        batch_size=32,
        learning_rate=2e-3,
        weight_decay=0.01,
        warmup_steps=200,
        ema_decay=0.998,
        precision="bf16-mixed",
        val_every_steps=250,
        checkpoint_every_steps=250,
    ),
)
class SmallM3DHMRTask(M3DHMRTask):
    """M3DHMR with fewer channels and a landmark cue: two hours of CPU on rendered hands."""


class _Topology(nn.Module):
    faces: Tensor

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        faces = torch.tensor(model.faces.astype("int64"))
        self.register_buffer("faces", faces, persistent=False)
