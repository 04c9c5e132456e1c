"""Trains the fused network: crops, and what the lifter makes of their landmarks, to the hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    checkpoint_path,
    read_checkpoint_file,
)
from hand_mesh_ros.networks.fused import Fused, FusedConfig
from hand_mesh_ros.networks.fused_losses import FusedLossWeights, fused_losses
from hand_mesh_ros.networks.handmim_losses import HandTruth
from hand_mesh_ros.reconstruction.lifted_start import LIFTED_INPUTS, LiftedStarts
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.image_task import ImageTask, ImageTaskOptions
from hand_mesh_ros.training.task import Batch, register_task
from hand_mesh_ros.training.typed_config import option


@dataclass(frozen=True)
class FusedTaskOptions(ImageTaskOptions):
    """Losses and starts beside the data."""

    weights: FusedLossWeights = field(
        default_factory=FusedLossWeights, metadata={"text": "of the losses"}
    )
    lifter: str = option("lifter", "weights of the lifter: a name in the package or a file")
    encoder_weights: str = option(
        "maskhand", "checkpoint of a maskhand whose encoder is the start; empty: none"
    )


@register_task(
    "fused",
    network="fused",
    network_config=FusedConfig(),
    options=FusedTaskOptions(),
    trainer=TrainerConfig(
        steps=1500,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.01,
        warmup_steps=100,
        ema_decay=0.998,
        precision="bf16-mixed",
        val_every_steps=250,
        checkpoint_every_steps=250,
    ),
)
class FusedTask(ImageTask):
    """Image and lifter together, from MaskHand's encoder: an hour of CPU."""

    network: Fused
    options: FusedTaskOptions

    def __init__(
        self, network: nn.Module, options: FusedTaskOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Load the lifter and the encoder's start.

        Raises:
            CheckpointError: a file cannot be read, or does not fit.
        """
        super().__init__(network, options, model=model, batch_size=batch_size)
        self._starts = LiftedStarts(model, weights=options.lifter)
        if options.encoder_weights:
            _load_encoder(self.network, options.encoder_weights)

    def batches(self, stream: BatchStream) -> Iterator[Batch]:
        """`ImageTask`'s, with the lifted hands; crops whose landmarks make no hand are left out."""
        for batch in super().batches(stream):
            yield self._lifted(batch)

    def _lifted(self, batch: Batch) -> Batch:
        size = self.network_config.image_size_px
        cues, cameras = (batch[k].cpu().numpy() for k in ("landmark_cue", "K_crop"))
        starts = [self._starts.of_crop(c, K, size) for c, K in zip(cues, cameras, strict=True)]
        usable = [i for i, start in enumerate(starts) if start is not None]
        lifted = [start.inputs for start in starts if start is not None]
        kept = batch
        if len(usable) < len(starts):
            kept = {k: v[usable] if len(v) == len(starts) else v for k, v in batch.items()}
        device = batch["image"].device
        return kept | {
            name: torch.from_numpy(np.stack([inputs[name] for inputs in lifted])).to(device)
            for name in LIFTED_INPUTS
        }

    def network_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Crop, landmarks and lifted hand."""
        return {k: batch[k] for k in ("image", "landmark_cue", *LIFTED_INPUTS)}

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Of the hand after every correction."""
        inputs = self.network_inputs(batch)
        return fused_losses(
            self.network.steps(*inputs.values()),
            HandTruth.of(batch, self.network_config.keypoints),
            self.options.weights,
        )

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """`ImageTask`'s figures, and the same of the lifter's hands."""
        kept = list(batches)
        figures = super().validate(network, kept)
        lifted = super().validate(_LiftedAlone(self.network), kept)
        names = ("pa_mpjpe_mm", "pa_mpvpe_mm", "uv_error_percent", "palm_turn_rad")
        return figures | {f"lifted_{name}": lifted[name] for name in names}


class _LiftedAlone(nn.Module):
    """Answers with the lifter's hand, as it was given."""

    def __init__(self, network: Fused) -> None:
        super().__init__()
        self._network = network

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        hand, kind = self._network.hand, self._network.config.keypoints
        rotations, shape = inputs["lifted_rotations"], inputs["lifted_shape"]
        posed = hand(rotations, shape)
        return {
            "vertices_m": posed.vertices_m,
            "keypoints_m": hand.keypoints(posed, shape, kind),
            "keypoints_uv": inputs["lifted_uv"],
        }


_ENCODER = "context."


def _load_encoder(network: Fused, name_or_path: str) -> None:
    path = checkpoint_path(name_or_path)
    file = read_checkpoint_file(path)
    tensors = {
        name.removeprefix(_ENCODER): torch.from_numpy(values.copy()).to(torch.float32)
        for name, values in file.tensors.items()
        if name.startswith(_ENCODER)
    }
    try:
        network.context.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: its encoder is not that of the fused network: {error}"
        ) from error
