"""What can be trained: data, losses, figures and pictures of one task; and tasks by name.

A task is plain code over a network. It knows nothing of optimisers, devices, processes, logs or
files: `trainer.py` brings them. To add one, write a file with a class as below:

    @register_task("lifter", network="lifter", network_config=LifterConfig(), options=LifterTaskOptions())
    class LifterTask(TrainingTask):
        ...
"""  # noqa: E501

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.config import TrainerConfig

if TYPE_CHECKING:  # a list of names needs no torch
    from torch import Tensor, nn

    from hand_mesh_ros.training.batch_stream import BatchStream

Batch: TypeAlias = "dict[str, Tensor]"


class TrainingTask(ABC):
    """One thing to train; its docstring's first line is what `hand-mesh train --list` shows."""

    def __init__(
        self, network: nn.Module, options: Any, *, model: HandModel, batch_size: int
    ) -> None:
        """Keep what all tasks need; a task that needs more overrides this and calls it.

        Args:
            network: what is trained and saved.
            options: the task's own dataclass, as registered.
            model: the hand that is trained for.
            batch_size: of each process.
        """
        self.network, self.options = network, options
        self.model, self.batch_size = model, batch_size

    @abstractmethod
    def batches(self, stream: BatchStream) -> Iterator[Batch]:
        """The batches of that stream."""

    @abstractmethod
    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Weighted scalar terms; their sum is minimised and each is logged.

        Args:
            batch: one of a "train" stream.
            step: number of optimiser steps before this one.
        """

    @abstractmethod
    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Figures with units in their names (pa_mpjpe_mm), the lower the better.

        The first one picks the best checkpoint. `network` has the averaged weights and is in
        evaluation mode; no gradients are recorded.
        """

    def pictures(self, network: nn.Module, batch: Batch) -> dict[str, np.ndarray]:
        """(H, W, 3) uint8 RGB by name, for TensorBoard, of the first validation batch."""
        return {}

    def after_step(self, step: int) -> None:  # noqa: B027  # most tasks do nothing here
        """Called when `step` optimiser steps are done, for a teacher's weights for example.

        No gradients are recorded.
        """

    def extra_modules(self) -> Mapping[str, nn.Module]:
        """Modules beside the network that move to the device and survive a resume.

        A teacher, or constants such as a `TorchHand`. Those of their parameters that require
        gradients are trained. They are not in the final checkpoint.
        """
        return {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups as torch's optimisers take them; a group's `lr` replaces the usual one.

        By default weight decay acts on matrices and kernels, not on biases and norms.
        """
        modules = (self.network, *self.extra_modules().values())
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]

    def preprocessing(self) -> dict[str, Any]:
        """Constants of the network's input that travel in its checkpoint; plain values."""
        return {}

    def preview(self, n: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB sheet of n training samples."""
        raise NotImplementedError(f"{type(self).__name__} has no pictures of its samples")


@dataclass(frozen=True)
class TaskEntry:
    """A task as it was registered."""

    name: str
    task: type[TrainingTask]
    network: str
    """Name of what it trains, in the registry of networks."""
    network_config: Any
    """The defaults of a run, as are the two below."""
    options: Any
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


# Where each name is registered: a task's file is imported when it is first asked for.
_FILES: dict[str, str] = {
    "amvur": "hand_mesh_ros.training.amvur_task",
    "amvur_paper": "hand_mesh_ros.training.amvur_task",
    "amvur_weak": "hand_mesh_ros.training.amvur_task",
    "amvur_weak_paper": "hand_mesh_ros.training.amvur_task",
    "fused": "hand_mesh_ros.training.fused_task",
    "handmim": "hand_mesh_ros.training.handmim_task",
    "handmim_pretrain": "hand_mesh_ros.training.handmim_pretrain_task",
    "handmim_pretrain_small": "hand_mesh_ros.training.handmim_pretrain_task",
    "handmim_probe": "hand_mesh_ros.training.handmim_probe_task",
    "handmim_small": "hand_mesh_ros.training.handmim_task",
    "lifter": "hand_mesh_ros.training.lifter_task",
    "m3dhmr": "hand_mesh_ros.training.m3dhmr_task",
    "m3dhmr_paper": "hand_mesh_ros.training.m3dhmr_task",
    "maskhand": "hand_mesh_ros.training.maskhand_task",
    "maskhand_small": "hand_mesh_ros.training.maskhand_task",
    "vq_mano": "hand_mesh_ros.training.vq_mano_task",
}
_ENTRIES: dict[str, TaskEntry] = {}
_Task = TypeVar("_Task", bound=type[TrainingTask])


def register_task(
    name: str,
    *,
    network: str,
    network_config: Any,
    options: Any,
    trainer: TrainerConfig | None = None,
) -> Callable[[_Task], _Task]:
    """Make a task known under that name; its file belongs into the table above.

    Args:
        name: for the command line.
        network: name of what it trains, in the registry of networks.
        network_config: default config of the network.
        options: default options of the task, a dataclass.
        trainer: default trainer config.
    """

    def register(task: _Task) -> _Task:
        config = TrainerConfig() if trainer is None else trainer
        _ENTRIES[name] = TaskEntry(name, task, network, network_config, options, config)
        return task

    return register


def task_names() -> tuple[str, ...]:
    """The names that `task_entry` knows."""
    return tuple(sorted({*_FILES, *_ENTRIES}))


def task_entry(name: str) -> TaskEntry:
    """The task of that name; imports its file.

    Raises:
        ValueError: no such name; lists what is known.
    """
    if name not in _ENTRIES and name in _FILES:
        importlib.import_module(_FILES[name])
    if name not in _ENTRIES:
        raise ValueError(f"task {name!r} is unknown, expected one of: {', '.join(task_names())}")
    return _ENTRIES[name]
