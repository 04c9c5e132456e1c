"""TensorRT, or TensorRT for RTX: engines by torch-tensorrt, run by TensorRT's own runtime.

Torch-tensorrt turns the exported network into one engine, whole or not at all; an engine in bytes
needs no pickles to be cached, and one that `trtexec` made is run the same way.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from hand_mesh_ros.backends.base import BackEndError, EngineSpec, TensorSpec, first_line
from hand_mesh_ros.backends.cuda_graphs import RecordedGraphs
from hand_mesh_ros.backends.torch_backend import PaddedBatches, TensorBackEnd, warmed
from hand_mesh_ros.backends.typed_network import exported_program


def build_engine(network: nn.Module, spec: EngineSpec, device: torch.device) -> bytes:
    """A serialised engine (minutes), made for batches of `spec.usual_batch`.

    Types are the network's own, as TensorRT 11 knows no others and earlier ones can be told.

    Raises:
        BackEndError: torch cannot export the network, or TensorRT cannot run all of it.
    """
    import torch_tensorrt

    program = exported_program(network, spec, device)
    convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
    options: dict[str, Any] = {
        "arg_inputs": [_input(torch_tensorrt, s, spec) for s in spec.inputs],
        "device": device,
        "disable_tf32": True,  # its 10 bits of mantissa are not what fp32 promises
        "truncate_double": True,
    }
    if "use_explicit_typing" in inspect.signature(convert).parameters:
        options["use_explicit_typing"] = True  # a choice before TensorRT 11
    try:
        return bytes(convert(program, **options))
    except Exception as error:  # torch-tensorrt and TensorRT each have their own
        raise BackEndError(f"TensorRT cannot build it: {first_line(error)}") from error


def tensorrt_backend(engine: bytes, spec: EngineSpec, device: torch.device) -> TensorBackEnd:
    """Load a serialised engine; its launches are recorded once for each batch size.

    Raises:
        BackEndError: this TensorRT or GPU does not take it, or it is another network's.
    """
    loaded = LoadedEngine(engine, spec, device)
    function = PaddedBatches(RecordedGraphs(loaded, device), spec.batches)
    return warmed(TensorBackEnd(f"tensorrt ({loaded.flavour})", spec, function, device))


class LoadedEngine:
    """A function of tensors on the GPU."""

    def __init__(self, engine: bytes, spec: EngineSpec, device: torch.device) -> None:
        trt = _tensorrt()
        self.flavour = f"{_package(trt)} {trt.__version__}"
        self._spec, self._device = spec, device
        with torch.cuda.device(device):
            # Both must outlive the context.
            self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
            self._engine = self._runtime.deserialize_cuda_engine(engine)
            if self._engine is None:
                raise BackEndError(
                    f"{self.flavour} does not take the engine: it was built for another version "
                    "or GPU, build it anew"
                )
            self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_input = {n: self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT for n in names}
        # Torch-tensorrt numbers its outputs, trtexec keeps our names: the order is ours in both.
        self._inputs = [n for n in names if is_input[n]]
        self._outputs = [n for n in names if not is_input[n]]
        if (len(self._inputs), len(self._outputs)) != (len(spec.inputs), len(spec.outputs)):
            raise BackEndError(
                f"the engine has inputs {self._inputs} and outputs {self._outputs}, expected "
                f"{[s.name for s in spec.inputs]} and {[s.name for s in spec.outputs]}"
            )

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Enqueue one batch on torch's current stream."""
        batch = inputs[0].shape[0]
        outputs = tuple(_empty(s, batch, self._device) for s in self._spec.outputs)
        for name, x in zip(self._inputs, inputs, strict=True):
            if not self._context.set_input_shape(name, tuple(x.shape)):
                raise BackEndError(f"the engine refuses {name} of shape {tuple(x.shape)}")
        for name, x in zip([*self._inputs, *self._outputs], [*inputs, *outputs], strict=True):
            self._context.set_tensor_address(name, x.data_ptr())
        stream = torch.cuda.current_stream(self._device)
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise BackEndError("TensorRT could not run the engine; its log says why")
        return outputs


def _tensorrt() -> Any:
    """TensorRT's module, of whichever wheel is there.

    Torch-tensorrt puts TensorRT-RTX under TensorRT's name, so it comes first where it is installed;
    an engine of trtexec can do without it (a Jetson has TensorRT, but often no torch-tensorrt).
    """
    with contextlib.suppress(ImportError):
        import torch_tensorrt  # noqa: F401
    import tensorrt

    return tensorrt


def _package(trt: Any) -> str:
    rtx = getattr(trt, "_package_name", trt.__name__) == "tensorrt_rtx"
    return "TensorRT-RTX" if rtx else "TensorRT"


def _input(torch_tensorrt: Any, tensor: TensorSpec, spec: EngineSpec) -> Any:
    dtype = getattr(torch, tensor.dtype)
    if spec.min_batch == spec.max_batch:
        return torch_tensorrt.Input(shape=(spec.min_batch, *tensor.shape), dtype=dtype)
    return torch_tensorrt.Input(
        min_shape=(spec.min_batch, *tensor.shape),
        opt_shape=(spec.usual_batch, *tensor.shape),
        max_shape=(spec.max_batch, *tensor.shape),
        dtype=dtype,
    )


def _empty(tensor: TensorSpec, batch: int, device: torch.device) -> Tensor:
    return torch.empty((batch, *tensor.shape), dtype=getattr(torch, tensor.dtype), device=device)
