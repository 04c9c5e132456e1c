"""Networks by name: `build_network("m3dhmr", config, model)`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hand_mesh_ros.hand_models.hand_model import HandModel

if TYPE_CHECKING:  # a list of names needs no torch
    from torch import nn

_Module = TypeVar("_Module", bound="type[nn.Module]")

# Where each name is registered: a network's file is imported when it is first asked for.
_FILES = {
    "amvur": "hand_mesh_ros.networks.amvur",
    "fused": "hand_mesh_ros.networks.fused",
    "handmim": "hand_mesh_ros.networks.handmim",
    "handmim_pretrain": "hand_mesh_ros.networks.handmim_pretrain",
    "handmim_probe": "hand_mesh_ros.networks.handmim_probe",
    "lifter": "hand_mesh_ros.networks.lifter",
    "m3dhmr": "hand_mesh_ros.networks.m3dhmr",
    "maskhand": "hand_mesh_ros.networks.maskhand",
    "vq_mano": "hand_mesh_ros.networks.vq_mano",
}


@dataclass(frozen=True)
class NetworkEntry:
    """A network as it was registered."""

    name: str
    module: type[nn.Module]
    """Built as `module(config, hand_model)`."""
    config: type[Any]
    """Its config dataclass."""


_ENTRIES: dict[str, NetworkEntry] = {}


def register_network(name: str, *, config: type[Any]) -> Callable[[_Module], _Module]:
    """Make a module known under that name; its file belongs into the table above."""

    def register(module: _Module) -> _Module:
        _ENTRIES[name] = NetworkEntry(name, module, config)
        return module

    return register


def network_names() -> tuple[str, ...]:
    """The names that `network_entry` knows."""
    return tuple(sorted({*_FILES, *_ENTRIES}))


def network_entry(name: str) -> NetworkEntry:
    """The network of that name; imports its file.

    Raises:
        ValueError: no such name; lists what is known.
    """
    if name not in _ENTRIES and name in _FILES:
        importlib.import_module(_FILES[name])
    if name not in _ENTRIES:
        raise ValueError(
            f"network {name!r} is unknown, expected one of: {', '.join(network_names())}"
        )
    return _ENTRIES[name]


def build_network(name: str, config: Any, model: HandModel) -> nn.Module:
    """A new network for a hand model, with weights from torch's random stream.

    Raises:
        ValueError: no such name.
        TypeError: the config is another network's.
    """
    entry = network_entry(name)
    if not isinstance(config, entry.config):
        raise TypeError(
            f"network {name!r} takes a {entry.config.__name__}, got a {type(config).__name__}"
        )
    return entry.module(config, model)
