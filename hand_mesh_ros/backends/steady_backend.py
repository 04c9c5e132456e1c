"""A back-end that may fail while it runs: another one takes over until it works again.

A GPU runs out of memory because of somebody else, or is lost; hands are still to be published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from hand_mesh_ros.backends.base import BackEndError, first_line
from hand_mesh_ros.backends.choose import ChosenBackEnd
from hand_mesh_ros.backends.progress import Log

RETRY_S = 30.0
"""After a failure, how long the other one runs before the first is tried again."""


class SteadyBackEnd:
    """The chosen back-end and its reserve; to be used by one thread at a time."""

    def __init__(
        self,
        chosen: ChosenBackEnd,
        reserve: Callable[[], ChosenBackEnd] | None,
        *,
        log: Log = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take both.

        Args:
            chosen: runs as long as it can.
            reserve: makes the one that takes over; called at the first failure. None: there is
                nothing more modest than the chosen one.
            log: gets a line about each change.
            clock: seconds.
        """
        self._chosen, self._make_reserve = chosen, reserve
        self._reserve: ChosenBackEnd | None = None
        self._log, self._clock = log, clock
        self._failure = ""
        self._retry_s = 0.0

    @property
    def name(self) -> str:
        """What computes at present."""
        return self._present.backend.name

    @property
    def state(self) -> str:
        """One line for diagnostics."""
        if not self._failure:
            return self._chosen.state
        return f"{self._present.state}; {self._chosen.backend.name} failed: {self._failure}"

    @property
    def _present(self) -> ChosenBackEnd:
        return self._reserve if self._failure and self._reserve is not None else self._chosen

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch, on whichever works.

        Raises:
            BackEndError: the inputs do not fit, or the reserve cannot be made.
        """
        self._chosen.backend.spec.batch_of(inputs)  # what does not fit is no failure of the engine
        if self._failure and self._clock() < self._retry_s:
            return self._present.backend.run(inputs)
        try:
            outputs = self._chosen.backend.run(inputs)
        except Exception as error:  # compilers, runtimes and drivers raise what they like
            if self._make_reserve is None:
                raise
            self._fail(error)
            return self._present.backend.run(inputs)
        if self._failure:
            self._failure = ""
            self._log(f"back-end {self._chosen.backend.name} works again")
        return outputs

    def _fail(self, error: Exception) -> None:
        is_new = not self._failure
        reason = f"{type(error).__name__}: {first_line(error)}"
        if self._reserve is None:
            assert self._make_reserve is not None
            try:
                self._reserve = self._make_reserve()
            except BackEndError as other:
                raise BackEndError(f"{reason}; and nothing can take over: {other}") from error
        self._failure, self._retry_s = reason, self._clock() + RETRY_S
        if is_new:
            self._log(
                f"back-end {self._chosen.backend.name} failed ({reason}); "
                f"{self._reserve.backend.name} takes over, it is tried again every {RETRY_S:g} s"
            )
