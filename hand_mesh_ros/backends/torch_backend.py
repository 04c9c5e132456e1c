"""Torch itself: eager, compiled, and both recorded into CUDA graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.backends.base import EngineSpec
from hand_mesh_ros.backends.cuda_graphs import RecordedGraphs
from hand_mesh_ros.backends.typed_network import TypedNetwork, to_numpy

TensorFunction = Callable[..., tuple[Tensor, ...]]
_EXACT = functools.partial(
    torch.backends.cudnn.flags, enabled=True, benchmark=True, deterministic=False, allow_tf32=False
)
"""On GPUs, fp32 is fp32: without this, convolutions round to 10 bits. Batch sizes are few, so the
fastest kernel of each is searched once."""


class TensorBackEnd:
    """Any function of positional tensors on one device, as a back-end."""

    def __init__(
        self, name: str, spec: EngineSpec, function: TensorFunction, device: torch.device
    ) -> None:
        self.name = name
        self.spec = spec
        self._function = function
        self._device = device

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch; the device does not show."""
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in inputs.items()}
        # A copy from pageable memory waits for itself, so one stream needs no further care.
        return to_numpy(self.run_tensors({k: v.to(self._device) for k, v in tensors.items()}))

    def run_tensors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch on the device."""
        self.spec.batch_of(inputs)
        ordered = (inputs[s.name].contiguous() for s in self.spec.inputs)
        with torch.inference_mode(), _EXACT():
            outputs = self._function(*ordered)
        return {s.name: y for s, y in zip(self.spec.outputs, outputs, strict=True)}


class PaddedBatches:
    """A function that only sees a few batch sizes: others are filled up to the next of them.

    What is compiled or recorded for each size would otherwise be made when a third hand appears.
    """

    def __init__(self, function: TensorFunction, sizes: tuple[int, ...]) -> None:
        self._function = function
        self._sizes = sizes

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the inputs' own batch."""
        batch = inputs[0].shape[0]
        size = next(n for n in self._sizes if n >= batch)
        if size == batch:
            return self._function(*inputs)
        filled = (torch.cat([x, x[-1:].expand(size - batch, *x.shape[1:])]) for x in inputs)
        return tuple(y[:batch] for y in self._function(*filled))


def eager_backend(network: nn.Module, spec: EngineSpec, device: torch.device) -> TensorBackEnd:
    """The network as it is written."""
    module = TypedNetwork(network, spec).to(device)
    return TensorBackEnd(f"torch ({place(device)})", spec, module, device)


def graphs_backend(network: nn.Module, spec: EngineSpec, device: torch.device) -> TensorBackEnd:
    """The eager network's kernels, recorded once for each batch size; CUDA alone."""
    module = TypedNetwork(network, spec).to(device)
    function = PaddedBatches(RecordedGraphs(module, device), spec.batches)
    return warmed(TensorBackEnd(f"torch-graphs ({place(device)})", spec, function, device))


def compiled_backend(network: nn.Module, spec: EngineSpec, device: torch.device) -> TensorBackEnd:
    """The network compiled by inductor; on CUDA its kernels are recorded too."""
    module = TypedNetwork(network, spec).to(device)
    compiled: TensorFunction = torch.compile(module, dynamic=False)
    if device.type == "cuda":
        compiled = RecordedGraphs(compiled, device)
    function = PaddedBatches(compiled, spec.batches)
    return warmed(TensorBackEnd(f"torch-compile ({place(device)})", spec, function, device))


def warmed(backend: TensorBackEnd) -> TensorBackEnd:
    """The same, after one run of each batch size: slow first runs belong to building."""
    for batch in backend.spec.batches:
        inputs = {s.name: np.zeros((batch, *s.shape), s.dtype) for s in backend.spec.inputs}
        backend.run(inputs)
    return backend


def place(device: torch.device) -> str:
    """How a device is called in a back-end's name."""
    return device.type.upper()
