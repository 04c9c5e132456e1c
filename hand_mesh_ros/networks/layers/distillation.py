"""A student's answers pulled towards its teacher's (DINO, Caron et al. 2021; iBOT's head)."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

_Student = TypeVar("_Student", bound=nn.Module)
_LOG_FLOOR = 1e-12


class DistillationHead(nn.Module):
    """Tokens to logits: an MLP, then cosines with learned directions."""

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            *(nn.Linear(width, hidden), nn.GELU()),
            *(nn.Linear(hidden, hidden), nn.GELU()),
            nn.Linear(hidden, bottleneck),
        )
        self.directions = nn.Parameter(torch.empty(outputs, bottleneck))
        nn.init.trunc_normal_(self.directions, std=0.02)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., outputs) in -1 to 1."""
        x = nn.functional.normalize(self.mlp(tokens), dim=-1)
        return nn.functional.linear(x, nn.functional.normalize(self.directions, dim=-1))


class Center(nn.Module):
    """Moving mean of a teacher's logits; without it, one output would win for every image."""

    value: Tensor

    def __init__(self, outputs: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(outputs))

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """Take in (N, outputs) logits, of all processes where there are several."""
        total = torch.cat([logits.float().sum(0), logits.new_tensor([len(logits)]).float()])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        mean = total[:-1] / total[-1].clamp_min(1.0)
        self.value.lerp_(mean, 1.0 - self.momentum)


class Teacher(nn.Module, Generic[_Student]):
    """A copy of a student that follows it slowly and is never trained."""

    network: _Student

    def __init__(self, student: _Student) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Teacher[_Student]:
        """Stay in evaluation mode: a teacher drops nothing."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, student: _Student, momentum: float) -> None:
        """Move to momentum times own weights plus (1 - momentum) times the student's."""
        theirs = dict(student.named_parameters())
        for name, own in self.network.named_parameters():
            own.lerp_(theirs[name].detach(), 1.0 - momentum)


def teacher_probabilities(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    """(N, outputs) what a student is to answer (algorithm 2 of HandMIM)."""
    return torch.softmax((logits.float() - center) / temperature, dim=-1)


def cross_entropy(probabilities: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """(N,) of a student's logits."""
    log_answer = torch.log_softmax(logits.float() / temperature, dim=-1)
    return -(probabilities * log_answer).sum(dim=-1)


def entropy(probabilities: Tensor) -> Tensor:
    """(N,) nats."""
    return -(probabilities * probabilities.clamp_min(_LOG_FLOOR).log()).sum(dim=-1)
