"""Hands of a bag that holds HandMeshArray messages, at any time of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from hand_mesh_ros.processing.bag_files import damaged, opened_bag
from hand_mesh_ros.processing.settings import ProcessingError
from hand_mesh_ros.ros.typestore import Typestore, TypestoreError
from hand_mesh_ros.viewer.feed import Picture
from hand_mesh_ros.viewer.panel import Status
from hand_mesh_ros.viewer.snapshot import (
    HAND_MESH_ARRAY,
    HAND_TOPOLOGY,
    Snapshot,
    Topology,
    decode_topology,
    snapshot_from,
)


class RecordingFeed:
    """A `Feed` that plays a bag in a loop, at the pace of its stamps."""

    def __init__(self, path: Path, *, topic: str = "") -> None:
        """Look through a bag.

        Args:
            path: of the bag, or a folder that `hand-mesh process` wrote (with its bag in `hands`).
            topic: of the HandMeshArray messages; empty: the only one, or `hand_meshes`.

        Raises:
            ProcessingError: it cannot be read, or has no such messages.
        """
        self._path = path / "hands" if (path / "hands").is_dir() else path
        if not self._path.exists():
            raise ProcessingError(f"there is no recording at {path}")
        self._store = Typestore()
        self._opened = opened_bag(self._path)
        self._reader: Reader = self._opened.__enter__()
        try:
            self._connection = _hands_of(self._reader, self._path, topic)
            # Only stamps are kept: the messages of an hour would be two gigabytes.
            self._times_ns = self._stamps()
            self._topology = self._first_topology()
        except BaseException:
            self.close()
            raise
        self._index = 0
        self._due_s = time.monotonic()

    @property
    def duration_s(self) -> float:
        """From the first message to the last."""
        return 1e-9 * float(self._times_ns[-1] - self._times_ns[0])

    @property
    def topology(self) -> Topology | None:
        """Faces of the meshes, if the bag has them."""
        return self._topology

    def next(self, timeout_s: float) -> Snapshot | None:
        """The next message when it is due; after the last one comes the first."""
        wait_s = self._due_s - time.monotonic()
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(wait_s, 0.0))
        snapshot = self._at(self._index)
        now_ns = self._times_ns[self._index]
        self._index = (self._index + 1) % len(self._times_ns)
        pause_s = 1e-9 * float(self._times_ns[self._index] - now_ns) if self._index else 1.0
        # Who is late goes on from now, instead of rushing after what was missed.
        self._due_s = max(self._due_s + pause_s, time.monotonic())
        return snapshot

    def seek(self, time_s: float) -> Snapshot:
        """The message nearest to a time; `next` goes on after it."""
        wanted_ns = self._times_ns[0] + round(1e9 * time_s)
        index = int(np.argmin(np.abs(self._times_ns - wanted_ns)))
        self._index = (index + 1) % len(self._times_ns)
        self._due_s = time.monotonic()
        return self._at(index)

    def time_s(self, snapshot: Snapshot) -> float:
        """Time of what `next` or `seek` gave last, from the first message on."""
        shown = (self._index - 1) % len(self._times_ns)
        return 1e-9 * float(self._times_ns[shown] - self._times_ns[0])

    def picture(self, *, wanted: bool) -> Picture:
        """Nothing: these bags hold no images."""
        return Picture(None, None)

    def is_stale(self) -> bool:
        """Never."""
        return False

    def status(self) -> Status:
        """Name, and pace of the messages."""
        periods_s = 1e-9 * np.diff(self._times_ns)
        rate_hz = 1.0 / float(np.median(periods_s)) if periods_s.size else None
        notes = () if self._topology else ("the bag has no hand_topology: meshes cannot be drawn",)
        name = self._path.parent.name if self._path.name == "hands" else self._path.name
        return Status(f"recording {name}", rate_hz=rate_hz, notes=notes)

    def close(self) -> None:
        """Close the bag."""
        self._opened.__exit__(None, None, None)

    def _stamps(self) -> np.ndarray:
        """(N,) int64 ns, times of recording, ascending, each once."""
        try:
            times = [when for _, when, _ in self._reader.messages([self._connection])]
        except Exception as error:  # damaged bytes break in many ways
            raise damaged(self._path, error) from error
        if not times:
            raise ProcessingError(
                f"the bag {self._path} has no message on {self._connection.topic}"
            )
        return np.unique(np.array(times, np.int64))

    def _first_topology(self) -> Topology | None:
        connections = [c for c in self._reader.connections if c.msgtype == HAND_TOPOLOGY]
        if not connections:
            return None
        try:
            for _, _, cdr in self._reader.messages(connections):
                return decode_topology(self._store, cdr)
        except Exception as error:
            raise damaged(self._path, error) from error
        return None

    def _at(self, index: int) -> Snapshot:
        when = int(self._times_ns[index])
        messages = self._reader.messages([self._connection], start=when, stop=when + 1)
        _, _, cdr = next(iter(messages))
        try:
            return snapshot_from(self._store.decode(cdr, HAND_MESH_ARRAY))
        except (TypestoreError, ValueError) as error:
            raise damaged(self._path, error) from error


def _hands_of(reader: Reader, path: Path, topic: str) -> Connection:
    """Connection of the hands to show; raises ProcessingError."""
    by_topic = {c.topic: c for c in reader.connections if c.msgtype == HAND_MESH_ARRAY}
    known = ", ".join(by_topic)
    if not by_topic:
        raise ProcessingError(
            f"the bag {path} has no {HAND_MESH_ARRAY}; make one of its images with: "
            f"hand-mesh process {path} -o OUT"
        )
    if topic and topic not in by_topic:
        raise ProcessingError(f"the bag {path} has no hands on {topic}; it has them on {known}")
    usual = [name for name in by_topic if name.endswith("/hand_meshes")]
    chosen = [topic] if topic else usual if len(usual) == 1 else list(by_topic)
    if len(chosen) > 1:
        raise ProcessingError(f"the bag {path} has hands on {known}: choose with --topic")
    return by_topic[chosen[0]]
