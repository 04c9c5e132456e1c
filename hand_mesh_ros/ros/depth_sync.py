"""Which depth image belongs to an image: that of its time; nothing queues, nobody waits long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WAIT_S = 0.03
"""After the image's arrival. A frame without depth is better than a late one."""
_KEPT = 4
"""Depth may come before its image, and images may be passed over meanwhile."""
_STALE_S = 1.0
"""A camera whose depth has been silent for longer is not waited for."""


class DepthSync(Generic[T]):
    """`put` on the subscription's thread, `take` on the worker's."""

    def __init__(
        self,
        slop_s: float = 0.01,
        *,
        max_wait_s: float = MAX_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Pair stamps that differ by at most `slop_s`; at 0.5 m/s a hand moves 5 mm in 10 ms."""
        self._slop_ns = round(slop_s * 1e9)
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._changed = threading.Condition()
        self._kept: deque[tuple[int, T]] = deque(maxlen=_KEPT)
        self._last_put_s = -float("inf")

    def put(self, stamp_ns: int, depth: T) -> None:
        """Keep a depth image until an image of its time asks for it, or newer ones replace it."""
        with self._changed:
            self._kept.append((stamp_ns, depth))
            self._last_put_s = self._clock()
            self._changed.notify_all()

    def take(self, stamp_ns: int, arrived_s: float) -> T | None:
        """Depth of an image's time; None where there is none in time.

        Args:
            stamp_ns: of the image.
            arrived_s: when the image came, by the clock; waiting ends `max_wait_s` after it.
        """
        end_s = arrived_s + self._max_wait_s
        with self._changed:
            while True:
                near = [(abs(stamp - stamp_ns), depth) for stamp, depth in self._kept]
                if near:
                    difference, depth = min(near, key=lambda pair: pair[0])
                    if difference <= self._slop_ns:
                        return depth
                now_s = self._clock()
                newest_ns = max((stamp for stamp, _ in self._kept), default=stamp_ns)
                is_over = newest_ns > stamp_ns + self._slop_ns  # its own was never sent, or lost
                if is_over or now_s >= end_s or now_s - self._last_put_s > _STALE_S:
                    return None
                self._changed.wait(end_s - now_s)

    def reset(self) -> None:
        """Forget what came (time went back)."""
        with self._changed:
            self._kept.clear()
