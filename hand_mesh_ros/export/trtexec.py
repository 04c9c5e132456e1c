"""The command that makes a TensorRT engine of an ONNX file where there is no torch: on a Jetson."""

from __future__ import annotations

import shlex
from pathlib import Path

from hand_mesh_ros.backends.base import EngineSpec


def trtexec_command(onnx: Path, engine: Path, spec: EngineSpec) -> str:
    """One line for a shell on the machine that the engine is for; TensorRT 9 or newer.

    Args:
        onnx: written by `to_onnx` with the same spec.
        engine: to write.
        spec: batch range and precision.
    """
    words = ["trtexec", f"--onnx={onnx}", f"--saveEngine={engine}"]
    words.append("--stronglyTyped")  # types are the file's; from TensorRT 11 on always so
    if spec.precision == "fp32":
        words.append("--noTF32")
    if spec.min_batch < spec.max_batch:
        for name, batch in (
            ("min", spec.min_batch),
            ("opt", spec.usual_batch),
            ("max", spec.max_batch),
        ):
            words.append(f"--{name}Shapes={spec.shapes_text(batch)}")
    return shlex.join(words)
