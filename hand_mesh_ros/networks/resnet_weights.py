"""Where a ResNet's weights can start from: a network of ours, or torchvision's."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    checkpoint_path,
    read_checkpoint_file,
)
from hand_mesh_ros.networks.layers.resnet import load_imagenet_weights

_TRUNKS = {
    "m3dhmr": "encoder.stacks.0.stages.",
    "maskhand": "context.maps.backbone.",
    "amvur": "encoder.network.",
}
"""Where each network's first ResNet lies among its tensors."""


def load_resnet(network: nn.Module, name_or_path: str) -> None:
    """Take a ResNet's weights.

    Args:
        network: what gets them.
        name_or_path: a checkpoint of ours whose network has one, by its name in the package or as
            a file; or a safetensors file under torchvision's names (ImageNet).

    Raises:
        CheckpointError: it cannot be read, or its ResNet does not fit.
    """
    path = checkpoint_path(name_or_path)
    try:
        state = load_file(path)
        if not {"conv1.weight", "layer1.0.conv1.weight"} <= state.keys():
            state = _trunk_of(path)
        load_imagenet_weights(network, {k: v.to(torch.float32) for k, v in state.items()})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _trunk_of(path: Path) -> dict[str, Tensor]:
    """Its tensors alone, without prefix."""
    file = read_checkpoint_file(path)
    if file.network not in _TRUNKS:
        raise CheckpointError(
            f"{path}: network {file.network!r} has no ResNet; expected one of {tuple(_TRUNKS)}"
        )
    prefix = _TRUNKS[file.network]
    return {
        name.removeprefix(prefix): torch.from_numpy(tensor.copy())
        for name, tensor in file.tensors.items()
        if name.startswith(prefix)
    }
