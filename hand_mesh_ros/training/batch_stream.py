"""Which batches a task is asked for."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch

from hand_mesh_ros.training.seeds import Split, numpy_stream


@dataclass(frozen=True)
class BatchStream:
    """Batches one after the other, of one process.

    The batch of step k depends on split, seed, rank, world_size and k alone, see `seeds.py`, so
    that a run resumed at `start_step` goes on with the same data, and each process has its own.
    """

    split: Split
    """"train" never ends; "val" has all validation data once, the same for every seed."""
    device: torch.device
    """Where the batches are wanted."""
    _: KW_ONLY
    seed: int = 0
    """Of the run."""
    rank: int = 0
    """Of this process among all, from 0."""
    world_size: int = 1
    """Processes that train together."""
    start_step: int = 0
    """k of the first batch of "train"."""

    def rng(self, step: int) -> np.random.Generator:
        """What the batch of that step is drawn with."""
        return numpy_stream(self.split, seed=self.seed, rank=self.rank, step=step)
