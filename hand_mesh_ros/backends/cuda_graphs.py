"""Functions of tensors recorded into CUDA graphs: one launch instead of hundreds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP_RUNS = 3
"""Before recording: libraries choose kernels and reserve memory, which cannot be recorded."""


class RecordedGraphs:
    """Records a graph with buffers of its own for each batch size when that is first seen."""

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._recorded: dict[int, _Recorded] = {}
        self._pool: Any = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Copies in, replay, copies out: the answer is the caller's, later runs leave it alone."""
        batch = inputs[0].shape[0]
        if batch not in self._recorded:
            self._recorded[batch] = self._record(inputs)
        return self._recorded[batch].replay(inputs)

    def _record(self, inputs: tuple[Tensor, ...]) -> _Recorded:
        static = tuple(x.clone() for x in inputs)
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                self._function(*static)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Graphs run one after the other, so they can share their memory. Other threads may go on
        # using the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = self._function(*static)
        self._pool = graph.pool()
        return _Recorded(graph, static, tuple(outputs))


class _Recorded:
    def __init__(
        self, graph: torch.cuda.CUDAGraph, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        self._graph, self._inputs, self._outputs = graph, inputs, outputs

    def replay(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for static, x in zip(self._inputs, inputs, strict=True):
            static.copy_(x)
        self._graph.replay()
        return tuple(y.clone() for y in self._outputs)
