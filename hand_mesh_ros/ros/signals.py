"""Waiting for the end of a program: an Event, Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading

_POLL_S = 0.1


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
