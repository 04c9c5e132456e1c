"""A task as Lightning's trainer wants it: one step, its data, its optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812  # its own documentation's name
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hand_mesh_ros.networks.checkpoint_file import replaced_file
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.schedule import learning_rate_factor
from hand_mesh_ros.training.seeds import seed_network_step
from hand_mesh_ros.training.task import Batch, TrainingTask


class TrainingError(RuntimeError):
    """Training cannot start or go on: one clear line."""


class LightningTask(L.LightningModule):
    """Adapter around a `TrainingTask`; what is in `state_dict` is what a resume needs."""

    def __init__(self, task: TrainingTask, config: TrainerConfig, run_dir: Path) -> None:
        super().__init__()
        self.task, self.config, self.run_dir = task, config, run_dir
        self.network = task.network
        self.extra = nn.ModuleDict(dict(task.extra_modules()))
        self.terms: dict[str, float] = {}
        """The newest losses by name, and their sum as "total"."""

    def setup(self, stage: str) -> None:
        """Agree on one folder: each process may have made up a name of its own."""
        self.run_dir = Path(self.trainer.strategy.broadcast(str(self.run_dir)))

    def train_dataloader(self) -> Iterator[Batch]:
        """Endless batches from the present step on, of this process's own."""
        stream = BatchStream(
            "train",
            self.device,
            seed=self.config.seed,
            rank=self.global_rank,
            world_size=self.trainer.world_size,
            start_step=self.global_step,
        )
        return self.task.batches(stream)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one step; not `batch_idx` but the optimiser's steps count."""
        step = self.global_step
        seed_network_step(seed=self.config.seed, rank=self.global_rank, step=step)
        losses = self.task.losses(batch, step=step)
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        values = torch.stack([*(loss.detach().float() for loss in losses.values()), total.detach()])
        self.terms = dict(zip([*losses, "total"], values.tolist(), strict=True))  # one wait
        if not math.isfinite(self.terms["total"]):
            raise TrainingError(self._keep_bad_batch(batch, step))
        return total

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW under the learning rate's schedule, counted in steps."""
        groups = [g for g in self.task.parameter_groups(self.config.weight_decay) if g["params"]]
        rate, betas = self.config.learning_rate, self.config.betas
        optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, self.config)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _keep_bad_batch(self, batch: Batch, step: int) -> str:
        """Write the batch that gave no number; returns the line to stop with."""
        bad = [f"{name} {value}" for name, value in self.terms.items() if not math.isfinite(value)]
        path = self.run_dir / f"bad_batch_step{step}_rank{self.global_rank}.safetensors"
        tensors = {name: t.detach().cpu().clone().contiguous() for name, t in batch.items()}
        with replaced_file(path) as temporary:
            save_file(tensors, temporary)
        return (
            f"step {step}: the loss is not finite ({', '.join(bad)}); its batch is in {path}. "
            "Lower trainer.learning_rate or trainer.gradient_clip_norm, or mend the batch"
        )
