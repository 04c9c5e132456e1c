"""The state of a run as safetensors with JSON, where Lightning would pickle it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hand_mesh_ros.networks.checkpoint_file import CheckpointError, replaced_file

_ENTRY = "hand_mesh_ros_resume"


class ResumeFileIO(CheckpointIO):
    """Lightning's plugin to write and read a training checkpoint."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write the nested state; raises CheckpointError when the disk refuses."""
        tensors: dict[str, Tensor] = {}
        tree = _packed(checkpoint, tensors)
        with replaced_file(path) as temporary:
            save_file(tensors, temporary, metadata={_ENTRY: json.dumps(tree)})

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read it back, on the CPU; nothing is unpickled. Raises CheckpointError."""
        try:
            with safe_open(path, framework="pt") as opened:
                tree = json.loads((opened.metadata() or {})[_ENTRY])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                return _unpacked(tree, tensors)
        except KeyError as error:
            raise CheckpointError(f"{path}: no state of a run to resume") from error
        except (OSError, SafetensorError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not a whole state of a run ({error})") from error

    def remove_checkpoint(self, path: Any) -> None:
        """Delete it."""
        Path(path).unlink(missing_ok=True)


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON that keeps what JSON would lose: kinds of keys, tuples, places of tensors."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_packed(k, tensors), _packed(v, tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_packed(item, tensors) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a run's state has a {type(value).__name__}, which cannot be saved")


def _unpacked(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in content}
    items = [_unpacked(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def steps_done(path: Path) -> int:
    """Optimiser steps in a run's state; raises CheckpointError."""
    with torch.no_grad():
        return int(ResumeFileIO().load_checkpoint(path)["global_step"])
