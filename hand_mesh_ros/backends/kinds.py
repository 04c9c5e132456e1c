"""The back-ends there are: what each needs, and how it is built."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hand_mesh_ros.backends import fingerprint
from hand_mesh_ros.backends.base import BackEnd, EngineSpec
from hand_mesh_ros.backends.engine_cache import EngineCache, EngineCodec, EngineKey
from hand_mesh_ros.backends.onnx_backend import (
    OnnxBackEnd,
    cpu_providers,
    cuda_providers,
    tensorrt_providers,
    usable_threads,
)
from hand_mesh_ros.backends.torch_backend import compiled_backend, eager_backend, graphs_backend

INSTALL_ONNX = "pip install hand_mesh_ros[onnx]"
INSTALL_TENSORRT = "pip install hand_mesh_ros[tensorrt]"


@dataclass(frozen=True, eq=False)
class EngineSource:
    """A network that engines are made from."""

    name: str
    """In the registry of networks."""
    network: nn.Module
    """In evaluation mode, float32, on the CPU; not to be changed any more."""
    config: Any
    """Its config dataclass."""

    @functools.cached_property
    def weights_hash(self) -> str:
        """Of the network's numbers."""
        return fingerprint.weights_hash(self.network)


@dataclass(frozen=True, eq=False)
class EngineRequest:
    """What is wanted of a network."""

    source: EngineSource
    spec: EngineSpec
    device: torch.device
    cache: EngineCache
    threads: int | None = None
    """On a CPU; None: all that this process may use, up to 8."""

    def key(self, kind: str, *, on_device: bool) -> EngineKey:
        """Key of something made from this network; `on_device`: it fits this GPU alone."""
        return EngineKey(
            kind=kind,
            network=self.source.name,
            weights=self.source.weights_hash,
            config=fingerprint.config_text(self.source.config),
            code=fingerprint.code_hash(),
            spec=fingerprint.spec_text(self.spec),
            device=fingerprint.device_text(self.device) if on_device else "any",
            libraries=fingerprint.libraries_text(kind),
        )


@dataclass(frozen=True)
class BackEndKind:
    """One entry of the table below."""

    missing: Callable[[torch.device], str | None]
    """Why it cannot be used here, with the mend; None if it can."""
    build: Callable[[EngineRequest], BackEnd]


def _missing(*modules: str, install: str) -> str | None:
    absent = [m for m in modules if importlib.util.find_spec(m) is None]
    return f"{', '.join(absent)} not installed ({install})" if absent else None


def _no_cuda(device: torch.device) -> str | None:
    return None if device.type == "cuda" else "needs an NVIDIA GPU"


def _onnx_missing(device: torch.device) -> str | None:
    missing = _missing("onnxruntime", "onnx", "onnxscript", install=INSTALL_ONNX)
    if missing is not None or device.type != "cuda":
        return missing
    return _no_provider("CUDAExecutionProvider")


def _onnx_tensorrt_missing(device: torch.device) -> str | None:
    return _no_cuda(device) or _onnx_missing(device) or _no_provider("TensorrtExecutionProvider")


def _no_provider(provider: str) -> str | None:
    import onnxruntime

    if provider in onnxruntime.get_available_providers():
        return None
    return f"this ONNX Runtime has no {provider} (pip install onnxruntime-gpu)"


def _tensorrt_missing(device: torch.device) -> str | None:
    return _no_cuda(device) or _missing("torch_tensorrt", install=INSTALL_TENSORRT)


def onnx_model(request: EngineRequest) -> bytes:
    """The network as ONNX, from the cache if it is there."""
    from hand_mesh_ros.export.onnx_export import to_onnx

    codec = EngineCodec(
        build=lambda: to_onnx(request.source.network, request.spec),
        save=_write,
        load=Path.read_bytes,
    )
    return request.cache.get(request.key("onnx", on_device=False), codec)


def tensorrt_engine(request: EngineRequest) -> bytes:
    """The network as a serialised TensorRT engine, from the cache if it is there."""
    from hand_mesh_ros.backends.tensorrt_backend import build_engine

    codec = EngineCodec(
        build=lambda: build_engine(request.source.network, request.spec, request.device),
        save=_write,
        load=Path.read_bytes,
    )
    return request.cache.get(request.key("tensorrt", on_device=True), codec)


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _torch(
    make: Callable[[nn.Module, EngineSpec, torch.device], BackEnd], request: EngineRequest
) -> BackEnd:
    if request.device.type == "cpu":
        # The process starts with one thread for NumPy's sake, and torch took that for its own.
        torch.set_num_threads(request.threads or usable_threads())
    return make(request.source.network, request.spec, request.device)


def _onnx(request: EngineRequest) -> BackEnd:
    cuda = request.device.type == "cuda"
    providers = cuda_providers(request.device.index or 0) if cuda else cpu_providers()
    return OnnxBackEnd(onnx_model(request), request.spec, providers, threads=request.threads)


def _onnx_tensorrt(request: EngineRequest) -> BackEnd:
    folder = request.cache.folder / request.key("onnx", on_device=False).stem
    providers = tensorrt_providers(request.spec, request.device.index or 0, folder)
    return OnnxBackEnd(onnx_model(request), request.spec, providers)


def _tensorrt(request: EngineRequest) -> BackEnd:
    from hand_mesh_ros.backends.tensorrt_backend import tensorrt_backend

    return tensorrt_backend(tensorrt_engine(request), request.spec, request.device)


KINDS: dict[str, BackEndKind] = {
    "tensorrt": BackEndKind(_tensorrt_missing, _tensorrt),
    "onnx-tensorrt": BackEndKind(_onnx_tensorrt_missing, _onnx_tensorrt),
    "torch-compile": BackEndKind(lambda device: None, functools.partial(_torch, compiled_backend)),
    "torch-graphs": BackEndKind(_no_cuda, functools.partial(_torch, graphs_backend)),
    "onnx": BackEndKind(_onnx_missing, _onnx),
    "torch": BackEndKind(lambda device: None, functools.partial(_torch, eager_backend)),
}
"""By name, as users write it."""

FASTEST_FIRST: dict[str, tuple[str, ...]] = {
    # torch-compile wants a C++ compiler on the robot, and is no faster than ONNX Runtime.
    "cpu": ("onnx", "torch"),
    "cuda": ("tensorrt", "onnx-tensorrt", "torch-compile", "torch-graphs", "onnx", "torch"),
}
"""What "auto" tries on each kind of device."""
