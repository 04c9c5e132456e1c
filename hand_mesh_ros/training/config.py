"""How to train: everything that is not the network's or the task's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mano import load_mano
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.training.typed_config import check_ranges, option


@dataclass(frozen=True)
class HandConfig:
    """The hand model that is trained for."""

    model: Literal["open_hand", "mano"] = option("open_hand", "hand that the meshes are made of")
    mano_dir: str = option("", "folder with MANO_RIGHT.pkl; needed by model mano")

    def __post_init__(self) -> None:
        if self.model == "mano" and not self.mano_dir:
            raise ValueError("mano_dir is '', expected the folder of MANO_RIGHT.pkl")

    def load(self) -> HandModel:
        """The right hand's model.

        Raises:
            FileNotFoundError, ValueError: MANO's files are missing or unfit.
        """
        return load_mano(Path(self.mano_dir)) if self.model == "mano" else load_open_hand()


@dataclass(frozen=True)
class TrainerConfig:
    """Optimisation, its schedule, the machines, and how often what is done."""

    steps: int = option(10_000, "optimiser steps", minimum=1)
    batch_size: int = option(64, "samples per device and step", minimum=1)
    seed: int = option(0, "of weights, data and dropout", minimum=0)
    start_from: str = option(
        "", "whole network to go on from, with new data or losses: a name in the package or a file"
    )
    learning_rate: float = option(1e-3, "of AdamW, at its highest", minimum=0.0)
    betas: tuple[float, float] = option((0.9, 0.999), "of AdamW")
    weight_decay: float = option(0.01, "on matrices; biases and norms have none", minimum=0.0)
    warmup_steps: int = option(0, "steps over which the learning rate rises", minimum=0)
    schedule: Literal["cosine", "step"] = option("cosine", "fall of the learning rate")
    final_learning_rate_ratio: float = option(
        0.01, "cosine: share of the learning rate at the end", minimum=0.0, maximum=1.0
    )
    milestones: tuple[float, ...] = option((0.8,), "step: shares of the steps at which it falls")
    step_factor: float = option(0.1, "step: by which it falls", minimum=0.0, maximum=1.0)
    gradient_clip_norm: float = option(1.0, "largest gradient norm; 0: no clipping", minimum=0.0)
    ema_decay: float = option(
        0.999,
        "of the averaged weights, the result; 0: none",
        minimum=0.0,
        maximum=0.99999,
    )
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = option(
        "32-true", "arithmetic of the forward pass"
    )
    val_every_steps: int = option(1000, "between validations", minimum=1)
    checkpoint_every_steps: int = option(1000, "between saves", minimum=1)
    log_every_steps: int = option(50, "between scalars in TensorBoard", minimum=1)
    max_minutes: float = option(0.0, "stop cleanly, saving, after that time; 0: never", minimum=0.0)
    accelerator: Literal["auto", "cpu", "gpu"] = option("auto", "what to train on")
    devices: int = option(1, "of them, in this machine; -1: all", minimum=-1)
    num_nodes: int = option(1, "machines", minimum=1)
    strategy: str = option("auto", "Lightning's name, such as ddp_find_unused_parameters_true")
    threads: int = option(0, "CPU threads of torch in each process; 0: all cores", minimum=0)
    deterministic: bool = option(
        False, "the same bits twice on a GPU too, more slowly (on a CPU it is always so)"
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.devices == 0:
            raise ValueError("devices is 0, expected 1 or more, or -1 for all")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas is {self.betas}, expected two numbers from 0 to below 1")
        if not all(0.0 < share <= 1.0 for share in self.milestones):
            raise ValueError(f"milestones is {self.milestones}, expected shares from 0 to 1")
