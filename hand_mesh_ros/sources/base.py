"""What every source of images promises: frames with image, camera, stamp and frame name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hand_mesh_ros.one_line import OneLineError
from hand_mesh_ros.types import Frame

DEFAULT_FRAME_ID = "camera_optical_frame"
NS_PER_S = 1_000_000_000


class SourceError(OneLineError):
    """A source cannot give frames; its text is one line for the user: what came, what to do."""


class Source(Protocol):
    """Frames one after the other, until there are no more.

    Stamps are nominal. Whoever publishes live puts its own clock's time in with
    `dataclasses.replace(frame, stamp_ns=...)`.
    """

    @property
    def rate_hz(self) -> float:
        """Nominal pace of the frames; 1/s."""
        ...

    @property
    def num_frames(self) -> int | None:
        """How many frames will come; None where nobody knows."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Let go of files and devices; safe to call twice."""
        ...


def nominal_stamp_ns(index: int, rate_hz: float, start_ns: int = 0) -> int:
    """Stamp of frame `index` when frame 0 has `start_ns` and frames come at exactly `rate_hz`."""
    return start_ns + round(index * NS_PER_S / rate_hz)
