"""What the page shows comes from a feed: topics that are alive, or a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.viewer.panel import Status
from hand_mesh_ros.viewer.snapshot import Snapshot, Topology


@dataclass(frozen=True)
class Picture:
    """The newest image, and the camera that took it."""

    camera: Camera | None
    """None: not known yet."""
    image: np.ndarray | None
    """(H, W, 3) uint8 RGB; None: nothing new."""


class Feed(Protocol):
    """Where snapshots come from; all of it is called from one thread."""

    @property
    def duration_s(self) -> float | None:
        """Of a recording; None: live."""
        ...

    @property
    def topology(self) -> Topology | None:
        """Faces of the meshes; None: not known yet."""
        ...

    def next(self, timeout_s: float) -> Snapshot | None:
        """The next snapshot to show; None where there is nothing new within that time.

        A recording gives what is due at its own pace.
        """
        ...

    def seek(self, time_s: float) -> Snapshot:
        """Of a recording: go on from there, and what is seen there."""
        ...

    def time_s(self, snapshot: Snapshot) -> float:
        """Of a recording: when that was, from its beginning on."""
        ...

    def picture(self, *, wanted: bool) -> Picture:
        """Camera and newest image, of the images if they are wanted."""
        ...

    def is_stale(self) -> bool:
        """Whether what was shown last is no longer true: nothing came for a while."""
        ...

    def status(self) -> Status:
        """What is known about it now."""
        ...

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        ...
