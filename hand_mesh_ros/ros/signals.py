"""The end of a program: an Event, Ctrl-C, SIGTERM or SIGHUP."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_POLL_S = 0.1


@contextlib.contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise KeyboardInterrupt too, so that nothing is left running.

    On the main thread alone. A signal that is ignored, as under nohup, stays so.
    """
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    previous = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in previous.items():
            if handler is signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in previous.items():
            if handler is signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)


def wait_until_stopped(stopped: threading.Event) -> None:
    """Return when the event is set, or on SIGINT or SIGTERM if called on the main thread."""
    signalled = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal signalled
        signalled = True  # not the event: its lock may be held by what the signal interrupted

    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    previous = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        while not signalled and not stopped.wait(_POLL_S):
            pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
