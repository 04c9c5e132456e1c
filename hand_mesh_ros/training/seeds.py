"""Random streams that depend on seed, process and step alone, so that a resumed run has the same.

Nothing is ever continued: each step starts streams of its own.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

Split = Literal["train", "val"]

VALIDATION_SEED = 0
"""Of the validation data, whatever a run's seed: figures of all runs are of the same hands."""

_PURPOSES = {"train": 0, "val": 1, "network": 2}


def numpy_stream(split: Split, *, seed: int, rank: int = 0, step: int = 0) -> np.random.Generator:
    """The stream that makes the batch of one step in one process."""
    return np.random.default_rng(_sequence(split, seed, rank, step))


def torch_stream(
    split: Split,
    *,
    seed: int,
    rank: int = 0,
    step: int = 0,
    device: torch.device | str = "cpu",
) -> torch.Generator:
    """The same for torch, on a device (whose kind has its own numbers for the same seed)."""
    return torch.Generator(device).manual_seed(_number(split, seed, rank, step))


def seed_network_step(*, seed: int, rank: int, step: int) -> None:
    """Start torch's global stream anew: what dropout and the like draw in this step."""
    number = _number("network", seed, rank, step)
    # Not torch.manual_seed: without a GPU in use, each call of it queues one for later, with a
    # traceback; that is slower than a small network's step.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(number)


def _sequence(purpose: str, seed: int, rank: int, step: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((_PURPOSES[purpose], seed, rank, step))


def _number(purpose: str, seed: int, rank: int, step: int) -> int:
    words = _sequence(purpose, seed, rank, step).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1  # 63 bits: manual_seed takes no more
