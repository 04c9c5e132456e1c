"""Publishes a source of frames as a camera does; a synthetic one's truth and depth beside it."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.graph import Graph, Qos
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.sources.base import Source
from hand_mesh_ros.sources.synthetic import SyntheticCamera, SyntheticFrame
from hand_mesh_ros.types import Frame, Hand, Result

IMAGE_TOPIC = "camera/image_raw"
CAMERA_INFO_TOPIC = "camera/camera_info"
TRUTH_TOPIC = "camera/ground_truth"
DEPTH_TOPIC = "camera/depth/image_raw"
DEPTH_INFO_TOPIC = "camera/depth/camera_info"
DepthEncoding = Literal["16UC1", "32FC1"]
_MATCH_POLL_S = 0.02
_SETTLE_S = 0.5
"""From the first subscriber to the first frame: other endpoints are found in the meantime."""


class CameraNode:
    """Paces frames by the wall clock and stamps them when they are sent."""

    def __init__(
        self,
        graph: Graph,
        source: Source | SyntheticCamera,
        *,
        depth_encoding: DepthEncoding = "16UC1",
    ) -> None:
        self._graph, self._source = graph, source
        self._depth_encoding: DepthEncoding = depth_encoding
        self._store = Typestore()
        self._stop = threading.Event()
        sensor = Qos(depth=1)
        self._image = graph.publisher(IMAGE_TOPIC, "sensor_msgs/msg/Image", sensor)
        self._info = graph.publisher(CAMERA_INFO_TOPIC, "sensor_msgs/msg/CameraInfo", sensor)
        self._truth = self._depth = self._depth_info = None
        if isinstance(source, SyntheticCamera):
            kind = "hand_mesh_ros/msg/HandMeshArray"
            self._truth = graph.publisher(TRUTH_TOPIC, kind, Qos(depth=10))
            self._depth = graph.publisher(DEPTH_TOPIC, "sensor_msgs/msg/Image", sensor)
            self._depth_info = graph.publisher(
                DEPTH_INFO_TOPIC, "sensor_msgs/msg/CameraInfo", sensor
            )

    def stop(self) -> None:
        """End `play` at the next frame; safe from any thread."""
        self._stop.set()

    def play(
        self,
        *,
        max_frames: int | None = None,
        hold: int = 1,
        loop: bool = False,
        wait_for_subscriber: bool = False,
    ) -> int:
        """Publish frame after frame at the source's rate, until it ends or `stop` is called.

        Args:
            max_frames: how many to send at most.
            hold: how often each frame is sent, so that stills can be looked at.
            loop: whether to begin again when the source ends.
            wait_for_subscriber: send nothing until someone listens to the images.

        Returns:
            How many frames were sent.
        """
        if wait_for_subscriber:
            while not self._image.subscriber_count and not self._stop.wait(_MATCH_POLL_S):
                pass
            self._stop.wait(_SETTLE_S)
        sent, start_s = 0, time.monotonic()
        rounds = itertools.repeat(self._source) if loop else [self._source]
        for item in itertools.chain.from_iterable(rounds):
            for _ in range(hold):
                due_s = start_s + sent / self._source.rate_hz
                if self._stop.wait(max(due_s - time.monotonic(), 0.0)):
                    return sent
                if max_frames is not None and sent >= max_frames:
                    return sent
                self._send(item)
                sent += 1
        return sent

    def _send(self, item: Frame | SyntheticFrame) -> None:
        frame, hands = (item, ()) if isinstance(item, Frame) else (item.frame, item.hands)
        depth_m = None
        if (
            isinstance(item, SyntheticFrame)
            and isinstance(self._source, SyntheticCamera)
            and self._depth is not None
            and self._depth.subscriber_count
        ):
            depth_m = self._source.depth_at(item.index)
        # A camera stamps when it exposes; a drawn or stored image is exposed when it is sent.
        frame = replace(frame, stamp_ns=self._graph.now_ns())
        store = self._store
        info = store.encode(_camera_info(store, frame.camera, frame))
        self._info.publish(info)
        if depth_m is not None and self._depth is not None and self._depth_info is not None:
            self._depth_info.publish(info)  # aligned: the same pixels look along the same rays
            self._depth.publish(
                store.encode(
                    depth_message(
                        store, depth_m, frame.stamp_ns, frame.frame_id, self._depth_encoding
                    )
                )
            )
        image = messages.image_message(store, frame.image, frame.stamp_ns, frame.frame_id)
        self._image.publish(store.encode(image))
        if self._truth is not None and self._truth.subscriber_count:
            self._truth.publish(store.encode(self._truth_message(frame, hands)))

    def _truth_message(self, frame: Frame, hands: tuple[Hand, ...]) -> object:
        result = Result(frame.stamp_ns, frame.frame_id, hands)
        return messages.hand_mesh_array(self._store, result, 0.0)


def depth_message(
    store: Typestore, depth_m: np.ndarray, stamp_ns: int, frame_id: str, encoding: DepthEncoding
) -> Any:
    """sensor_msgs/Image of an (H, W) depth image, m, NaN where unknown.

    16UC1 has millimetres up to 65.5 m, 0 where unknown; 32FC1 has metres, NaN where unknown.
    """
    if encoding == "16UC1":
        mm = np.rint(1e3 * np.nan_to_num(depth_m, nan=0.0))
        pixels = np.where((mm > 0) & (mm < 2**16), mm, 0).astype("<u2")
    else:
        pixels = np.ascontiguousarray(depth_m, "<f4")
    height, width = pixels.shape
    return store.type("sensor_msgs/msg/Image")(
        header=messages.header(store, stamp_ns, frame_id),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * pixels.itemsize,
        data=pixels.view(np.uint8).reshape(-1),
    )


def _camera_info(store: Typestore, camera: Camera, frame: Frame) -> object:
    """sensor_msgs/CameraInfo; an assumed camera says that it is uncalibrated (k[0] = 0)."""
    K = np.zeros((3, 3)) if camera.assumed else camera.K
    region = store.type("sensor_msgs/msg/RegionOfInterest")
    return store.type("sensor_msgs/msg/CameraInfo")(
        header=messages.header(store, frame.stamp_ns, frame.frame_id),
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model,
        d=np.asarray(camera.D, np.float64),
        k=np.asarray(K, np.float64).reshape(9),
        r=np.eye(3).reshape(9),
        p=np.pad(K, ((0, 0), (0, 1))).astype(np.float64).reshape(12),
        binning_x=0,
        binning_y=0,
        roi=region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )
