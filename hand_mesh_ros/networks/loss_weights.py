"""What all networks' loss weights have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def check_loss_weights(weights: Any) -> None:
    """Refuse negative weights, and such that are no number, in a dataclass of them.

    Raises:
        ValueError: it names the first.
    """
    for field in fields(weights):
        if not getattr(weights, field.name) >= 0.0:
            raise ValueError(f"{field.name} must be 0 or more, got {getattr(weights, field.name)}")
