"""The node's depth: taken as it comes, checked, and paired with images."""

from __future__ import annotations

from typing import Any

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.ros.depth_images import DepthImageError, check_aligned, depth_from_message
from hand_mesh_ros.ros.depth_sync import DepthSync
from hand_mesh_ros.ros.throttled_log import ThrottledLog
from hand_mesh_ros.ros.typestore import Typestore, TypestoreError

DEPTH_TOPIC, DEPTH_INFO_TOPIC = "depth", "depth/camera_info"
_IMAGE, _CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"


class DepthInput:
    """Callbacks for the two topics, and the depth image of a frame for the worker."""

    def __init__(self, store: Typestore, log: ThrottledLog, *, slop_s: float) -> None:
        self._store, self._log = store, log
        self._sync: DepthSync[Any] = DepthSync(slop_s)
        self._info: Any = None

    def on_depth(self, cdr: memoryview) -> None:
        """Keep a depth image; its pixels are looked at only if an image asks for them."""
        message = self._decoded(cdr, _IMAGE)
        if message is not None:
            stamp = message.header.stamp
            self._sync.put(stamp.sec * 1_000_000_000 + stamp.nanosec, message)

    def on_camera_info(self, cdr: memoryview) -> None:
        """Keep the newest CameraInfo of the depth images."""
        self._info = self._decoded(cdr, _CAMERA_INFO)

    def depth_of(
        self, stamp_ns: int, frame_id: str, camera: Camera, arrived_s: float
    ) -> np.ndarray | None:
        """(H, W) float32 m for an image; None where no depth comes in time, or an unfit one."""
        message = self._sync.take(stamp_ns, arrived_s)
        if message is None:
            return None
        try:
            check_aligned(message, self._info, frame_id, camera)
            return depth_from_message(message)
        except DepthImageError as error:
            self._log.warning(f"depth refused: {error}")
            return None

    def reset(self) -> None:
        """Forget what came: time went back."""
        self._sync.reset()

    def _decoded(self, cdr: memoryview, type_name: str) -> Any:
        try:
            return self._store.decode(cdr, type_name)
        except TypestoreError as error:
            self._log.warning(f"depth refused: {error}")
            return None
