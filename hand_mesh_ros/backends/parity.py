"""Whether an engine computes what eager float32 computes, on stored inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hand_mesh_ros.backends.base import BackEnd, BackEndError, Precision, first_line

MM = 1e3


@dataclass(frozen=True)
class Tolerance:
    """What two ways of computing the same may differ by."""

    max_mm: float
    """Of lengths, outputs whose name ends in `_m`."""
    mean_mm: float
    max_relative: float
    """Of all other numbers, as a share of the output's largest, at least 1."""


TOLERANCES: dict[Precision, Tolerance] = {
    # 1e-4 of a hand. Eager itself differs by a quarter of that between batch sizes.
    "fp32": Tolerance(max_mm=0.02, mean_mm=0.002, max_relative=1e-4),
    # On average, a tenth of what networks err by.
    "fp16": Tolerance(max_mm=5.0, mean_mm=0.5, max_relative=0.02),
    "bf16": Tolerance(max_mm=8.0, mean_mm=1.0, max_relative=0.05),
}
UNJUDGED = Tolerance(max_mm=math.inf, mean_mm=math.inf, max_relative=math.inf)
"""Any finite number will do."""


@dataclass(frozen=True, eq=False)
class ParityReference:
    """Stored inputs, and what eager float32 makes of them."""

    inputs: dict[str, np.ndarray]
    """(N, ...) by name."""
    outputs: dict[str, np.ndarray]
    """(N, ...) by name."""

    def __post_init__(self) -> None:
        counts = {len(x) for x in (*self.inputs.values(), *self.outputs.values())}
        if len(counts) != 1 or not self.inputs or not self.outputs:
            raise ValueError(f"samples are {counts} of inputs and outputs, expected one number")
        for name, y in self.outputs.items():
            if not np.isfinite(y).all():
                raise ValueError(f"eager output {name!r} is not finite, nothing can be compared")

    def save(self, path: Path) -> None:
        """Write an uncompressed .npz."""
        arrays = {f"in.{k}": v for k, v in self.inputs.items()}
        arrays |= {f"out.{k}": v for k, v in self.outputs.items()}
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # keywords are arrays

    @classmethod
    def load(cls, path: Path) -> ParityReference:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)

        def part(prefix: str) -> dict[str, np.ndarray]:
            found = (name for name in arrays if name.startswith(prefix))
            return {name.removeprefix(prefix): arrays[name] for name in found}

        return cls(part("in."), part("out."))


@dataclass(frozen=True)
class OutputParity:
    """How far one output is from the reference."""

    name: str
    max_difference: float
    """In `unit`."""
    mean_difference: float
    unit: str
    """"mm", or "" for a share of the output's largest number, at least 1."""
    fault: str | None
    """Why it cannot be accepted; None if it can."""


@dataclass(frozen=True)
class Parity:
    """How far an engine is from the reference."""

    outputs: tuple[OutputParity, ...]

    @property
    def fault(self) -> str | None:
        """The first output's that has one."""
        return next((f"{o.name} {o.fault}" for o in self.outputs if o.fault is not None), None)

    def as_json(self) -> dict[str, dict[str, float | None]]:
        """Differences by output; None where they are not finite."""
        return {
            o.name: {
                f"max_difference{_suffix(o.unit)}": _finite(o.max_difference),
                f"mean_difference{_suffix(o.unit)}": _finite(o.mean_difference),
            }
            for o in self.outputs
        }

    def __str__(self) -> str:
        """The worst length, or else the worst number."""
        worst = max(self.outputs, key=lambda o: (o.unit == "mm", o.max_difference))
        return f"{worst.name} within {worst.max_difference:.2g} {worst.unit or 'of 1'}"


def check_parity(
    backend: BackEnd, reference: ParityReference, tolerance: Tolerance | None = None
) -> Parity:
    """Run the stored inputs through an engine, in each batch size that matters, and compare.

    Args:
        backend: its answers for every batch of `spec.batches` are looked at.
        reference: needs no certain number of samples, they are repeated.
        tolerance: None: the one of the engine's precision.

    Raises:
        BackEndError: it cannot be run on them.
    """
    tolerance = TOLERANCES[backend.spec.precision] if tolerance is None else tolerance
    count = len(next(iter(reference.inputs.values())))
    expected: dict[str, list[np.ndarray]] = {name: [] for name in reference.outputs}
    found: dict[str, list[np.ndarray]] = {name: [] for name in reference.outputs}
    for batch in backend.spec.batches:
        for start in range(0, max(count, batch), batch):
            rows = np.arange(start, start + batch) % count
            try:
                got = backend.run({k: v[rows] for k, v in reference.inputs.items()})
            except Exception as error:  # an engine may fail only when it is run
                raise BackEndError(f"fails on a batch of {batch}: {first_line(error)}") from error
            for name, y in reference.outputs.items():
                expected[name].append(y[rows])
                found[name].append(got[name])
    return Parity(tuple(_compare(n, found[n], expected[n], tolerance) for n in reference.outputs))


def _compare(
    name: str, found: Sequence[np.ndarray], expected: Sequence[np.ndarray], allowed: Tolerance
) -> OutputParity:
    unit = "mm" if name.endswith("_m") else ""
    shapes = [(f.shape, e.shape) for f, e in zip(found, expected, strict=True)]
    for have, want in shapes:
        if have != want:
            fault = f"has shape {have}, expected {want}"
            return OutputParity(name, np.inf, np.inf, unit, fault)
    y, truth = (np.concatenate(parts).astype(np.float64) for parts in (found, expected))
    if not np.isfinite(y).all():
        return OutputParity(name, np.inf, np.inf, unit, "is not finite")
    scale = MM if unit else 1.0 / max(1.0, float(np.abs(truth).max()))
    difference = np.abs(y - truth) * scale
    largest, mean = float(difference.max()), float(difference.mean())
    max_allowed = allowed.max_mm if unit else allowed.max_relative
    mean_allowed = allowed.mean_mm if unit else allowed.max_relative
    fault = None
    if largest > max_allowed or mean > mean_allowed:
        fault = (
            f"differs from eager fp32 by {largest:.3g} {unit} at most, {mean:.3g} on average "
            f"(allowed: {max_allowed:g}, {mean_allowed:g})"
        )
    return OutputParity(name, largest, mean, unit, fault)


def samples_of(inputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Batches one after the other, by name."""
    return {name: np.concatenate([batch[name] for batch in inputs]) for name in inputs[0]}


def _suffix(unit: str) -> str:
    return f"_{unit}" if unit else ""


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
