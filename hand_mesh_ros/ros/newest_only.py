"""A hand-over between threads that holds one thing, the newest: nothing ever queues."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestOnly(Generic[T]):
    """`put` never blocks and replaces what nobody took; one worker calls `take`, then `done`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._busy = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    def put(self, item: T) -> bool:
        """Hand over an item; True where that threw away an older one."""
        with self._changed:
            replaced = self._item is not None
            if not self._closed:
                self._item = item
            self._changed.notify_all()
            return replaced

    def take(self, timeout_s: float) -> T | None:
        """Wait for the newest item; None after the timeout, or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            self._busy = item is not None
            return item

    def done(self) -> None:
        """Say that the taken item has been dealt with."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until every item has been dealt with or replaced; False after the timeout."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed or (self._item is None and not self._busy), timeout_s
            )

    def close(self) -> None:
        """Let the worker go; later items are ignored."""
        with self._changed:
            self._closed = True
            self._item = None
            self._changed.notify_all()
