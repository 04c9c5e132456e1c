"""A network cast to one precision, with positional tensors in and out, as compilers want it."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.backends.base import (
    BackEndError,
    EngineSpec,
    Precision,
    TensorSpec,
    first_line,
)

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_SEED = 0


class TypedNetwork(nn.Module):
    """Weights and arithmetic in one type; float32 at the border.

    TensorRT 11 takes types from the network alone and has no precision flags, so types are set
    here, once, for every compiler.
    """

    def __init__(self, network: nn.Module, spec: EngineSpec) -> None:
        super().__init__()
        self.spec = spec
        self.dtype = DTYPES[spec.precision]
        self.network = copy.deepcopy(network).eval().requires_grad_(False).to(self.dtype)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of the spec's inputs, to those in the order of its outputs."""
        named = {
            spec.name: x.to(self.dtype) if x.is_floating_point() else x
            for spec, x in zip(self.spec.inputs, inputs, strict=True)
        }
        outputs = self.network(**named)
        found = (outputs[spec.name] for spec in self.spec.outputs)
        return tuple(y.float() if y.is_floating_point() else y for y in found)


def example_inputs(network: nn.Module, batch: int) -> dict[str, Tensor]:
    """The network's own example inputs; the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return {k: v.contiguous() for k, v in network.example_inputs(batch).items()}  # type: ignore[operator]


def network_spec(
    network: nn.Module, *, precision: Precision = "fp32", min_batch: int = 1, max_batch: int = 1
) -> EngineSpec:
    """What the network takes and gives, found by running it once.

    Raises:
        BackEndError: an output is no tensor, or its first dimension is not the batch.
    """
    inputs = example_inputs(network, min_batch)
    with torch.inference_mode():
        outputs = network.eval()(**inputs)
    for name, y in outputs.items():
        if not isinstance(y, Tensor) or y.dim() < 1 or y.shape[0] != min_batch:
            what = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise BackEndError(f"output {name!r} is {what}, expected a tensor ({min_batch}, ...)")
    return EngineSpec(_specs(inputs), _specs(outputs), precision, min_batch, max_batch)


def _specs(tensors: dict[str, Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name,
            tuple(x.shape[1:]),
            "float32" if x.is_floating_point() else str(x.dtype).removeprefix("torch."),
        )
        for name, x in tensors.items()
    )


def exported_program(
    network: nn.Module, spec: EngineSpec, device: torch.device | str = "cpu"
) -> torch.export.ExportedProgram:
    """The typed network as one graph for every batch of the spec.

    Raises:
        BackEndError: torch cannot trace the network, or it fixes the batch.
    """
    module = TypedNetwork(network, spec).to(device)
    dynamic, batch = None, spec.min_batch
    if spec.min_batch < spec.max_batch:
        size = torch.export.Dim("batch", min=spec.min_batch, max=spec.max_batch)
        dynamic = (tuple({0: size} for _ in spec.inputs),)
        batch = max(spec.usual_batch, 2)  # 1 is taken for a constant
    inputs = example_inputs(network, batch)
    positional = tuple(inputs[s.name].to(device) for s in spec.inputs)
    try:
        with torch.no_grad():
            return torch.export.export(module, positional, dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # its errors have no common class
        if f"specialized it to be a constant ({batch})" in str(error):
            raise BackEndError(
                f"the network's code fixes the batch at {batch}; it must ask x.shape[0], as "
                "len(x) is a constant to torch.export"
            ) from error
        raise BackEndError(f"torch.export failed: {first_line(error)}") from error


def to_numpy(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The same names on the host."""
    return {name: x.cpu().numpy() for name, x in tensors.items()}
