"""Networks to and from checkpoint files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    CheckpointFile,
    check_hand_model,
    checkpoint_path,
    hand_model_fingerprint,
    read_checkpoint_file,
    write_checkpoint_file,
)
from hand_mesh_ros.networks.registry import build_network, network_entry
from hand_mesh_ros.training.typed_config import ConfigError, config_from_plain, config_to_plain

_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A trained network, in evaluation mode on the CPU, and what its file says of it."""

    network: nn.Module
    config: Any
    """The network's config dataclass."""
    file: CheckpointFile


def save_network(
    path: Path | str,
    name: str,
    network: nn.Module,
    config: Any,
    model: HandModel,
    *,
    preprocessing: Mapping[str, Any],
    training: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write a network's checkpoint; the other arguments are the fields of `CheckpointFile`.

    Raises:
        CheckpointError: a tensor is not finite, or the disk refuses.
    """
    state = {k: v.detach().cpu() for k, v in network.state_dict().items()}
    tensors = {
        k: (v.float() if v.dtype == torch.bfloat16 else v).numpy()  # NumPy has no bfloat16
        for k, v in state.items()
    }
    file = CheckpointFile(
        network=name,
        config=config_to_plain(config),
        hand_model=model.name,
        hand_model_fingerprint=hand_model_fingerprint(model),
        preprocessing=config_to_plain(preprocessing),
        training=config_to_plain(training),
        tensors=tensors,
    )
    write_checkpoint_file(path, file, half=half)


def load_network(name_or_path: str | Path, model: HandModel) -> LoadedNetwork:
    """A network from the package's weights of that name, or from a file.

    Raises:
        CheckpointError: no such file, not ours, for another hand model, or tensors that are
            missing, unexpected or of another shape.
    """
    path = checkpoint_path(str(name_or_path))
    file = read_checkpoint_file(path)
    check_hand_model(file, model)
    try:
        entry = network_entry(file.network)
        config = config_from_plain(entry.config, file.config, "network")
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    network = build_network(file.network, config, model)
    _load_tensors(network, file, path)
    return LoadedNetwork(network.eval(), config, file)


def load_into(network: nn.Module, kind: str, name_or_path: str | Path, model: HandModel) -> None:
    """Give a network the weights of that name in the package, or of a file.

    Args:
        network: what `build_network` made of its kind, with any config.
        kind: its name in the registry.
        name_or_path: as for `load_network`.
        model: the hand model that it was built for.

    Raises:
        CheckpointError: as for `load_network`, or the file is of another kind or another config.
    """
    path = checkpoint_path(str(name_or_path))
    file = read_checkpoint_file(path)
    check_hand_model(file, model)
    if file.network != kind:
        raise CheckpointError(f"{path} is of network {file.network!r}, expected {kind!r}")
    _load_tensors(network, file, path)


def _load_tensors(network: nn.Module, file: CheckpointFile, path: Path) -> None:
    wanted, given = network.state_dict(), file.tensors
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name} is unexpected" for name in given if name not in wanted]
    problems += [
        f"{name} is {list(given[name].shape)}, expected {list(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != tuple(wanted[name].shape)
    ]
    if problems:
        more = len(problems) - _MOST_NAMED
        text = "; ".join(problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise CheckpointError(f"{path} does not fit network {file.network!r}: {text}")
    network.load_state_dict({name: torch.from_numpy(given[name].copy()) for name in wanted})
