"""Making the next batches while the current one is trained on."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

_T = TypeVar("_T")


def made_ahead(items: Iterator[_T], number: int) -> Iterator[_T]:
    """The same items in the same order, up to `number` of them made in another thread before use.

    What is raised while making one is raised where it would have been given.
    """
    made: queue.Queue[tuple[_T | None, BaseException | None]] = queue.Queue(number)
    stopped = threading.Event()

    def put(item: _T | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return made.put((item, error), timeout=0.2)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # given on, not swallowed
            put(None, error)

    thread = threading.Thread(target=make, daemon=True)

    def stop() -> None:
        stopped.set()
        if threading.current_thread() is not thread:
            thread.join()

    thread.start()
    # A thread that is still inside torch when Python ends would abort the program.
    atexit.register(stop)
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # pyright: ignore[reportReturnType]
    finally:
        atexit.unregister(stop)
        stop()
