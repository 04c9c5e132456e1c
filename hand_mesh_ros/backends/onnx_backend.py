"""ONNX Runtime: CPU, CUDA, and TensorRT as its provider."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hand_mesh_ros.backends.base import BackEndError, EngineSpec, first_line

if TYPE_CHECKING:
    from torch import Tensor

MOST_THREADS = 8
"""One hand's crop is too small to gain from more."""
_PLACES = {
    "CPUExecutionProvider": "CPU",
    "CUDAExecutionProvider": "CUDA",
    "TensorrtExecutionProvider": "TensorRT provider",
}
Provider = tuple[str, dict[str, Any]]


class OnnxBackEnd:
    """One session of ONNX Runtime."""

    def __init__(
        self,
        model: bytes,
        spec: EngineSpec,
        providers: list[Provider],
        *,
        threads: int | None = None,
    ) -> None:
        """Make the session.

        Args:
            model: ONNX with the names of `spec`.
            spec: what it takes and gives.
            providers: the first is wanted, the others may take what it cannot.
            threads: on the CPU; None: all that this process may use, up to 8.

        Raises:
            BackEndError: ONNX Runtime refuses the model, or has not the wanted provider.
        """
        import onnxruntime

        wanted = providers[0][0]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_threads() if threads is None else threads
        options.inter_op_num_threads = 1
        # Threads may spin while a frame is in work; between frames they would take the processor
        # from the detector.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # its exceptions have no public class in common
            raise BackEndError(f"ONNX Runtime refuses the model: {first_line(error)}") from error
        if wanted not in self._session.get_providers():
            raise BackEndError(f"ONNX Runtime has no working {wanted}, expected a GPU build of it")
        self.spec = spec
        self.name = f"onnx ({_PLACES.get(wanted, wanted)})"
        self._device = "cpu" if wanted == "CPUExecutionProvider" else "cuda"
        self._outputs = [s.name for s in spec.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch."""
        self.spec.batch_of(inputs)
        outputs: Any = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, outputs, strict=True))

    def run_tensors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch where it lies; nothing is copied on the way in or out."""
        import torch

        batch = self.spec.batch_of(inputs)
        binding = self._session.io_binding()
        kept = {name: x.contiguous() for name, x in inputs.items()}
        device_id = next(iter(kept.values())).device.index or 0
        made = {
            s.name: torch.empty(
                (batch, *s.shape),
                dtype=getattr(torch, s.dtype),
                device=self._device if self._device == "cpu" else f"cuda:{device_id}",
            )
            for s in self.spec.outputs
        }
        for bind, tensors in ((binding.bind_input, kept), (binding.bind_output, made)):
            for name, x in tensors.items():
                dtype = np.dtype(str(x.dtype).removeprefix("torch."))
                bind(name, self._device, device_id, dtype, tuple(x.shape), x.data_ptr())
        if self._device == "cuda":  # torch's stream is not ONNX Runtime's
            torch.cuda.current_stream(device_id).synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return made


def usable_threads() -> int:
    """Processors that this process may run on, up to `MOST_THREADS`."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        count = os.cpu_count() or 1
    return max(1, min(count, MOST_THREADS))


def cpu_providers() -> list[Provider]:
    """The CPU alone."""
    return [("CPUExecutionProvider", {})]


def cuda_providers(device_id: int) -> list[Provider]:
    """CUDA in full float32: shortened ones (TF32) would not pass for fp32."""
    options = {"device_id": device_id, "use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    return [("CUDAExecutionProvider", options), *cpu_providers()]


def tensorrt_providers(spec: EngineSpec, device_id: int, cache: Path | None) -> list[Provider]:
    """TensorRT inside ONNX Runtime, which keeps its engines in `cache` by itself."""
    options: dict[str, Any] = {"device_id": device_id, "trt_cuda_graph_enable": False}
    # The model carries its types; TensorRT before 11 wants to be allowed to use them as well.
    if spec.precision == "fp16":
        options["trt_fp16_enable"] = True
    if spec.precision == "bf16":
        options["trt_bf16_enable"] = True
    for name, batch in (
        ("min", spec.min_batch),
        ("opt", spec.usual_batch),
        ("max", spec.max_batch),
    ):
        options[f"trt_profile_{name}_shapes"] = spec.shapes_text(batch)
    if cache is not None:
        options |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)}
        options |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": str(cache)}
    return [("TensorrtExecutionProvider", options), *cuda_providers(device_id)]
