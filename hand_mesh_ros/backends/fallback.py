"""A back-end that may fail while it runs: another one takes over, and it is tried again later.

A GPU runs out of memory when another program takes it, or is lost to a driver. The hands go on, on
a slower back-end, and the log says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from hand_mesh_ros.backends.base import BackEnd, BackEndError, first_line
from hand_mesh_ros.backends.progress import Log

RETRY_S = 10.0
MAX_RETRY_S = 600.0
"""The pause doubles with each failure: a try that fails costs time, too."""

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


class FallbackRun:
    """Runs batches on the first back-end while it works, and on the other one while it does not."""

    def __init__(
        self,
        first: BackEnd,
        open_other: Callable[[], BackEnd],
        *,
        log: Log = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over from `first` when it raises.

        Args:
            first: the one that was chosen.
            open_other: opens the one that steps in; called at the first failure.
            log: gets a line about each change.
            clock: seconds.
        """
        self._first, self._open_other = first, open_other
        self._log, self._clock = log, clock
        self._other: BackEnd | None = None
        self._retry_s, self._next_try_s = RETRY_S, -np.inf
        self._has_failed = False

    @property
    def name(self) -> str:
        """Of the back-end that runs now."""
        return self._other.name if self._has_failed and self._other else self._first.name

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch.

        Raises:
            BackEndError: the inputs do not fit, or the other back-end cannot be opened.
        """
        if self._has_failed and self._clock() < self._next_try_s:
            return self._run_other(inputs)
        try:
            outputs = self._first.run(inputs)
        except BackEndError:
            raise  # the inputs' fault: they would not fit the other one either
        except Exception as error:  # drivers and runtimes raise what they like
            self._step_aside(error)
            return self._run_other(inputs)
        if self._has_failed:
            self._has_failed, self._retry_s = False, RETRY_S
            self._log(f"back-end {self._first.name} works again")
        return outputs

    def _step_aside(self, error: Exception) -> None:
        again = "again" if self._has_failed else "while it ran"
        self._has_failed = True
        self._log(
            f"back-end {self._first.name} failed {again} ({type(error).__name__}: "
            f"{first_line(error)}); another one steps in, the next try is in {self._retry_s:g} s"
        )
        self._next_try_s = self._clock() + self._retry_s
        self._retry_s = min(2.0 * self._retry_s, MAX_RETRY_S)

    def _run_other(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._other is None:
            self._other = self._open_other()
            self._log(f"back-end {self._other.name} has stepped in")
        return self._other.run(inputs)
