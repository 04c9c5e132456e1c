"""Networks as the command line names them: a checkpoint, or only a name and random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hand_mesh_ros.backends.kinds import EngineSource
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.checkpoint import load_network
from hand_mesh_ros.networks.checkpoint_file import CheckpointError, checkpoint_path
from hand_mesh_ros.networks.registry import build_network, network_entry, network_names

_SEED = 0


@dataclass(frozen=True, eq=False)
class NamedNetwork:
    """A network ready to be compiled."""

    source: EngineSource
    trained: bool
    """False: its weights are random, only its speed means something."""
    about: dict[str, Any]
    """What has to be known to feed it and to read its answers; JSON values."""


def named_network(name_or_path: str, model: HandModel) -> NamedNetwork:
    """The weights of that name or file, or else a network of that name with random weights.

    Raises:
        CheckpointError: neither a checkpoint nor a network, or the checkpoint is unfit.
    """
    try:
        checkpoint_path(name_or_path)
    except CheckpointError as error:
        if name_or_path not in network_names():
            raise CheckpointError(
                f"{error}; or a network for random weights: {', '.join(network_names())}"
            ) from error
        return _random(name_or_path, model)
    loaded = load_network(name_or_path, model)
    file = loaded.file
    about = {
        "network": file.network,
        "config": file.config,
        "hand_model": file.hand_model,
        "hand_model_fingerprint": file.hand_model_fingerprint,
        "preprocessing": file.preprocessing,
    }
    return NamedNetwork(EngineSource(file.network, loaded.network, loaded.config), True, about)


def _random(name: str, model: HandModel) -> NamedNetwork:
    config = network_entry(name).config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = build_network(name, config, model).eval()
    return NamedNetwork(EngineSource(name, network, config), False, {"network": name})
