"""GPU, TensorRT and ONNX Runtime: what image networks run on. The default model needs none."""

from __future__ import annotations

from hand_mesh_ros.backends.accelerators import Accelerators
from hand_mesh_ros.doctor.finding import Finding, ok, skipped, warning


def gpu(found: Accelerators) -> Finding:
    """Whether torch can use an NVIDIA GPU, if there is one."""
    if found.gpus:
        return ok("gpu", f"{'; '.join(found.gpus)}; torch {found.torch}, CUDA {found.torch_cuda}")
    if found.driver is None:
        return skipped("gpu", "no NVIDIA driver here: networks run on the CPU")
    if found.torch is None:
        return warning(
            "gpu",
            "there is a driver, but torch is not installed",
            "pip install hand_mesh_ros[torch] for image networks",
        )
    if found.torch_cuda is None:
        return warning(
            "gpu",
            f"there is a driver, but torch {found.torch} is built for CPUs",
            "install the build of torch for CUDA",
        )
    return warning(
        "gpu",
        f"there is a driver, but torch {found.torch} (CUDA {found.torch_cuda}) sees no GPU",
        "compare the driver's CUDA version (nvidia-smi) with torch's; in docker: --gpus all",
    )


def tensorrt(found: Accelerators) -> Finding:
    """Whether networks can be compiled with TensorRT."""
    if found.tensorrt is not None:
        return ok("tensorrt", found.tensorrt)
    if not found.gpus:
        return skipped("tensorrt", "needs an NVIDIA GPU")
    return warning(
        "tensorrt",
        "not installed: networks run in torch, which is slower",
        "pip install hand_mesh_ros[tensorrt]",
    )


def onnxruntime(found: Accelerators) -> Finding:
    """Whether ONNX Runtime is there, and can use the GPU that is."""
    if found.onnxruntime is None:
        text = "not installed: the back-end onnx is passed over"
        return skipped("onnxruntime", text, "pip install hand_mesh_ros[onnx]")
    names = ", ".join(name.removesuffix("ExecutionProvider") for name in found.providers)
    if found.gpus and "CUDAExecutionProvider" not in found.providers:
        return warning(
            "onnxruntime",
            f"{found.onnxruntime} has {names}, but not CUDA",
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        )
    return ok("onnxruntime", f"{found.onnxruntime}: {names}")
