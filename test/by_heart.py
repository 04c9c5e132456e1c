"""Learning one batch by heart, for the tests that labels, losses and a network fit together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.run_config import RunConfig
from hand_mesh_ros.training.task import Batch, TrainingTask
from hand_mesh_ros.training.trainer import build_task


class Learned(NamedTuple):
    """A task whose network has seen one batch only."""

    task: TrainingTask
    batch: Batch
    before: dict[str, float]
    """Its figures on this batch before the first step."""
    after: dict[str, float]
    """And after the last one."""


def learned_by_heart(
    config: RunConfig, *, steps: int, learning_rate: float, rising: float
) -> Learned:
    """Train on a run's first batch, by AdamW and one cycle of the learning rate.

    Args:
        config: of the run.
        steps: in all.
        learning_rate: at its highest, of groups that have none of their own.
        rising: share of the steps in which it rises.
    """
    with _one_thread():
        task = build_task(config)
        made = task.batches(BatchStream("train", torch.device("cpu")))
        batch = next(made)
        made.close()
        with torch.no_grad():
            before = task.validate(task.network.eval(), [batch])
        groups = task.parameter_groups(weight_decay=0.0)
        optimizer = torch.optim.AdamW(groups, learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group.get("lr", learning_rate) for group in groups],
            total_steps=steps,
            pct_start=rising,
        )
        task.network.train()
        for step in range(steps):
            torch.manual_seed(step)
            loss = torch.stack(list(task.losses(batch, step=step).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            after = task.validate(task.network.eval(), [batch])
    print(before, after)
    return Learned(task, batch, before, after)


@contextmanager
def _one_thread() -> Iterator[None]:
    """So that it is the same run on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
