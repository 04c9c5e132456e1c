"""Trains MaskHand: crops and partly hidden codes to the hidden ones, and to the hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.evaluation.calibration import rank_correlation
from hand_mesh_ros.evaluation.metrics import distances_m, procrustes
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.checkpoint import load_network
from hand_mesh_ros.networks.handmim_losses import HandTruth
from hand_mesh_ros.networks.layers.token_masking import random_masks
from hand_mesh_ros.networks.layers.vit import VisionTransformer
from hand_mesh_ros.networks.maskhand import MaskHand, MaskHandConfig
from hand_mesh_ros.networks.maskhand_losses import MaskHandLossWeights, maskhand_losses
from hand_mesh_ros.networks.maskhand_sampling import mean_codes
from hand_mesh_ros.networks.resnet_weights import load_resnet
from hand_mesh_ros.networks.vit_weights import load_vit_file
from hand_mesh_ros.networks.vq_mano import VQMano
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.image_task import ImageTask, ImageTaskOptions
from hand_mesh_ros.training.task import Batch, register_task
from hand_mesh_ros.training.typed_config import ConfigError, option


@dataclass(frozen=True)
class MaskHandTaskOptions(ImageTaskOptions):
    """Codes and losses beside the data."""

    weights: MaskHandLossWeights = field(
        default_factory=MaskHandLossWeights, metadata={"text": "of the losses"}
    )
    tokeniser: str = option(
        "vq_mano", "weights of the codes: a name in the package, or the file of a vq_mano run"
    )
    wrong_codes: float = option(
        0.1, "share of the shown codes that are wrong ones, as in use", minimum=0.0, maximum=0.9
    )
    backbone_weights: str = option(
        "",
        "what the image encoder starts from: for a ResNet a checkpoint that has one or "
        "torchvision's file, for a transformer a run of handmim_pretrain or timm's; empty: none",
    )


@register_task(
    "maskhand",
    network="maskhand",
    network_config=MaskHandConfig(),
    options=MaskHandTaskOptions(),
    trainer=TrainerConfig(
        steps=200_000,
        batch_size=64,
        learning_rate=1e-4,
        weight_decay=0.05,
        warmup_steps=2000,
        ema_decay=0.999,
        val_every_steps=2000,
        checkpoint_every_steps=2000,
    ),
)
class MaskHandTask(ImageTask):
    """MaskHand with a vision transformer, over the codes of `vq_mano`; for a GPU."""

    network: MaskHand
    options: MaskHandTaskOptions

    def __init__(
        self, network: nn.Module, options: MaskHandTaskOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Load the tokeniser, which is not trained here.

        Raises:
            CheckpointError: its weights cannot be read, or are for another hand model; or the
                encoder's do not fit.
            ConfigError: the tokeniser's weights are of another network, or of other sizes.
        """
        super().__init__(network, options, model=model, batch_size=batch_size)
        loaded = load_network(options.tokeniser, model).network
        if not isinstance(loaded, VQMano):
            raise ConfigError(
                f"task.tokeniser: {options.tokeniser} is a {type(loaded).__name__}, "
                "expected weights of vq_mano"
            )
        try:
            self.network.take_tokeniser(loaded)
        except ValueError as error:
            raise ConfigError(f"task.tokeniser: {error}") from error
        self._tokeniser = loaded.requires_grad_(False)
        if options.backbone_weights:
            backbone = self.network.context.maps.backbone
            if isinstance(backbone, VisionTransformer):
                load_vit_file(backbone, Path(options.backbone_weights).expanduser())
            else:
                load_resnet(backbone, options.backbone_weights)

    def extra_modules(self) -> dict[str, nn.Module]:
        """The tokeniser, which says what the true codes are; it moves to the device."""
        return {"tokeniser": self._tokeniser}

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Of codes hidden on a cosine schedule, and of the hand of their means."""
        network = self.network
        exact = torch.autocast(batch["rotations"].device.type, enabled=False)
        with torch.no_grad(), exact:  # the nearest code is nearest in full precision
            index = self._tokeniser.encode(batch["rotations"][:, 1:])  # (B, M)
            dice = torch.rand(3, *index.shape, device=index.device)
            masked = random_masks(dice[0, :, 0], dice[1])
            other = torch.randint_like(index, self.network_config.tokeniser.codes)
            shown = torch.where(dice[2] < self.options.wrong_codes, other, index)
        inputs = self.network_inputs(batch)
        context = network.context(inputs["image"], inputs.get("landmark_cue"))
        codes = nn.functional.embedding(shown, network.codebook)
        found = network.predicted(context, network.values_of(context), codes, masked)
        means = mean_codes(torch.softmax(found.logits.float(), dim=2), network.codebook)
        true_codes = nn.functional.embedding(index, network.codebook)
        embedding = torch.where(masked[..., None], means, true_codes)
        return maskhand_losses(
            found.logits,
            network.posed(embedding, found.hand, context.uv),
            index=index,
            masked=masked,
            truth=HandTruth.of(batch, self.network_config.keypoints),
            image_size_px=self.network_config.image_size_px,
            weights=self.options.weights,
        )

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """`ImageTask`'s figures, and how well the score tells good hands from bad ones."""
        scores: list[np.ndarray] = []
        errors: list[np.ndarray] = []

        def and_kept() -> Iterator[Batch]:
            for batch in batches:
                yield batch
                true = batch["vertices_m"].cpu().numpy().astype(np.float64)
                found = last["vertices_m"].float().cpu().numpy().astype(np.float64)
                errors.append(distances_m(procrustes(found, true).apply(found), true).mean(1))
                scores.append(last["score"].float().cpu().numpy())

        last: dict[str, Tensor] = {}
        hook = network.register_forward_hook(lambda _module, _inputs, out: last.update(out))
        try:
            figures = super().validate(network, and_kept())
        finally:
            hook.remove()
        ranks = rank_correlation(-np.concatenate(scores), np.concatenate(errors))
        return {**figures, "score_rank_error": 1.0 - (ranks or 0.0)}


@register_task(
    "maskhand_small",
    network="maskhand",
    network_config=MaskHandConfig.small(),
    options=MaskHandTaskOptions(backbone_weights="m3dhmr"),
    trainer=TrainerConfig(
        steps=2400,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.01,
        warmup_steps=200,
        ema_decay=0.998,
        precision="bf16-mixed",
        val_every_steps=250,
        checkpoint_every_steps=250,
    ),
)
class SmallMaskHandTask(MaskHandTask):
    """MaskHand with a ResNet-18 at 128 px that M3DHMR has trained: an hour of CPU."""
