"""Trains AMVUR: with 3D truth, or by 2D joints alone; with its texture where it has one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.amvur import AMVUR, AMVURConfig, Estimate
from hand_mesh_ros.networks.amvur_losses import (
    AMVURLossWeights,
    AMVURTruth,
    AMVURWeakLossWeights,
    supervised_losses,
    texture_loss,
    weak_losses,
)
from hand_mesh_ros.networks.amvur_prior import true_camera
from hand_mesh_ros.networks.resnet_weights import load_resnet
from hand_mesh_ros.training.amvur_figures import DeviationTally, TextureTally
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.image_task import ImageTask, ImageTaskOptions
from hand_mesh_ros.training.task import Batch, register_task
from hand_mesh_ros.training.texture_rendering import render_hands
from hand_mesh_ros.training.typed_config import option


@dataclass(frozen=True)
class _EitherOptions(ImageTaskOptions):
    """Of both ways of training."""

    texture_weight: float = option(
        1.0, "of the texture's loss, eq. 12, where the network has one", minimum=0.0
    )
    backbone_weights: str = option(
        "", "what the image encoder starts from: a checkpoint with such a ResNet, or torchvision's"
    )


@dataclass(frozen=True)
class AMVUROptions(_EitherOptions):
    """Of training with 3D truth."""

    weights: AMVURLossWeights = field(
        default_factory=AMVURLossWeights, metadata={"text": "of the losses, eqs. 3 to 6"}
    )


@dataclass(frozen=True)
class AMVURWeakOptions(_EitherOptions):
    """Of training by 2D joints."""

    weights: AMVURWeakLossWeights = field(
        default_factory=AMVURWeakLossWeights, metadata={"text": "of the losses, eqs. 7 and 8"}
    )


# The paper prints batch size and optimiser; rate, epochs and their step are the authors' code's.
_PAPER = TrainerConfig(
    steps=163_000,
    batch_size=32,
    learning_rate=1e-4,
    weight_decay=0.0,
    schedule="step",
    milestones=(0.5,),
    step_factor=0.1,
    ema_decay=0.999,
    val_every_steps=2000,
    checkpoint_every_steps=2000,
)
"""40 epochs of FreiHAND's 130,240 images."""
_SMALL = TrainerConfig(
    steps=1100,
    batch_size=32,
    learning_rate=1e-3,
    weight_decay=0.01,
    warmup_steps=100,
    ema_decay=0.998,
    precision="bf16-mixed",
    val_every_steps=200,
    checkpoint_every_steps=100,
)
_SMALL_NETWORK = replace(AMVURConfig.small(), landmark_cue=True, texture="local")


class _AMVURTask(ImageTask):
    """What both have in common: texture and figures."""

    network: AMVUR
    options: _EitherOptions

    def __init__(
        self, network: AMVUR, options: _EitherOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Load the encoder's start.

        Raises:
            CheckpointError: it cannot be read, or does not fit.
        """
        super().__init__(network, options, model=model, batch_size=batch_size)
        if options.backbone_weights:
            load_resnet(self.network.encoder.network, options.backbone_weights)
        self._topology = Topology(model)

    def extra_modules(self) -> dict[str, nn.Module]:
        """The faces, which move to the device."""
        return {"topology": self._topology}

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Of mesh and camera, and the texture's."""
        estimate = self.network.estimate(**self.network_inputs(batch))
        terms = self.mesh_losses(estimate, batch)
        if self.network.texture is not None and self.options.texture_weight > 0.0:
            terms["texture"] = self.options.texture_weight * self._texture_loss(estimate, batch)
        return terms

    def _texture_loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        """Of the mean mesh, where the hand is seen; occluders count as hand in unknown masks."""
        assert self.network.texture is not None
        image, vertices, camera = batch["image"], estimate.vertices_m, estimate.camera
        colors = self.network.texture(image, estimate.features, vertices, camera)
        drawn = render_hands(vertices, camera, colors, self._topology.faces, image.shape[-1])
        mask = drawn.mask & batch["mask"] if "mask" in batch else drawn.mask
        return texture_loss(drawn.image, image, mask)

    def mesh_losses(self, estimate: Estimate, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms by name."""
        raise NotImplementedError

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Those of all image tasks, of deviations and of textures, see `amvur_figures.py`."""
        answers = _Remembering(network)
        deviations, textures = DeviationTally(), TextureTally(self._topology.faces)

        def watched() -> Iterator[Batch]:
            for batch in batches:
                yield batch
                for tally in (deviations, textures):  # the answer to this batch is there by now
                    tally.add(answers.latest, batch)

        figures = super().validate(answers, watched())
        return figures | deviations.figures() | textures.figures()


@register_task(
    "amvur",
    network="amvur",
    network_config=_SMALL_NETWORK,
    options=AMVUROptions(backbone_weights="m3dhmr"),
    trainer=_SMALL,
)
class AMVURTask(_AMVURTask):
    """AMVUR with a landmark cue and a ResNet-18 that M3DHMR has trained: an hour of CPU."""

    options: AMVUROptions

    def mesh_losses(self, estimate: Estimate, batch: Batch) -> dict[str, Tensor]:
        """Section 3.1."""
        kind = self.network_config.keypoints
        truth = AMVURTruth(
            vertices_m=batch["vertices_m"],
            keypoints_m=batch[f"{kind}_m"],
            keypoints_uv=batch[f"{kind}_uv"],
            camera=true_camera(batch["root_m"], batch["K_crop"], self.network_config.image_size_px),
        )
        return supervised_losses(self.network, estimate, truth, self.options.weights)


@register_task(
    "amvur_paper",
    network="amvur",
    network_config=AMVURConfig(),
    options=AMVUROptions(),
    trainer=_PAPER,
)
class PaperAMVURTask(AMVURTask):
    """AMVUR as in the paper: ResNet-50, batch 32, 163,000 steps; for a GPU."""


@register_task(
    "amvur_weak",
    network="amvur",
    network_config=_SMALL_NETWORK,
    options=AMVURWeakOptions(),
    trainer=_SMALL,
)
class WeakAMVURTask(_AMVURTask):
    """Small AMVUR trained by 2D joints alone: no 3D truth, no camera."""

    options: AMVURWeakOptions

    def mesh_losses(self, estimate: Estimate, batch: Batch) -> dict[str, Tensor]:
        """Section 3.2."""
        uv = batch[f"{self.network_config.keypoints}_uv"]
        return weak_losses(self.network, estimate, uv, self.options.weights)


@register_task(
    "amvur_weak_paper",
    network="amvur",
    network_config=AMVURConfig(encoder="efficientnet_b0"),
    options=AMVURWeakOptions(),
    trainer=_PAPER,
)
class PaperWeakAMVURTask(WeakAMVURTask):
    """AMVUR by 2D joints alone as in the paper: EfficientNet-B0; for a GPU."""


class _Remembering(nn.Module):
    """A network whose last answer can be looked at again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.latest: dict[str, Tensor] = {}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        self.latest = self.network(**inputs)
        return self.latest


class Topology(nn.Module):
    """The hand's faces."""

    faces: Tensor

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        faces = torch.tensor(model.faces.astype("int64"))
        self.register_buffer("faces", faces, persistent=False)
