"""Weights to start a vision transformer from: one of our checkpoints, or timm's safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hand_mesh_ros.networks.checkpoint_file import CheckpointError
from hand_mesh_ros.networks.layers.vit import VisionTransformer, load_vit_weights

_PREFIX = "backbone."


def load_vit_file(network: VisionTransformer, path: Path) -> None:
    """Take the transformer's weights from a file.

    Args:
        network: what gets them.
        path: a checkpoint of a network that has such a `backbone`, or a file of a plain
            transformer under timm's names (`vit_small_patch16_224` and the like, from ImageNet).

    Raises:
        CheckpointError: the file cannot be read, or its transformer does not fit.
    """
    try:
        load_vit_weights(network, _transformer_of(load_file(path)))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file of weights") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _transformer_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its tensors alone, without prefix, in single precision."""
    ours = {k[len(_PREFIX) :]: v for k, v in tensors.items() if k.startswith(_PREFIX)}
    return {name: tensor.to(torch.float32) for name, tensor in (ours or tensors).items()}
