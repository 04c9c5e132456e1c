"""Which depth image belongs to an image of a recording; unlike live, one can look ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")

_MAX_WAITING = 16
"""Images held back for a depth image that was recorded after them."""
_KEPT = 16


class DepthPairing(Generic[T, U]):
    """Gives images on, in order, each with the depth image nearest to it within the slop."""

    def __init__(self, slop_s: float) -> None:
        self._slop_ns = round(slop_s * 1e9)
        self._waiting: deque[tuple[int, T]] = deque()
        self._depths: deque[tuple[int, U]] = deque(maxlen=_KEPT)

    def add_depth(self, stamp_ns: int, depth: U) -> Iterator[tuple[T, U | None]]:
        """Keep a depth image, and give on the images that need wait no longer."""
        self._depths.append((stamp_ns, depth))
        while self._waiting and self._waiting[0][0] + self._slop_ns <= stamp_ns:
            yield self._next()

    def add_image(self, stamp_ns: int, image: T) -> Iterator[tuple[T, U | None]]:
        """Take an image, and give on those that need wait no longer."""
        self._waiting.append((stamp_ns, image))
        newest_ns = max((stamp for stamp, _ in self._depths), default=None)
        while self._waiting and (
            len(self._waiting) > _MAX_WAITING
            or (newest_ns is not None and self._waiting[0][0] + self._slop_ns <= newest_ns)
        ):
            yield self._next()

    def rest(self) -> Iterator[tuple[T, U | None]]:
        """Everything that still waits: the recording is over."""
        while self._waiting:
            yield self._next()

    def _next(self) -> tuple[T, U | None]:
        stamp_ns, image = self._waiting.popleft()
        near = min(self._depths, key=lambda pair: abs(pair[0] - stamp_ns), default=None)
        if near is None or abs(near[0] - stamp_ns) > self._slop_ns:
            return image, None
        return image, near[1]
