"""Frames of one camera of a rosbag2, as the live node would make them of its messages."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.processing.bag_files import (
    CAMERA_INFO,
    COMPRESSED,
    BagCamera,
    connections_of,
    first_message,
    opened_bag,
    read_messages,
)
from hand_mesh_ros.processing.depth_pairing import DepthPairing
from hand_mesh_ros.processing.settings import FrameRange, ProcessingError
from hand_mesh_ros.ros.camera_info import CameraInfoError, camera_from_info, same_calibration
from hand_mesh_ros.ros.depth_images import DepthImageError, check_aligned, depth_from_message
from hand_mesh_ros.ros.images import ImageError, image_from_compressed, image_from_message
from hand_mesh_ros.ros.typestore import Typestore, TypestoreError
from hand_mesh_ros.sources.base import NS_PER_S
from hand_mesh_ros.sources.calibration import fitted
from hand_mesh_ros.types import Frame

_LOOKED_AT = 31
"""Stamps from which the pace of the images is taken."""

log = logging.getLogger(__name__)


class BagSource:
    """A `Source`; images that the live node would refuse are left out, said once and counted."""

    def __init__(
        self,
        path: Path,
        bag_camera: BagCamera,
        *,
        store: Typestore,
        frames: FrameRange,
        assumed_fov_deg: float,
        camera: Camera | None = None,
        depth_topic: str = "",
        depth_slop_s: float = 0.01,
    ) -> None:
        """Look into a bag.

        Args:
            path: of the bag.
            bag_camera: whose images to read.
            store: decodes messages.
            frames: which of them; the others are not even decoded.
            assumed_fov_deg: horizontal field of view of a camera that nothing else is known of.
            camera: calibration where the bag has none.
            depth_topic: aligned depth images; empty: none.
            depth_slop_s: by which stamps of an image and its depth may differ.

        Raises:
            ProcessingError: the bag cannot be read, or has no such topic.
        """
        self._path, self._bag_camera, self._store, self._range = path, bag_camera, store, frames
        self._fov_deg, self._calibration = assumed_fov_deg, camera
        self._depth_topic, self._slop_s = depth_topic, depth_slop_s
        self._depth_info_topic = f"{depth_topic.rpartition('/')[0]}/camera_info"
        self._camera: Camera | None = None
        self._info: Any = None
        self._depth_info: Any = None
        self.refused: Counter[str] = Counter()
        """How many images were left out, by reason."""
        with opened_bag(path) as reader:
            if depth_topic and not connections_of(reader, depth_topic):
                raise ProcessingError(f"the bag {path} has no depth images on {depth_topic}")
            images = connections_of(reader, bag_camera.image_topic)
            heads = itertools.islice(read_messages(reader, path, images), _LOOKED_AT)
            self.rate_hz = _pace_hz([self._stamp_ns(c.msgtype, cdr) for c, cdr in heads])
            infos = [c.topic for c in reader.connections if c.msgtype == CAMERA_INFO]
        self._other_infos = [t for t in infos if t != bag_camera.camera_info_topic]
        self.num_frames = frames.expected(bag_camera.num_images, self.rate_hz)

    def __iter__(self) -> Iterator[Frame]:
        self._camera, self._info, self._depth_info = None, None, None
        self.refused.clear()
        last_ns: int | None = None
        with opened_bag(self._path) as reader:
            for message, depth in self._range.select(self._pairs(reader), _image_stamp_ns):
                stamp_ns = _header_stamp_ns(message)
                try:
                    if stamp_ns <= 0:
                        raise ImageError("header.stamp is not set, expected the time of exposure")
                    if stamp_ns == last_ns:
                        raise ImageError(f"the stamp {stamp_ns} ns came before")
                    frame = self._frame(message, depth, stamp_ns)
                except (ImageError, CameraInfoError) as error:
                    self._refuse("image", str(error))
                    continue
                last_ns = stamp_ns
                yield frame
        if self.refused:
            total, reason = self.refused.total(), self.refused.most_common(1)[0][0]
            log.warning("%s: refused %d in all, most of all: %s", self._path, total, reason)

    def close(self) -> None:
        """Nothing to let go of: each iteration closes what it opened."""

    def _pairs(self, reader: Reader) -> Iterator[tuple[Any, Any]]:
        """Image messages, each with its depth message or None; calibrations are kept on the way."""
        info_topic = self._bag_camera.camera_info_topic
        for connection in connections_of(reader, info_topic):
            # The first images may have been recorded before the first calibration.
            self._info = first_message(reader, self._path, self._store, connection)
        pairing: DepthPairing[Any, Any] = DepthPairing(self._slop_s)
        topics = [self._bag_camera.image_topic, info_topic]
        if self._depth_topic:
            topics += [self._depth_topic, self._depth_info_topic]
        for connection, cdr in read_messages(reader, self._path, connections_of(reader, *topics)):
            try:
                message = self._store.decode(memoryview(cdr), connection.msgtype)  # no copy
            except TypestoreError as error:
                self._refuse("message", f"{connection.topic}: {error}")
                continue
            if connection.topic == self._depth_topic:
                yield from pairing.add_depth(_header_stamp_ns(message), message)
            elif connection.topic == self._depth_info_topic and self._depth_topic:
                self._depth_info = message
            elif connection.topic == info_topic:
                self._info = message
            elif self._depth_topic:
                yield from pairing.add_image(_header_stamp_ns(message), message)
            else:
                yield message, None
        yield from pairing.rest()

    def _frame(self, message: Any, depth: Any, stamp_ns: int) -> Frame:
        is_compressed = message.__msgtype__ == COMPRESSED
        image = image_from_compressed(message) if is_compressed else image_from_message(message)
        camera = self._camera_of(image)
        frame_id = message.header.frame_id
        depth_m = None if depth is None else self._depth_m(depth, frame_id, camera)
        return Frame(image, camera, stamp_ns, frame_id, depth_m)

    def _camera_of(self, image: np.ndarray) -> Camera:
        """By the bag's calibration, else the user's, else assumed; the same object while equal."""
        height, width = image.shape[:2]
        camera = None
        if self._info is not None:
            camera = camera_from_info(self._info, image_width=width, image_height=height)
        if camera is None and self._calibration is not None:
            camera = fitted(self._calibration, width, height, self._bag_camera.image_topic)
        if camera is None:
            camera = Camera.from_fov(width, height, self._fov_deg)
        if self._camera is None or not same_calibration(camera, self._camera):
            self._camera = camera
            if camera.assumed:
                log.warning("%s: %s", self._path, self._why_assumed())
        return self._camera

    def _why_assumed(self) -> str:
        topic = self._bag_camera.camera_info_topic
        why = f"no CameraInfo on {topic}"
        if self._info is not None:
            why = f"CameraInfo on {topic} is uncalibrated (K[0] = 0)"
        elif self._other_infos:
            why += f" (but on {', '.join(self._other_infos)}: choose with --camera-info-topic)"
        return (
            f"{why}: assuming a horizontal field of view of {self._fov_deg:g} deg "
            "(assumed_fov_deg), so distances are a guess"
        )

    def _depth_m(self, message: Any, frame_id: str, camera: Camera) -> np.ndarray | None:
        try:
            check_aligned(message, self._depth_info, frame_id, camera)
            return depth_from_message(message)
        except DepthImageError as error:
            self._refuse("depth", str(error))
            return None

    def _refuse(self, what: str, reason: str) -> None:
        """Count; reasons that differ only in their numbers are one."""
        general = f"{what}: " + re.sub(r"\d+", "#", reason)
        if general not in self.refused:
            log.warning("%s: %s refused: %s", self._path, what, reason)
        self.refused[general] += 1

    def _stamp_ns(self, type_name: str, cdr: bytes) -> int:
        try:
            return _header_stamp_ns(self._store.decode(cdr, type_name))
        except TypestoreError:
            return 0


def _header_stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec


def _image_stamp_ns(pair: tuple[Any, Any]) -> int:
    return _header_stamp_ns(pair[0])


def _pace_hz(stamps_ns: list[int]) -> float:
    """Frames per second by the median distance of stamps; 30 where they do not tell."""
    periods_ns = np.diff(stamps_ns)
    periods_ns = periods_ns[periods_ns > 0]
    return float(NS_PER_S / np.median(periods_ns)) if periods_ns.size else 30.0
