"""What this machine could compute with, asked of the libraries that would do it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))


@dataclass(frozen=True)
class Accelerators:
    """Versions are None where the library is not installed."""

    driver: str | None
    """First line of what the NVIDIA driver says of itself; None: there is none."""
    torch: str | None
    torch_cuda: str | None
    """CUDA version that torch was built for; None: a CPU build, or no driver."""
    gpus: tuple[str, ...]
    """That torch can use: name, compute capability, memory."""
    onnxruntime: str | None
    providers: tuple[str, ...]
    """Of ONNX Runtime."""
    tensorrt: str | None
    """Version of torch-tensorrt, and of TensorRT itself."""


def find_accelerators() -> Accelerators:
    """Look; takes seconds where torch has to be imported, which only a driver makes worth it."""
    driver = next((_first_line(path) for path in _DRIVERS if path.is_file()), None)
    torch_version = _version("torch")
    cuda, gpus = None, ()
    if torch_version is not None and driver is not None:
        cuda, gpus = _torch_gpus()
    providers = ()
    onnx_version = _version("onnxruntime", "onnxruntime-gpu")
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        providers = tuple(onnxruntime.get_available_providers())
    parts = [f"{name} {v}" for name in ("torch-tensorrt", "tensorrt") if (v := _version(name))]
    return Accelerators(
        driver=driver,
        torch=torch_version,
        torch_cuda=cuda,
        gpus=gpus,
        onnxruntime=onnx_version,
        providers=providers,
        tensorrt=", ".join(parts) if _version("torch-tensorrt") else None,
    )


def _torch_gpus() -> tuple[str | None, tuple[str, ...]]:
    import torch

    rows = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        memory_gib = about.total_memory / 2**30
        rows.append(f"{about.name}, sm_{about.major}{about.minor}, {memory_gib:.0f} GiB")
    return torch.version.cuda, tuple(rows)


def _version(*names: str) -> str | None:
    """Of the first of these distributions that is installed."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _first_line(path: Path) -> str:
    return path.read_text("utf-8", "replace").splitlines()[0].strip()
