"""Pre-trains HandMIM's transformer on pictures of hands without labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.handmim_pretrain import HandMIMPretrain, HandMIMPretrainConfig
from hand_mesh_ros.networks.handmim_pretrain_losses import (
    MaskedView,
    SelfDistillation,
    Temperatures,
    feature_spread,
    hidden_pixels,
    mean_entropy,
    pixel_loss,
)
from hand_mesh_ros.networks.layers.pseudo_keypoints import ViewGeometry
from hand_mesh_ros.training.ahead import made_ahead
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.handmim_views import (
    MaskConfig,
    ViewConfig,
    change_colors,
    cut_views,
    draw_geometry,
    draw_masks,
)
from hand_mesh_ros.training.seeds import VALIDATION_SEED, numpy_stream
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.task import Batch, TrainingTask, register_task
from hand_mesh_ros.training.typed_config import check_ranges, option
from hand_mesh_ros.training.unlabelled_hands import UnlabelledConfig, UnlabelledHands

_BATCHES_AHEAD = 2
_PROBE_RIDGE = 1e-2
_PICTURED, _PREVIEWED = 4, 12
_GEOMETRY = ViewGeometry._fields


@dataclass(frozen=True)
class HandMIMPretrainOptions:
    """Where images come from, how views are made, and how the teacher follows."""

    data: UnlabelledConfig = field(
        default_factory=UnlabelledConfig, metadata={"text": "pictures of hands without labels"}
    )
    views: ViewConfig = field(
        default_factory=ViewConfig, metadata={"text": "how the two views are made"}
    )
    masks: MaskConfig = field(
        default_factory=MaskConfig, metadata={"text": "patches that the student does not see"}
    )
    temperatures: Temperatures = field(
        default_factory=Temperatures, metadata={"text": "that logits are divided by"}
    )
    center_momentum: float = option(0.9, "of the centres", minimum=0.0, maximum=0.99999)
    teacher_momentum: float = option(0.996, "of the teacher at step 0", minimum=0.0, maximum=1.0)
    teacher_steps: int = option(100_000, "in which it rises to 1, as trainer.steps", minimum=1)
    validation_hands: int = option(512, "rendered hands that figures are of", minimum=32)

    def __post_init__(self) -> None:
        check_ranges(self)

    def momentum(self, step: int) -> float:
        """The teacher's after that many steps: half a cosine up to 1."""
        progress = min(step / self.teacher_steps, 1.0)
        return 1.0 - (1.0 - self.teacher_momentum) * 0.5 * (1.0 + math.cos(math.pi * progress))


@register_task(
    "handmim_pretrain",
    network="handmim_pretrain",
    network_config=HandMIMPretrainConfig(),
    options=HandMIMPretrainOptions(),
    trainer=TrainerConfig(
        steps=100_000,
        batch_size=64,
        learning_rate=2.5e-4,
        weight_decay=0.04,
        warmup_steps=2000,
        final_learning_rate_ratio=0.002,
        gradient_clip_norm=3.0,
        ema_decay=0.0,  # the student is the result; its average is the teacher
        val_every_steps=2000,
        checkpoint_every_steps=2000,
    ),
)
class HandMIMPretrainTask(TrainingTask):
    """HandMIM's transformer from pictures of hands without labels (its weights start `handmim`)."""

    network: HandMIMPretrain
    options: HandMIMPretrainOptions

    def __init__(
        self,
        network: nn.Module,
        options: HandMIMPretrainOptions,
        *,
        model: HandModel,
        batch_size: int,
    ) -> None:
        """Copy the teacher; images are looked for at the first batch."""
        super().__init__(network, options, model=model, batch_size=batch_size)
        self.distillation = SelfDistillation(
            self.network, options.temperatures, options.center_momentum
        )
        self._size_px = self.network.config.image_size_px
        self._hands = UnlabelledHands(
            options.data,
            model,
            size_px=self._size_px,
            labelled_poses=options.validation_hands,
        )

    def extra_modules(self) -> dict[str, nn.Module]:
        """Teacher and centres."""
        return {"distillation": self.distillation}

    def after_step(self, step: int) -> None:
        """Let the teacher follow."""
        self.distillation.teacher.follow(self.network, self.options.momentum(step))

    def batches(self, stream: BatchStream) -> Iterator[Batch]:
        """Pairs of views; those for validation are of rendered hands, with the image and labels."""
        device = stream.device
        if stream.split == "val":
            yield from self._validation_batches(device)
            return

        def endless() -> Iterator[Batch]:
            for step in itertools.count(stream.start_step):
                rng = stream.rng(step)
                images = self._hands.images(self.batch_size, rng, device)
                yield self._view_pair(images.to(device), rng)

        ahead = self._hands.from_disk or device.type == "cpu"
        yield from made_ahead(endless(), _BATCHES_AHEAD) if ahead else endless()

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """The paper's unweighted sum (eq. 12)."""
        return self.distillation.losses(self.network, _views_of(batch))

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """What a linear map reads off the frozen tokens, and whether they collapse.

        probe_error_px is of keypoints, by ridge regression on one half of the hands, tested on the
        other. The last three are to be watched: feature_spread is 1 in a healthy network and 0 in a
        collapsed one; teacher_entropy_nats is log(outputs) when the teacher says nothing, and as
        much as mixed_entropy_nats, that of its mean answer, when it says the same of all.
        """
        features, truth, pixels, answers = [], [], [], []
        for batch in batches:
            view = _views_of(batch)[0]
            out = network(batch["image"])
            features.append(torch.cat([out["cls"], out["patches"].mean(1)], dim=1).cpu())
            truth.append(batch["keypoints_px"].flatten(1).cpu())
            if "pixels" in out:
                painted = network(view.image, view.mask)["pixels"]
                pixels.append(float(pixel_loss(painted, view.image, view.mask)))
            if self.network.head is not None:
                answers.append(self.distillation.teacher_answers(view).cpu())
        found = torch.cat(features)
        figures = {"probe_error_px": probe_error(found, torch.cat(truth))}
        if pixels:
            figures["pixel_error"] = float(np.mean(pixels))
        figures["feature_spread"] = feature_spread(found)
        if answers:
            probabilities = torch.cat(answers)
            figures["teacher_entropy_nats"] = mean_entropy(probabilities)
            figures["mixed_entropy_nats"] = mean_entropy(probabilities.mean(0, keepdim=True))
        return figures

    def pictures(self, network: nn.Module, batch: Batch) -> dict[str, np.ndarray]:
        """First views, as the student sees them, and as it paints them."""
        view = _views_of({name: values[:_PICTURED] for name, values in batch.items()})[0]
        rows = [view.image, _as_seen(view)]
        out: dict[str, Any] = network(view.image, view.mask)
        if "pixels" in out:
            rows.append(out["pixels"].clamp(0.0, 1.0))
        return {"views": _sheet(rows)}

    def preview(self, n: int) -> np.ndarray:
        """Images above their two views, without what the student does not see."""
        rng = numpy_stream("train", seed=0)
        images = self._hands.images(min(n, _PREVIEWED), rng, torch.device("cpu"))
        views = _views_of(self._view_pair(images, rng))
        return _sheet([images, *(_as_seen(view) for view in views)])

    def _validation_batches(self, device: torch.device) -> Iterator[Batch]:
        number = self.options.validation_hands
        for step, start in enumerate(range(0, number, self.batch_size)):
            rng = numpy_stream("val", seed=VALIDATION_SEED, step=step)
            count = min(self.batch_size, number - start)
            hands = self._hands.labelled(count, rng, device)
            labels = {"image": hands.image, "keypoints_px": hands.keypoints_px["anatomical"]}
            yield {**labels, **self._view_pair(hands.image, rng)}

    def _view_pair(self, images: Tensor, rng: np.random.Generator) -> Batch:
        """Keys: views (B, 2, 3, S, S), masks (B, 2, N), and the views' geometry."""
        dice = Dice(int(rng.integers(2**62)), len(images), images.device)
        parts: dict[str, list[Tensor]] = {name: [] for name in ("views", "masks", *_GEOMETRY)}
        for k in range(2):
            own = dice.stream(f"view {k}")
            geometry = draw_geometry(self.options.views, own.stream("geometry"))
            view = cut_views(images, geometry, self._size_px)
            view = change_colors(view, self.options.views, own.stream("colors"), second=k == 1)
            mask = draw_masks(len(images), self.network.backbone.grid, self.options.masks, rng)
            parts["views"].append(view)
            parts["masks"].append(torch.from_numpy(mask).to(images.device))
            for name, values in geometry._asdict().items():
                parts[name].append(values)
        return {name: torch.stack(values, dim=1) for name, values in parts.items()}


@register_task(
    "handmim_pretrain_small",
    network="handmim_pretrain",
    network_config=HandMIMPretrainConfig.small(),
    options=HandMIMPretrainOptions(teacher_momentum=0.98, teacher_steps=600, validation_hands=256),
    trainer=TrainerConfig(
        steps=600,
        batch_size=32,
        learning_rate=7e-4,
        weight_decay=0.04,
        warmup_steps=60,
        final_learning_rate_ratio=0.002,
        gradient_clip_norm=3.0,
        ema_decay=0.0,
        precision="bf16-mixed",
        val_every_steps=100,
        checkpoint_every_steps=100,
    ),
)
class SmallHandMIMPretrainTask(HandMIMPretrainTask):
    """A tiny transformer at 128 px in an hour of CPU, to see that pre-training runs."""


def probe_error(features: Tensor, keypoints_px: Tensor) -> float:
    """Mean distance of (N, 2 K) keypoints from what ridge regression reads off (N, D) features.

    It is fitted to the first half and tested on the second.
    """
    half = len(features) // 2
    x, y = features.double(), keypoints_px.double()
    x = (x - x[:half].mean(0)) / x[:half].std(0).clamp_min(1e-8)
    offset = y[:half].mean(0)
    ridge = _PROBE_RIDGE * half * x.shape[1] ** 0.5 * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(x[:half].T @ x[:half] + ridge, x[:half].T @ (y[:half] - offset))
    error = x[half:] @ weights + offset - y[half:]
    return float(error.unflatten(1, (-1, 2)).norm(dim=2).mean())


def _views_of(batch: Batch) -> tuple[MaskedView, MaskedView]:
    first, second = (
        MaskedView(
            batch["views"][:, k],
            batch["masks"][:, k],
            ViewGeometry(*(batch[name][:, k] for name in _GEOMETRY)),
        )
        for k in range(2)
    )
    return first, second


def _as_seen(view: MaskedView) -> Tensor:
    """(B, 3, S, S) grey where a patch is hidden."""
    hidden = hidden_pixels(view.mask, view.image.shape[2])
    return torch.where(hidden, torch.full_like(view.image, 0.5), view.image)


def _sheet(rows: list[Tensor]) -> np.ndarray:
    """(H, W, 3) uint8: one row of images for each (N, 3, S, S)."""
    lines = [torch.cat(list(row), dim=2) for row in rows]
    picture = torch.cat(lines, dim=1).permute(1, 2, 0).cpu().numpy()
    return np.rint(255.0 * picture).astype(np.uint8)
