"""The inputs that every engine is checked on, and what eager float32 makes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hand_mesh_ros.backends.base import EngineSpec
from hand_mesh_ros.backends.parity import ParityReference
from hand_mesh_ros.backends.typed_network import example_inputs, to_numpy
from hand_mesh_ros.hand_models.open_hand import load_open_hand

NUM_EXAMPLES, NUM_IMAGES = 2, 4
_SEED = 20
_SMALLEST_PX = 32


def parity_reference(network: nn.Module, spec: EngineSpec) -> ParityReference:
    """Run a network that lies on the CPU, in eager float32: nothing is rounded to TF32 there.

    The samples are the network's own examples (noise), and for networks of images rendered hands
    as well: they reach numbers that noise does not.
    """
    inputs = example_inputs(network, NUM_EXAMPLES)
    images = _images(spec)
    if images is not None:
        others = example_inputs(network, len(images)) | {"image": images}
        inputs = {name: torch.cat([x, others[name]]) for name, x in inputs.items()}
    network.eval()
    with torch.inference_mode():
        # One by one: it needs the least memory, and no other sample of the batch can matter.
        rows = [
            network(**{k: v[i : i + 1] for k, v in inputs.items()})
            for i in range(len(next(iter(inputs.values()))))
        ]
    outputs = {s.name: np.concatenate([row[s.name].numpy() for row in rows]) for s in spec.outputs}
    return ParityReference(to_numpy(inputs), outputs)


def _images(spec: EngineSpec) -> torch.Tensor | None:
    """(N, 3, S, S) rendered hands; None where the network takes no square RGB image."""
    image = next((s for s in spec.inputs if s.name == "image"), None)
    if image is None or len(image.shape) != 3:
        return None
    channels, height, width = image.shape
    if channels != 3 or height != width or width < _SMALLEST_PX:
        return None
    from hand_mesh_ros.training.synthetic import SyntheticImages  # seconds, and only here
    from hand_mesh_ros.training.synthetic_config import SyntheticConfig

    config = SyntheticConfig(size_px=width, bank_size=8 * NUM_IMAGES)
    return SyntheticImages(load_open_hand(), config).batch(NUM_IMAGES, _SEED).image
