"""Word from work that takes minutes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

Log = Callable[[str], None]
EVERY_S = 15.0


@contextlib.contextmanager
def told_progress(what: str, log: Log, *, every_s: float = EVERY_S) -> Iterator[None]:
    """Say that something begins, that it goes on, and how long it took.

    Args:
        what: "building tensorrt fp16 engine of m3dhmr".
        log: gets one line at a time; from another thread while it goes on.
        every_s: between two lines.
    """
    done = threading.Event()
    started_s = time.monotonic()

    def tell() -> None:
        while not done.wait(every_s):
            log(f"{what}: still at it after {time.monotonic() - started_s:.0f} s")

    log(f"{what} ...")
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
        log(f"{what}: done in {time.monotonic() - started_s:.1f} s")
    finally:
        done.set()
        thread.join()
