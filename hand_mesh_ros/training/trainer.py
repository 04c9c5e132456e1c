"""One training run from its configuration to its weights; `train` tells the whole story."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning as L  # noqa: N812
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from hand_mesh_ros import __version__
from hand_mesh_ros.networks.checkpoint import load_into, save_network
from hand_mesh_ros.networks.registry import build_network
from hand_mesh_ros.training.callbacks import Averaging, Reporting, Saving, Validation
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.ema import MovingAverage
from hand_mesh_ros.training.lightning_task import LightningTask, TrainingError
from hand_mesh_ros.training.resume_file import ResumeFileIO, steps_done
from hand_mesh_ros.training.run_config import RunConfig
from hand_mesh_ros.training.run_folder import RunFolder
from hand_mesh_ros.training.stopping import StopRequests
from hand_mesh_ros.training.task import TrainingTask, task_entry
from hand_mesh_ros.training.typed_config import config_to_plain


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended."""

    task: str
    """Its name."""
    steps: int
    """Optimiser steps done, those before a resume included."""
    seconds: float
    """Of this run alone."""
    figures: dict[str, float]
    """Of the last validation; empty without one."""
    weights: Path
    """The best averaged weights, or the last ones where nothing was measured."""
    finished: bool
    """Whether all steps of the configuration are done; else the run can be resumed."""
    interrupted: bool
    """Whether Ctrl-C or SIGTERM ended it."""


def train(config: RunConfig, run_dir: Path, *, resume: bool = False) -> TrainingResult:
    """Train a task.

    Args:
        config: all that the result depends on.
        run_dir: folder for its files.
        resume: go on from the state in that folder, as if it had never stopped.

    Raises:
        TrainingError: the loss is not finite, there is nothing to resume, the hand model's files
            are missing, or there is no such accelerator.
        CheckpointError: a file cannot be written, or the state cannot be read.
    """
    options, folder, start_s = config.trainer, RunFolder(run_dir), time.monotonic()
    _check_state(folder, options, resume)
    _use_threads(options)
    torch.set_float32_matmul_precision("high")  # TensorFloat-32 where a GPU has it

    task = build_task(config)
    if is_first_process():
        folder.prepare(config.to_yaml())
    model, entry = task.model, task_entry(config.name)
    average = MovingAverage(task.network, options.ema_decay)

    def save_weights(which: str, steps: int, figures: dict[str, float]) -> None:
        recipe = {name: getattr(config, name) for name in ("network", "task", "trainer")}
        save_network(
            folder.weights(which),
            entry.network,
            average.network,
            config.network,
            model,
            preprocessing=task.preprocessing(),
            training={
                "task": config.name,
                "recipe": config_to_plain(recipe),
                "seed": options.seed,
                "steps": steps,
                "figures": figures,
                "version": __version__,
            },
        )

    stop = StopRequests(max_minutes=options.max_minutes)
    validation = Validation(average, stop, save_weights)
    module = LightningTask(task, options, run_dir)
    with _quiet():
        trainer = _lightning_trainer(
            options,
            run_dir,
            # Each sees what those before it did in the same step.
            callbacks=[
                Averaging(average),
                stop,
                validation,
                Saving(folder, validation, save_weights),
                Reporting(folder, validation),
            ],
        )
        with stop.signals(), contextlib.suppress(SIGTERMException):  # by then all is saved
            trainer.fit(module, ckpt_path=folder.state if resume else None)
    best = folder.weights("best")
    return TrainingResult(
        task=config.name,
        steps=trainer.global_step,
        seconds=time.monotonic() - start_s,
        figures=validation.figures,
        weights=folder.weights("last") if validation.best is None else best,
        finished=trainer.global_step >= options.steps,
        interrupted=stop.interrupted,
    )


def build_task(config: RunConfig) -> TrainingTask:
    """The task with its network, whose first weights the seed decides where the config names none.

    Raises:
        TrainingError: the hand model's files are missing or unfit.
        CheckpointError: the weights to start from cannot be read, or are of another network or
            for another hand.
    """
    entry = task_entry(config.name)
    try:
        model = config.hand.load()
    except (OSError, ValueError) as error:
        raise TrainingError(f"hand: {error}") from error
    torch.manual_seed(config.trainer.seed)
    network = build_network(entry.network, config.network, model)
    task = entry.task(network, config.task, model=model, batch_size=config.trainer.batch_size)
    if config.trainer.start_from:
        load_into(network, entry.network, config.trainer.start_from, model)
    return task


def is_first_process() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank_zero_only.rank == 0


def _check_state(folder: RunFolder, options: TrainerConfig, resume: bool) -> None:
    if not resume and folder.state.exists() and is_first_process():
        raise TrainingError(f"{folder.path} has a run already: resume it, or name another folder")
    if resume and not folder.state.exists():
        raise TrainingError(f"{folder.path} has no {folder.state.name}, nothing to resume")
    if resume and (done := steps_done(folder.state)) >= options.steps:
        raise TrainingError(
            f"{folder.path} has done its {done} steps; raise trainer.steps to go on"
        )


def _use_threads(options: TrainerConfig) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = max(options.devices, 1)
    torch.set_num_threads(options.threads or max((cores or 1) // processes, 1))


def _lightning_trainer(
    options: TrainerConfig, run_dir: Path, callbacks: list[L.Callback]
) -> L.Trainer:
    try:
        return L.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=options.strategy,
            precision=options.precision,
            max_steps=options.steps,
            max_epochs=-1,
            gradient_clip_val=options.gradient_clip_norm or None,
            deterministic="warn" if options.deterministic else False,
            benchmark=not options.deterministic,
            callbacks=callbacks,
            plugins=[ResumeFileIO()],
            default_root_dir=run_dir,
            # Ours do these, see callbacks.py.
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise TrainingError(f"trainer: {' '.join(str(error).split())}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's tips, and its warnings of what is meant to be as it is."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
