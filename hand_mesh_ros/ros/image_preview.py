"""The camera's image for people: small, a few times a second, some kilobytes each."""

from __future__ import annotations

import cv2
import numpy as np

from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.graph import Graph, Qos
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.types import Frame

IMAGE_PREVIEW = "image_preview/compressed"
"""The topic; named as image_transport names compressed images, so that rqt_image_view shows it."""
_WIDTH_PX = 320
_PERIOD_NS = 90_000_000
"""Every third image of a camera at 30 Hz, whose stamps are never quite even."""
_JPEG_QUALITY = 80


class ImagePreview:
    """Sends while somebody subscribes; a camera's raw images are a hundred times as many bytes."""

    def __init__(self, graph: Graph, store: Typestore) -> None:
        self._store = store
        self._publisher = graph.publisher(
            IMAGE_PREVIEW, "sensor_msgs/msg/CompressedImage", Qos(depth=1)
        )
        self._last_ns = -_PERIOD_NS

    def publish(self, frame: Frame) -> None:
        """Send the frame's image, if it is wanted and the last one was a while ago."""
        wanted = self._publisher.subscriber_count > 0
        if not wanted or 0 <= frame.stamp_ns - self._last_ns < _PERIOD_NS:
            return
        self._last_ns = frame.stamp_ns
        message = messages.jpeg_message(
            self._store,
            small_image(frame.image),
            frame.stamp_ns,
            frame.frame_id,
            quality=_JPEG_QUALITY,
        )
        self._publisher.publish(self._store.encode(message))


def small_image(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of an (H, W, 3) image that need not be seen in detail."""
    height, width = image.shape[:2]
    if width <= _WIDTH_PX:
        return image
    size = (_WIDTH_PX, max(round(height * _WIDTH_PX / width), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
