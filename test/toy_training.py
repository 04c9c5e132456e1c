"""A line to be learned: the smallest network and task that the trainer can train."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hand_mesh_ros.networks.registry import register_network
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.seeds import torch_stream
from hand_mesh_ros.training.task import TrainingTask, register_task

TRAINER = TrainerConfig(
    steps=120,
    batch_size=16,
    learning_rate=0.05,
    warmup_steps=5,
    ema_decay=0.9,
    val_every_steps=30,
    checkpoint_every_steps=30,
    log_every_steps=30,
    accelerator="cpu",
    threads=1,
)


@dataclass(frozen=True)
class ToyConfig:
    width: int = 8
    dropout: float = 0.02

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width is {self.width}, expected 1 or more")


@register_network("toy", config=ToyConfig)
class Toy(nn.Module):
    def __init__(self, config, model):
        super().__init__()
        self.num_vertices = len(model.template_m)
        self.body = nn.Sequential(nn.Linear(1, config.width), nn.BatchNorm1d(config.width))
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.width, 1))

    def forward(self, x):
        return {"y": self.head(self.body(x))}

    def example_inputs(self, batch):
        return {"x": torch.zeros(batch, 1)}


@dataclass(frozen=True)
class ToyOptions:
    slope: float = 2.0
    nan_at_step: int = -1


@register_task(
    "toy", network="toy", network_config=ToyConfig(), options=ToyOptions(), trainer=TRAINER
)
class ToyTask(TrainingTask):
    """Learn a line."""

    def __init__(self, network, options, *, model, batch_size):
        super().__init__(network, options, model=model, batch_size=batch_size)
        self.teacher = nn.Linear(1, 1, bias=False).requires_grad_(False)
        nn.init.zeros_(self.teacher.weight)

    def extra_modules(self):
        return {"teacher": self.teacher}

    def batches(self, stream):
        step, training = stream.start_step, stream.split == "train"
        while training or step < 2:
            random = torch_stream(stream.split, seed=stream.seed, rank=stream.rank, step=step)
            x = torch.rand(self.batch_size, 1, generator=random)
            y = self.options.slope * x
            if training and step == self.options.nan_at_step:
                y[3] = torch.nan
            yield {"x": x.to(stream.device), "y": y.to(stream.device)}
            step += 1

    def losses(self, batch, *, step):
        error = self.network(batch["x"])["y"] - batch["y"]
        return {"fit": (error * error).mean(), "size": 1e-6 * self.network.head[1].weight.norm()}

    def validate(self, network, batches):
        errors = [(network(b["x"])["y"] - b["y"]).abs().mean().item() for b in batches]
        return {"error_mm": 1e3 * float(np.mean(errors))}

    def pictures(self, network, batch):
        return {"line": np.full((4, 6, 3), 200, np.uint8)}

    def after_step(self, step):
        self.teacher.weight.lerp_(self.network.head[1].weight[:, :1], 0.5)

    def preprocessing(self):
        return {"mean": (0.5,)}

    def preview(self, n):
        return np.full((n, 2, 3), (255, 0, 0), np.uint8)


def main():
    """One process of several: says what gradient it ended with, and that of its own batch."""
    from hand_mesh_ros.training.run_config import default_run_config
    from hand_mesh_ros.training.trainer import train

    folder = Path(sys.argv[1])

    def after_step(self, step):
        rank = torch.distributed.get_rank()
        stream = BatchStream("train", torch.device("cpu"), rank=rank, world_size=2)
        local = next(self.batches(stream))
        numbers = {"gradient": self.network.body[0].weight.grad, "x": local["x"]}
        torch.save(numbers, folder.parent / f"rank{rank}.pt")

    ToyTask.after_step = after_step
    config = default_run_config("toy").assigned(
        ["trainer.devices=2", "trainer.steps=1", "trainer.strategy=ddp", *sys.argv[2:]]
    )
    result = train(config, folder)
    print(f"result {result.steps} {result.figures}")


if __name__ == "__main__":
    main()
