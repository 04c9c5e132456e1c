"""Trains VQ-MANO, MaskHand's tokeniser: on poses of the pose prior and of data sets, no image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.evaluation.metrics import distances_m, procrustes
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_hand import TorchHand
from hand_mesh_ros.networks.vq_mano import VQMano, VQManoConfig
from hand_mesh_ros.training.articulations import (
    Articulations,
    dataset_articulations,
    prior_articulations,
)
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.seeds import VALIDATION_SEED, Split
from hand_mesh_ros.training.task import Batch, TrainingTask, register_task
from hand_mesh_ros.training.typed_config import check_ranges, option

_POSE_SEED = {"train": 1, "val": 2}
_VALIDATION_BATCH = 512
_UNIT_M = 0.01


@dataclass(frozen=True)
class VQManoTaskOptions:
    """Poses and weights of the losses."""

    poses: int = option(100_000, "different hands of the pose prior", minimum=0)
    datasets: dict[str, float] = field(
        default_factory=dict,
        metadata={"text": "data sets with poses, and their weights: {NAME:FOLDER: 1.0}"},
    )
    dataset_poses: int = option(100_000, "hands of them, at most", minimum=1)
    validation_poses: int = option(2048, "other hands of the pose prior", minimum=1)
    vertices: float = option(1.0, "weight of distances of vertices, cm", minimum=0.0)
    rotations: float = option(1.0, "weight of the rotations' matrices", minimum=0.0)
    commitment: float = option(0.25, "weight of latents' distances to their codes", minimum=0.0)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.poses == 0 and not self.datasets:
            raise ValueError("poses is 0 without datasets, expected something to train on")
        for spec, weight in self.datasets.items():
            if not (math.isfinite(weight) and weight > 0.0):
                raise ValueError(f"datasets: weight of {spec} is {weight}, expected above 0")


@register_task(
    "vq_mano",
    network="vq_mano",
    network_config=VQManoConfig(),
    options=VQManoTaskOptions(),
    trainer=TrainerConfig(
        steps=2000,
        batch_size=256,
        learning_rate=2e-3,
        weight_decay=1e-4,
        warmup_steps=100,
        ema_decay=0.995,
        val_every_steps=500,
        checkpoint_every_steps=500,
        threads=1,
        accelerator="cpu",
    ),
)
class VQManoTask(TrainingTask):
    """VQ-MANO, the tokeniser of MaskHand: minutes of one CPU core, no image."""

    network: VQMano
    options: VQManoTaskOptions

    def __init__(
        self, network: nn.Module, options: VQManoTaskOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Poses are drawn at the first batch."""
        super().__init__(network, options, model=model, batch_size=batch_size)
        self._hand = TorchHand(model)
        self._poses: dict[str, Articulations] = {}

    def extra_modules(self) -> dict[str, nn.Module]:
        """The hand model, which moves to the device."""
        return {"hand": self._hand}

    def batches(self, stream: BatchStream) -> Iterator[Batch]:
        """Rotations and shapes, drawn with replacement; validation hands once each."""
        device, poses = stream.device, self._poses_of(stream.split)

        def at(rows: np.ndarray) -> Batch:
            arrays = poses._asdict().items()
            return {name: torch.from_numpy(values[rows]).to(device) for name, values in arrays}

        if stream.split == "val":
            for start in range(0, len(poses.shape), _VALIDATION_BATCH):
                yield at(np.arange(start, min(start + _VALIDATION_BATCH, len(poses.shape))))
            return
        for step in itertools.count(stream.start_step):
            yield at(stream.rng(step).integers(len(poses.shape), size=self.batch_size))

    def _poses_of(self, split: Split) -> Articulations:
        if split not in self._poses:
            options, rng = self.options, np.random.default_rng(_POSE_SEED[split])
            parts = []
            if split == "val":
                parts.append(prior_articulations(self.model, options.validation_poses, rng))
            elif options.poses:
                parts.append(prior_articulations(self.model, options.poses, rng))
            if split == "train" and options.datasets:
                parts.append(
                    dataset_articulations(
                        options.datasets, self.model, options.dataset_poses, seed=VALIDATION_SEED
                    )
                )
            self._poses[split] = Articulations.joined(parts)
        return self._poses[split]

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Rotations, meshes and commitment; the codebook learns beside them."""
        network, options, true = self.network, self.options, batch["rotations"]
        done = network.tokenise(true)
        codes = network.quantizer.codes_of(done.index)
        network.quantizer.learn(done.latent, done.index)
        with torch.no_grad():
            true_vertices = self._vertices(true, batch["shape"])
        error = self._vertices(done.rotations, batch["shape"]) - true_vertices
        return {
            "vertices": options.vertices * torch.sqrt((error**2).sum(2) + 1e-10).mean() / _UNIT_M,
            "rotations": options.rotations * (done.rotations - true).abs().mean(),
            "commitment": options.commitment * ((done.latent - codes.detach()) ** 2).mean(),
        }

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Error of the meshes after their codes, aligned, and the share of codes not in use."""
        errors, indices = [], []
        for batch in batches:
            out = network(batch["rotations"])
            found, true = (
                self._vertices(rotations, batch["shape"]).cpu().numpy().astype(np.float64)
                for rotations in (out["rotations"], batch["rotations"])
            )
            errors.append(distances_m(procrustes(found, true).apply(found), true).mean(1))
            indices.append(out["index"].cpu())
        used = self.network.quantizer.share_in_use(torch.cat(indices), self.network.config.codes)
        return {
            "pa_mpvpe_mm": 1e3 * float(np.concatenate(errors).mean()),
            "codes_unused_percent": 100.0 * (1.0 - used),
        }

    def _vertices(self, rotations: Tensor, shape: Tensor) -> Tensor:
        """(B, V, 3) m of hands that are not turned."""
        eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        turn = eye.expand(len(rotations), 1, 3, 3)
        return self._hand(torch.cat([turn, rotations], dim=1), shape).vertices_m
