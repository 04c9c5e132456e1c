"""What an engine was made of and made on, as the text of its cache key."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

import hand_mesh_ros.networks
from hand_mesh_ros.backends.base import EngineSpec
from hand_mesh_ros.training.typed_config import config_to_plain

_LIBRARIES = {
    "parity": ("torch",),
    "onnx": ("torch", "onnx", "onnxscript"),
    "tensorrt": ("torch", "torch-tensorrt", "torch-tensorrt-rtx", "tensorrt", "tensorrt-rtx"),
}
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))


def weights_hash(network: nn.Module) -> str:
    """Of all parameters and buffers, saved ones or not: they are constants of an engine."""
    digest = hashlib.sha256()
    for name, x in sorted([*network.named_parameters(), *network.named_buffers()]):
        digest.update(f"{name} {x.dtype} {tuple(x.shape)} ".encode())
        flat = x.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_text(config: Any) -> str:
    """A network's config dataclass as JSON."""
    return json.dumps(config_to_plain(config), sort_keys=True)


def spec_text(spec: EngineSpec) -> str:
    """An engine's spec as JSON."""
    return json.dumps(asdict(spec), sort_keys=True)


@functools.cache
def code_hash() -> str:
    """Of the networks' source: a changed formula is another engine, weights or no."""
    digest = hashlib.sha256()
    for file in sorted(Path(hand_mesh_ros.networks.__path__[0]).rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def device_text(device: torch.device) -> str:
    """An engine of one GPU or driver does not run, or runs slower, on another."""
    if device.type != "cuda":
        return device.type
    major, minor = torch.cuda.get_device_capability(device)
    drivers = " ".join(f.read_text().splitlines()[0].strip() for f in _DRIVERS if f.is_file())
    return f"{torch.cuda.get_device_name(device)}, sm_{major}{minor}, {drivers or 'driver unknown'}"


def libraries_text(kind: str) -> str:
    """Versions of what builds engines of that kind."""
    found = []
    for name in _LIBRARIES[kind]:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    if torch.version.cuda is not None:
        found.append(f"CUDA {torch.version.cuda}")
    return ", ".join(found)
