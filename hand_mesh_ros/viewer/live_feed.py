"""Hands as they are published: listens to the node's topics, to its images while wanted."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.ros.camera_info import (
    CameraInfoError,
    camera_from_info,
    image_size_of,
    same_calibration,
)
from hand_mesh_ros.ros.graph import Graph, Qos, Subscription
from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW
from hand_mesh_ros.ros.images import ImageError, image_from_compressed
from hand_mesh_ros.ros.newest_only import NewestOnly
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

_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
_DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
_WINDOW_S = 2.0
_STALE_S = 1.0


class LiveFeed:
    """A `Feed` of topics, named as the node's: the same remaps fit."""

    def __init__(self, graph: Graph, *, store: Typestore | None = None) -> None:
        self._graph, self._store = graph, store or Typestore()
        self._lock = threading.Lock()
        self._newest: NewestOnly[Any] = NewestOnly()
        """Decoded HandMeshArray."""
        self._arrivals: deque[tuple[float, float, float]] = deque()
        """Monotonic s of arrival, s in the node, s from stamp to here; of the last two seconds."""
        self._image: NewestOnly[bytes] = NewestOnly()
        self._image_subscription: Subscription | None = None
        self._info: bytes | None = None
        """The newest CameraInfo; one comes with every image, few are read."""
        self._camera: Camera | None = None
        self._topology: Topology | None = None
        self._facts: dict[str, str] = {}
        self._problem = ""
        latched = Qos(durability="transient_local", depth=1)
        sensor = Qos("best_effort", depth=1)
        self._subscriptions = [
            graph.subscribe("hand_meshes", HAND_MESH_ARRAY, Qos(depth=1), self._on_hands),
            graph.subscribe("hand_topology", HAND_TOPOLOGY, latched, self._on_topology),
            graph.subscribe("/diagnostics", _DIAGNOSTICS, Qos(), self._on_diagnostics),
            graph.subscribe("camera_info", _CAMERA_INFO, sensor, self._on_info),
        ]

    @property
    def duration_s(self) -> None:
        """None: it has no end."""
        return None

    @property
    def topology(self) -> Topology | None:
        """Faces of the meshes; None until the node has said."""
        with self._lock:
            return self._topology

    def next(self, timeout_s: float) -> Snapshot | None:
        """The newest message, if one has come since the last call."""
        array = self._newest.take(timeout_s)
        if array is None:
            return None
        try:
            snapshot = snapshot_from(array)
        except ValueError as error:
            self._problem = f"a message on hand_meshes cannot be read: {error}"
            return None
        finally:
            self._newest.done()
        self._problem = ""
        return snapshot

    def seek(self, time_s: float) -> Snapshot:
        """Not of what is live."""
        raise RuntimeError("a live feed has no other times")

    def time_s(self, snapshot: Snapshot) -> float:
        """Seconds of its stamp."""
        return 1e-9 * snapshot.stamp_ns

    def picture(self, *, wanted: bool) -> Picture:
        """Camera and newest image; while none is wanted there is no subscription."""
        if wanted and self._image_subscription is None:
            newest = Qos("best_effort", depth=1)  # never slows the node down
            self._image_subscription = self._graph.subscribe(
                IMAGE_PREVIEW, _COMPRESSED_IMAGE, newest, self._on_image
            )
        elif not wanted and self._image_subscription is not None:
            self._image_subscription.close()
            self._image_subscription = None
        cdr = self._image.take(0.0) if wanted else None
        image = None
        if cdr is not None:
            self._image.done()
            image = self._decoded(cdr)
        if wanted and (image is not None or self._camera is None):
            self._update_camera()
        return Picture(self._camera, image)

    def is_stale(self) -> bool:
        """Whether nothing has come for a second."""
        with self._lock:
            return not self._arrivals or self._arrivals[-1][0] < time.monotonic() - _STALE_S

    def status(self) -> Status:
        """Rates and times over two seconds; the model as the node's diagnostics name it."""
        with self._lock:
            arrivals, facts = list(self._arrivals), dict(self._facts)
        notes = [self._problem] if self._problem else []
        if self.is_stale():
            notes.append("no message on hand_meshes: is the node running, in this ROS_DOMAIN_ID?")
        if self._info is None:
            notes.append("no camera_info: remap it as for the node, to see the camera")
        model, back_end = facts.get("model", ""), facts.get("back-end", "")
        if len(arrivals) < 2:
            return Status("live", model=model, back_end=back_end, notes=tuple(notes))
        times_s = np.array(arrivals)
        return Status(
            "live",
            rate_hz=(len(arrivals) - 1) / max(times_s[-1, 0] - times_s[0, 0], 1e-9),
            latency_ms=1e3 * float(np.median(times_s[:, 1])),
            arrival_ms=1e3 * float(np.median(times_s[:, 2])),
            model=model,
            back_end=back_end,
            notes=tuple(notes),
        )

    def close(self) -> None:
        """Close the subscriptions."""
        self.picture(wanted=False)
        for subscription in self._subscriptions:
            subscription.close()
        self._newest.close()

    def _on_hands(self, cdr: memoryview) -> None:
        now_s, now_ns = time.monotonic(), self._graph.now_ns()
        try:
            array = self._store.decode(bytes(cdr), HAND_MESH_ARRAY)
        except TypestoreError as error:
            self._problem = f"a message on hand_meshes cannot be read: {error}"
            return
        stamp, latency = array.header.stamp, array.latency
        arrival_s = 1e-9 * (now_ns - stamp.sec * 1_000_000_000 - stamp.nanosec)
        with self._lock:
            self._arrivals.append((now_s, latency.sec + 1e-9 * latency.nanosec, arrival_s))
            while self._arrivals[0][0] < now_s - _WINDOW_S:
                self._arrivals.popleft()
        self._newest.put(array)

    def _on_topology(self, cdr: memoryview) -> None:
        topology = decode_topology(self._store, bytes(cdr))
        with self._lock:
            self._topology = topology

    def _on_diagnostics(self, cdr: memoryview) -> None:
        array = self._store.decode(bytes(cdr), _DIAGNOSTICS)
        for status in array.status:
            if status.name.endswith(": hand tracking"):
                with self._lock:
                    self._facts = {v.key: v.value for v in status.values}

    def _on_info(self, cdr: memoryview) -> None:
        self._info = bytes(cdr)

    def _on_image(self, cdr: memoryview) -> None:
        self._image.put(bytes(cdr))

    def _decoded(self, cdr: bytes) -> np.ndarray | None:
        try:
            return image_from_compressed(self._store.decode(cdr, _COMPRESSED_IMAGE))
        except (TypestoreError, ImageError) as error:
            self._problem = f"an image cannot be read: {error}"
            return None

    def _update_camera(self) -> None:
        """By the newest camera_info; the same object while it stays equal."""
        cdr = self._info
        if cdr is None:
            return
        try:
            info = self._store.decode(cdr, _CAMERA_INFO)
            width, height = image_size_of(info)
            camera = camera_from_info(info, image_width=width, image_height=height)
        except (TypestoreError, CameraInfoError) as error:
            self._problem = str(error)
            return
        if camera is not None and (
            self._camera is None or not same_calibration(camera, self._camera)
        ):
            self._camera = camera
