"""What all image networks' training has in common: their data, figures and pictures.

A task on it says only its losses: see `m3dhmr_task.py`. Its network takes `image` and, where its
config says `landmark_cue`, that; it gives `vertices_m`, `keypoints_m` (wrist at the origin) and
`keypoints_uv`; its config has `image_size_px` and `keypoints` (which 21 points are meant).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.evaluation.metrics import distances_m, procrustes
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.ahead import made_ahead
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.dataset_crops import DatasetCrops
from hand_mesh_ros.training.engine_crops import EngineCrops
from hand_mesh_ros.training.image_pictures import PicturedHand, draw_hands
from hand_mesh_ros.training.landmark_noise import LandmarkNoise
from hand_mesh_ros.training.seeds import VALIDATION_SEED, numpy_stream
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.task import Batch, TrainingTask
from hand_mesh_ros.training.two_views import with_second_views
from hand_mesh_ros.training.typed_config import ConfigError, check_ranges, option

_VALIDATION_BATCH = 32
_VALIDATION_BANK_SEED = 0x7A11D
"""Poses of the validation hands: others than training draws."""
_BATCHES_AHEAD = 2
_PICTURED = 8


@dataclass(frozen=True)
class ImageTaskOptions:
    """Data of an image network's training."""

    images: SyntheticConfig = field(
        default_factory=SyntheticConfig,
        metadata={"text": "the image engine's; its size_px is taken from the network"},
    )
    engine_weight: float = option(
        1.0, "of the engine's crops, beside those of the data sets", minimum=0.0
    )
    datasets: dict[str, float] = field(
        default_factory=dict,
        metadata={"text": "data sets beside the engine and their weights: {NAME:FOLDER: 1.0}"},
    )
    template_size: bool = option(
        True, "train for hands as long as the template: a crop hardly shows size"
    )
    two_views: bool = option(False, "show each hand twice, turned, for consistency losses")
    view_rotation_deg: float = option(
        30.0, "largest turn of a second view", minimum=0.0, maximum=180.0
    )
    view_scale: tuple[float, float] = option((0.85, 1.15), "of a second view")
    validation_hands: int = option(384, "synthetic hands that figures are of", minimum=1)

    def __post_init__(self) -> None:
        check_ranges(self)
        low, high = self.view_scale
        if not 0.2 <= low <= high <= 5.0:
            raise ValueError(f"view_scale is {self.view_scale}, expected 0.2 <= low <= high <= 5")
        for spec, weight in self.datasets.items():
            if not (math.isfinite(weight) and weight > 0.0):
                raise ValueError(f"datasets: weight of {spec} is {weight}, expected above 0")
        if not self.datasets and self.engine_weight == 0.0:
            raise ValueError("engine_weight is 0 without datasets, expected something to train on")


class ImageTask(TrainingTask):
    """Base of the tasks that train a network on crops; one has to add `losses`."""

    options: ImageTaskOptions

    def __init__(
        self, network: nn.Module, options: ImageTaskOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Check the options; data is opened and drawn at the first batch.

        Raises:
            ConfigError: an odd batch of two views each.
        """
        super().__init__(network, options, model=model, batch_size=batch_size)
        if options.two_views and batch_size % 2:
            raise ConfigError(f"trainer.batch_size is {batch_size}, expected even: two views each")
        self.network_config: Any = network.config
        self._images = replace(options.images, size_px=self.network_config.image_size_px)

    def preprocessing(self) -> dict[str, Any]:
        """How live crops are to be cut."""
        low, high = self._images.box_scale
        return {"box_factor": 0.5 * (low + high)}

    # Data.

    def batches(self, stream: BatchStream) -> Iterator[Batch]:
        """Crops by the keys of `engine_crops.py`, and of `two_views.py` where asked for.

        Validation hands are the engine's alone, always the same ones.
        """
        device = stream.device
        if stream.split == "val":
            yield from self._validation_batches(device)
            return
        hands = self.batch_size // (2 if self.options.two_views else 1)
        of_engine = self._of_engine(hands)
        steps = range(stream.start_step, 2**62)
        parts: list[Iterator[Batch]] = []
        if of_engine:
            made = (
                self._engine.batch(of_engine, _rng("engine", stream, step), device)
                for step in steps
            )
            parts.append(made_ahead(made, _BATCHES_AHEAD) if device.type == "cpu" else made)
        if of_engine < hands:
            n, datasets = hands - of_engine, self._datasets(stream.seed)
            cut = (
                datasets.batch(
                    n,
                    (step * stream.world_size + stream.rank) * n,
                    _rng("datasets", stream, step),
                )
                for step in steps
            )
            parts.append(made_ahead(cut, _BATCHES_AHEAD))
        for step, *together in zip(steps, *parts, strict=False):
            batch = _joined([_on_device(part, device) for part in together])
            if self.options.two_views:
                number = int(_rng("views", stream, step).integers(2**62))
                batch = with_second_views(
                    batch,
                    Dice(number, hands, device),
                    rotation_deg=self.options.view_rotation_deg,
                    scale=self.options.view_scale,
                    color=self._images.color_jitter,
                )
            yield batch

    def _of_engine(self, hands: int) -> int:
        """How many of a batch's hands the engine makes."""
        weights = (self.options.engine_weight, sum(self.options.datasets.values()))
        return round(hands * weights[0] / sum(weights))

    def _validation_batches(self, device: torch.device) -> Iterator[Batch]:
        left = self.options.validation_hands
        for step in itertools.count():
            if left < 1:
                return
            rng = numpy_stream("val", seed=VALIDATION_SEED, step=step)
            yield self._validation_engine.batch(min(left, _VALIDATION_BATCH), rng, device)
            left -= _VALIDATION_BATCH

    @cached_property
    def _engine(self) -> EngineCrops:
        noise = LandmarkNoise.load()
        return EngineCrops(
            self.model, self._images, noise, template_size=self.options.template_size
        )

    @cached_property
    def _validation_engine(self) -> EngineCrops:
        """Other poses, errors of landmarks that training does not see, no pictures of the user."""
        config = replace(
            self._images,
            bank_size=self.options.validation_hands,
            bank_seed=_VALIDATION_BANK_SEED,
            background_folder=None,
        )
        noise = LandmarkNoise.load(held_out=True)
        return EngineCrops(self.model, config, noise, template_size=self.options.template_size)

    def _datasets(self, seed: int) -> DatasetCrops:
        return DatasetCrops(
            self.options.datasets,
            self.model,
            self._images,
            LandmarkNoise.load(),
            template_size=self.options.template_size,
            seed=seed,
        )

    def preview(self, n: int) -> np.ndarray:
        """The engine's sheet: images, keypoints, what is visible."""
        return self._engine.images.sheet(n)

    # Figures.

    def network_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the network takes of a batch."""
        names = ["image"]
        if getattr(self.network_config, "landmark_cue", False):
            names.append("landmark_cue")
        return {name: batch[name] for name in names}

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Errors in mm of a hand as long as the template, in % of the crop, and of size and turn.

        Errors of size and of the palm's turn are what live use takes as standard deviations.
        """
        kind = self.network_config.keypoints
        template_m = self.model.hand_length_m(np.zeros(self.model.shape_dirs_m.shape[2]))
        palm = self.model.skinning_weights[:, 0] > 0.9
        found: dict[str, list[np.ndarray]] = {
            name: [] for name in ("joints", "vertices", "uv", "size", "turn")
        }
        for batch in batches:
            out = {k: _numpy(v) for k, v in network(**self.network_inputs(batch)).items()}
            true_vertices, shape = _numpy(batch["vertices_m"]), _numpy(batch["shape"])
            to_template = template_m / self.model.hand_lengths_m(shape)  # (B,)
            for name, points, truth in (
                ("joints", out["keypoints_m"], _numpy(batch[f"{kind}_m"])),
                ("vertices", out["vertices_m"], true_vertices),
            ):
                fit = procrustes(points, truth)
                error = distances_m(fit.apply(points), truth).mean(-1)
                found[name].append(1e3 * to_template * error)
            found["uv"].append(
                np.linalg.norm(out["keypoints_uv"] - _numpy(batch[f"{kind}_uv"]), axis=-1).mean(-1)
            )
            fit = procrustes(out["vertices_m"], true_vertices)
            found["size"].append(np.log(np.maximum(fit.scale, 1e-6) * _numpy(batch["size"])))
            turn = procrustes(out["vertices_m"][:, palm], true_vertices[:, palm]).R
            cosine = 0.5 * (np.trace(turn, axis1=1, axis2=2) - 1.0)
            found["turn"].append(np.arccos(np.clip(cosine, -1.0, 1.0)))
        all_hands = {name: np.concatenate(values) for name, values in found.items()}
        return {
            "pa_mpjpe_mm": float(all_hands["joints"].mean()),
            "pa_mpvpe_mm": float(all_hands["vertices"].mean()),
            "uv_error_percent": 100.0 * float(all_hands["uv"].mean()),
            "size_stddev": float(np.sqrt((all_hands["size"] ** 2).mean())),
            "palm_turn_rad": float(np.sqrt((all_hands["turn"] ** 2).mean())),
        }

    def pictures(self, network: nn.Module, batch: Batch) -> dict[str, np.ndarray]:
        """Landmarks and meshes found in the first crops."""
        first = {name: values[:_PICTURED] for name, values in batch.items()}
        out = {k: _numpy(v) for k, v in network(**self.network_inputs(first)).items()}
        true = {name: _numpy(values) for name, values in first.items()}
        hands = [
            PicturedHand(
                image=true["image"][i].transpose(1, 2, 0),
                true_uv=true[f"{self.network_config.keypoints}_uv"][i],
                found_uv=out["keypoints_uv"][i],
                vertices_m=out["vertices_m"][i] + true["root_m"][i],
                K_crop=true["K_crop"][i],
            )
            for i in range(len(first["image"]))
        ]
        return {"hands": draw_hands(hands, self.model.faces)}


_PURPOSES = ("engine", "datasets", "views")


def _rng(purpose: str, stream: BatchStream, step: int) -> np.random.Generator:
    """Streams of one step that do not depend on each other."""
    number = int(stream.rng(step).integers(2**62))
    return np.random.default_rng((number, _PURPOSES.index(purpose)))


def _on_device(batch: Batch, device: torch.device) -> Batch:
    return {name: values.to(device, non_blocking=True) for name, values in batch.items()}


def _joined(parts: list[Batch]) -> Batch:
    """One batch of the keys that all parts have."""
    if len(parts) == 1:
        return parts[0]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def _numpy(values: Tensor) -> np.ndarray:
    """Float64, for figures."""
    return values.detach().float().cpu().numpy().astype(np.float64)
