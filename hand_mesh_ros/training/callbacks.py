"""What happens after each step: averaging, validation, saving, logging; in this order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L  # noqa: N812
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.ema import MovingAverage
from hand_mesh_ros.training.lightning_task import LightningTask
from hand_mesh_ros.training.run_folder import RunFolder
from hand_mesh_ros.training.seeds import VALIDATION_SEED, seed_network_step
from hand_mesh_ros.training.stopping import StopRequests
from hand_mesh_ros.training.task import Batch

SaveWeights = Callable[[str, int, dict[str, float]], None]
"""(file name, steps, figures): writes the averaged weights into the run's folder."""


class Averaging(L.Callback):
    """Updates the averaged weights, and what the task keeps itself, such as a teacher."""

    def __init__(self, average: MovingAverage) -> None:
        self._average = average

    def on_fit_start(self, trainer: L.Trainer, pl_module: LightningTask) -> None:
        """Follow the network to its device."""
        self._average.network.to(pl_module.device)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: LightningTask, *_: Any) -> None:
        """After an optimiser step."""
        self._average.update(pl_module.network)
        pl_module.task.after_step(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """For a resume."""
        return self._average.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of a resume."""
        self._average.load_state_dict(state_dict)


class Validation(L.Callback):
    """Figures of the averaged weights, measured by the first process; keeps the best weights."""

    def __init__(self, average: MovingAverage, stop: StopRequests, save: SaveWeights) -> None:
        self._average, self._stop, self._save = average, stop, save
        self.figures: dict[str, float] = {}
        """The newest."""
        self.figures_step = 0
        self.best: float | None = None
        self.pictures: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: LightningTask, *_: Any) -> None:
        """At each interval and at the end, but not when the user is waiting for it to stop."""
        step, config = trainer.global_step, pl_module.config
        due = step % config.val_every_steps == 0 or self._stop.out_of_time
        if (due and not self._stop.interrupted) or step == config.steps:
            if trainer.is_global_zero:
                self._validate(pl_module, step)
            trainer.strategy.barrier("validation")

    @torch.no_grad()
    def _validate(self, module: LightningTask, step: int) -> None:
        # Whatever is drawn here does not touch training: each of its steps seeds itself anew.
        seed_network_step(seed=VALIDATION_SEED, rank=0, step=0)
        task, network = module.task, self._average.network

        first: list[Batch] = []

        def batches() -> Iterator[Batch]:
            for batch in task.batches(BatchStream("val", module.device, seed=VALIDATION_SEED)):
                first[:] = first or [batch]
                yield batch

        self.figures = {k: float(v) for k, v in task.validate(network, batches()).items()}
        self.figures_step = step
        self.pictures = task.pictures(network, first[0]) if first else {}
        if self.figures:
            figure = next(iter(self.figures.values()))
            if figure == figure and (self.best is None or figure < self.best):
                self.best = figure
                self._save("best", step, self.figures)

    def state_dict(self) -> dict[str, Any]:
        """For a resume."""
        return {"figures": self.figures, "figures_step": self.figures_step, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of a resume."""
        self.figures, self.best = state_dict["figures"], state_dict["best"]
        self.figures_step = state_dict["figures_step"]


class Saving(L.Callback):
    """Writes the state to resume from, and the averaged weights."""

    def __init__(self, folder: RunFolder, validation: Validation, save: SaveWeights) -> None:
        self._folder, self._validation, self._save = folder, validation, save

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: LightningTask, *_: Any) -> None:
        """At each interval and at the end, whatever ends the run."""
        step, config = trainer.global_step, pl_module.config
        ends = step == config.steps or trainer.should_stop
        if not ends and step % config.checkpoint_every_steps:
            return
        trainer.save_checkpoint(pl_module.run_dir / self._folder.state.name)
        if trainer.is_global_zero:
            fresh = self._validation.figures_step == step
            self._save("last", step, self._validation.figures if fresh else {})


class Reporting(L.Callback):
    """TensorBoard, and a progress bar with rate and time left; in the first process alone."""

    def __init__(self, folder: RunFolder, validation: Validation) -> None:
        self._folder, self._validation = folder, validation
        self._writer: SummaryWriter | None = None
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: LightningTask) -> None:
        """Begin where the run stands."""
        if trainer.is_global_zero:
            self._writer = SummaryWriter(
                str(self._folder.tensorboard), purge_step=trainer.global_step or None
            )
            self._bar = tqdm(
                total=pl_module.config.steps,
                initial=trainer.global_step,
                unit="step",
                disable=None,  # where no one watches, the lines of the validations are enough
                dynamic_ncols=True,
            )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: LightningTask, *_: Any) -> None:
        """After everything else of the step."""
        if self._writer is None or self._bar is None:
            return
        step, total = trainer.global_step, pl_module.terms["total"]
        self._bar.set_postfix_str(f"loss {total:.4g}", refresh=False)
        self._bar.update()
        if step % pl_module.config.log_every_steps == 0:
            for name, value in pl_module.terms.items():
                self._writer.add_scalar(f"loss/{name}", value, step)
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self._writer.add_scalar("learning_rate", rate, step)
        if self._validation.figures_step == step:
            figures = self._validation.figures
            for name, value in figures.items():
                self._writer.add_scalar(f"val/{name}", value, step)
            for name, picture in self._validation.pictures.items():
                self._writer.add_image(name, picture, step, dataformats="HWC")
            text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            line = f"step {step}/{pl_module.config.steps}  loss {total:.4g}  {text}"
            self._bar.write(line.rstrip(), file=sys.stdout)

    def teardown(self, trainer: L.Trainer, pl_module: LightningTask, stage: str) -> None:
        """Also after an error."""
        if self._bar is not None:
            self._bar.close()
        if self._writer is not None:
            self._writer.close()
