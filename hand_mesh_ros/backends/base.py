"""The contract of all back-ends: named tensors in, named tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

if TYPE_CHECKING:  # ONNX Runtime alone needs no torch
    from torch import Tensor

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
AUTO = "auto"
USUAL_BATCH = 2
"""Both hands of one person; engines for several batch sizes are made best for this one."""


class BackEndError(RuntimeError):
    """A back-end cannot be built, or was given what it does not take: one clear line."""


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to one line for messages of ours."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor at a back-end's border."""

    name: str
    shape: tuple[int, ...]
    """Without the batch, which always comes first."""
    dtype: str = "float32"
    """NumPy's name. Floating point numbers are float32 here, whatever is computed in."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name is {self.name!r}, expected an identifier")
        if any(n < 1 for n in self.shape):
            raise ValueError(f"shape of {self.name} is {self.shape}, expected sizes from 1 on")
        if self.dtype.startswith(("float16", "bfloat16", "float64")):
            raise ValueError(f"dtype of {self.name} is {self.dtype}, expected float32")


@dataclass(frozen=True)
class EngineSpec:
    """What goes in and comes out, and what is computed in between."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision = "fp32"
    min_batch: int = 1
    max_batch: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}, expected one of {PRECISIONS}")
        if not 1 <= self.min_batch <= self.max_batch:
            raise ValueError(
                f"min_batch, max_batch are {self.min_batch}, {self.max_batch}, "
                "expected 1 <= min_batch <= max_batch"
            )
        for kind, specs in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [spec.name for spec in specs]
            if not names or len(set(names)) < len(names):
                raise ValueError(f"{kind} are {names}, expected one or more, each name once")

    @property
    def usual_batch(self) -> int:
        """The batch that matters most among those allowed."""
        return min(max(USUAL_BATCH, self.min_batch), self.max_batch)

    @property
    def batches(self) -> tuple[int, ...]:
        """Both ends of the range and the powers of two between them."""
        powers = {2**i for i in range(self.max_batch.bit_length())}
        between = {n for n in powers if self.min_batch < n < self.max_batch}
        return tuple(sorted({self.min_batch, self.max_batch} | between))

    def shapes_text(self, batch: int) -> str:
        """All inputs' shapes as TensorRT's tools write them: "image:2x3x128x128"."""
        return ",".join(
            f"{s.name}:{'x'.join(str(n) for n in (batch, *s.shape))}" for s in self.inputs
        )

    def batch_of(self, inputs: Mapping[str, np.ndarray | Tensor]) -> int:
        """The batch of these inputs.

        Raises:
            BackEndError: an input is missing or unexpected, or has another shape or type, or the
                batch is out of range.
        """
        wanted = [spec.name for spec in self.inputs]
        if set(inputs) != set(wanted):
            raise BackEndError(f"inputs are {sorted(inputs)}, expected {sorted(wanted)}")
        first = inputs[wanted[0]]
        batch = int(first.shape[0]) if len(first.shape) else 0
        for spec in self.inputs:
            given = inputs[spec.name]
            dtype = str(given.dtype).removeprefix("torch.")
            if tuple(given.shape) != (batch, *spec.shape) or dtype != spec.dtype:
                sizes = ", ".join(str(n) for n in ("B", *spec.shape))
                raise BackEndError(
                    f"input {spec.name!r} is {dtype} {tuple(given.shape)}, expected {spec.dtype} "
                    f"({sizes}) with the same B for all"
                )
        if not self.min_batch <= batch <= self.max_batch:
            raise BackEndError(
                f"batch is {batch}, this engine takes {self.min_batch} to {self.max_batch}"
            )
        return batch


@dataclass(frozen=True)
class EngineOptions:
    """How a network is to be run."""

    backend: str = AUTO
    """"auto", or a name in `backends.kinds.KINDS`."""
    precision: Precision = "fp32"
    """To compute in; fp32 is used where another one fails."""
    max_batch: int = 1
    """Hands at a time."""
    device: str = "auto"
    """"cpu", "cuda", "cuda:1" or "auto"."""
    cache_dir: Path | str | None = None
    """For engines; None: $HAND_MESH_CACHE, or else ~/.cache/hand_mesh_ros."""
    threads: int | None = None
    """On a CPU; None: all that this process may use, up to 8."""


class BackEnd(Protocol):
    """A network, ready to run."""

    @property
    def name(self) -> str:
        """What computes and where, for people: "onnx (CPU)"."""
        ...

    @property
    def spec(self) -> EngineSpec:
        """What it takes and gives."""
        ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch.

        Raises:
            BackEndError: the inputs do not fit `spec`.
        """
        ...

    def run_tensors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch that lies on the back-end's device; the answer stays there.

        Raises:
            BackEndError: the inputs do not fit `spec`.
        """
        ...
