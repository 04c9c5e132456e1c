"""Ends a run early and cleanly: by Ctrl-C, by SIGTERM, or when its time is over."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import lightning as L  # noqa: N812

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests(L.Callback):
    """Stops the trainer after the step in which the wish came up, in all processes at once."""

    def __init__(self, *, max_minutes: float = 0.0) -> None:
        self._seconds = 60.0 * max_minutes
        self._start_s = time.monotonic()
        self._signalled = False
        self.interrupted, self.out_of_time = False, False

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Within, the first Ctrl-C or SIGTERM is a wish; the second Ctrl-C is as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python hears signals in its main thread alone
            return
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The time of a run begins with its first step."""
        self._start_s = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Ask all processes: they must leave at the same step."""
        agree = trainer.strategy.reduce_boolean_decision
        late = 0.0 < self._seconds <= time.monotonic() - self._start_s
        self.interrupted = agree(self._signalled, all=False)
        self.out_of_time = agree(late, all=False)
        trainer.should_stop = trainer.should_stop or self.interrupted or self.out_of_time
