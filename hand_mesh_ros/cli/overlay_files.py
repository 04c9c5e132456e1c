"""Writes the node's overlay images to a folder."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.ros.graph import Graph, Qos
from hand_mesh_ros.ros.images import image_from_message
from hand_mesh_ros.ros.typestore import Typestore


class OverlayFiles:
    """Subscribes to `hand_overlay`; one PNG an image, numbered in the order of arrival.

    With `hold` > 1 the camera shows each still that many times; the pictures of one still differ
    only by the tracker's settling, so each block of them leaves its last one.
    """

    def __init__(self, graph: Graph, folder: Path, *, hold: int) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--overlay {folder}: {error.strerror}") from error
        self._folder, self._hold = folder, hold
        self._store = Typestore()
        self._lock = threading.Lock()
        self._count = 0
        self._failure: str | None = None
        graph.subscribe("hand_overlay", "sensor_msgs/msg/Image", Qos(depth=10), self._on_overlay)

    def _on_overlay(self, cdr: memoryview) -> None:
        image = image_from_message(self._store.decode(bytes(cdr), "sensor_msgs/msg/Image"))
        with self._lock:
            path = self._folder / f"overlay_{self._count // self._hold:05d}.png"
            self._count += 1
            if not cv2.imwrite(str(path), image[:, :, ::-1]):
                self._failure = f"cannot write {path}"

    def close(self) -> int:
        """How many pictures there are; raises UsageError where one could not be written."""
        with self._lock:
            if self._failure:
                raise UsageError(self._failure)
            return -(-self._count // self._hold)
