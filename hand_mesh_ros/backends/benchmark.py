"""How long back-ends take, measured side by side."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from hand_mesh_ros.backends.base import BackEnd
from hand_mesh_ros.backends.choose import build_backend, judged_parity, stored_reference
from hand_mesh_ros.backends.kinds import EngineRequest
from hand_mesh_ros.backends.parity import Parity
from hand_mesh_ros.backends.typed_network import example_inputs

WARM_UP_RUNS = 10
ROUNDS = 5
"""Back-ends take turns, so that whatever else the machine does hits all of them alike."""
_STATM = Path("/proc/self/statm")
_PAGE_MB = 4096 / 2**20


@dataclass(frozen=True, eq=False)
class BuiltEngine:
    """A back-end that can be timed, and what it took to get there."""

    backend: BackEnd
    request: EngineRequest
    build_s: float
    """From the network to the engine; what the cache had was not built."""
    first_call_ms: float
    load_s: float
    """The same again, now that the cache has what it can keep: what a later start takes."""
    memory_mb: float | None
    """On a GPU: of the device. On a CPU: by which the process grew while it was loaded and first
    run, a rough figure. None where the system does not say."""
    parity: Parity
    times_ms: dict[int, list[float]] = field(default_factory=dict)
    """By batch, one number a run."""


def built_engine(name: str, request: EngineRequest) -> BuiltEngine:
    """Build a back-end by name, run it once, check it.

    Raises:
        BackEndError: it is unknown or missing, cannot be built, or computes something else.
    """
    reference = stored_reference(request)
    started_s = time.perf_counter()
    backend = build_backend(name, request)
    build_s = time.perf_counter() - started_s
    del backend
    gc.collect()
    before_mb = _memory_mb(request.device)
    started_s = time.perf_counter()
    backend = build_backend(name, request)
    load_s = time.perf_counter() - started_s
    inputs = _inputs(request, request.spec.min_batch)
    started_s = time.perf_counter()
    backend.run(inputs)
    first_call_ms = 1e3 * (time.perf_counter() - started_s)
    after_mb = _memory_mb(request.device)
    known = before_mb is not None and after_mb is not None
    memory_mb = max(0.0, after_mb - before_mb) if known else None  # type: ignore[operator]
    parity = judged_parity(name, backend, reference)
    return BuiltEngine(backend, request, build_s, load_s, first_call_ms, memory_mb, parity)


def measure(
    engines: Sequence[BuiltEngine],
    batches: Sequence[int],
    *,
    runs: int,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Fill `times_ms` of all engines: on the host from arrays to arrays, on a GPU between events.

    Args:
        engines: of one network and device.
        batches: each within the engines' range.
        runs: of each engine and batch, after a warm-up.
        tick: called after each round of one engine.
    """
    for batch in batches:
        timers = [_timer(engine, batch) for engine in engines]
        for timer in timers:
            for _ in range(WARM_UP_RUNS):
                timer()
        for share in np.array_split(np.arange(runs), ROUNDS):
            for engine, timer in zip(engines, timers, strict=True):
                engine.times_ms.setdefault(batch, []).extend(timer() for _ in share)
                tick()


def _timer(engine: BuiltEngine, batch: int) -> Callable[[], float]:
    """A function that runs the engine once and says how long it took, ms."""
    inputs = _inputs(engine.request, batch)
    device = engine.request.device
    if device.type == "cuda":
        tensors = {k: torch.from_numpy(v).to(device) for k, v in inputs.items()}
        return lambda: _device_ms(engine.backend, tensors, device)
    return lambda: _host_ms(engine.backend, inputs)


def _host_ms(backend: BackEnd, inputs: dict[str, np.ndarray]) -> float:
    started_s = time.perf_counter()
    backend.run(inputs)
    return 1e3 * (time.perf_counter() - started_s)


def _device_ms(backend: BackEnd, inputs: dict[str, torch.Tensor], device: torch.device) -> float:
    stream = torch.cuda.current_stream(device)
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record(stream)
    backend.run_tensors(inputs)
    ended.record(stream)
    ended.synchronize()
    return started.elapsed_time(ended)


def _inputs(request: EngineRequest, batch: int) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in example_inputs(request.source.network, batch).items()}


def _memory_mb(device: torch.device) -> float | None:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / 2**20
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_MB
    except OSError:  # Linux alone has it
        return None
