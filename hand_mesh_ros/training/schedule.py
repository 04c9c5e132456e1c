"""The learning rate over a run."""

from __future__ import annotations

import math

from hand_mesh_ros.training.config import TrainerConfig


def learning_rate_factor(step: int, config: TrainerConfig) -> float:
    """What step number `step` (from 0) multiplies the learning rate by.

    A linear rise over the warm-up, then a half cosine down to the final ratio at the last step, or
    a constant that falls at each milestone.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "step":
        falls = sum(step >= share * config.steps for share in config.milestones)
        return config.step_factor**falls
    last = max(config.steps - 1 - config.warmup_steps, 1)
    progress = min((step - config.warmup_steps) / last, 1.0)
    final = config.final_learning_rate_ratio
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
