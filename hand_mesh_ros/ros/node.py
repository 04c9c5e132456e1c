"""The hand_mesh node: newest image in, hands out; the same on every middleware."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, Protocol

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.camera_info import CameraInfoError
from hand_mesh_ros.ros.camera_source import CameraSource, describe
from hand_mesh_ros.ros.diagnostics import DIAGNOSTIC_ARRAY, Diagnostics
from hand_mesh_ros.ros.graph import Graph, Publisher, Qos
from hand_mesh_ros.ros.images import ImageError, image_from_compressed, image_from_message
from hand_mesh_ros.ros.markers import MARKER_ARRAY, HandMarkers
from hand_mesh_ros.ros.named_hands import NamedHands
from hand_mesh_ros.ros.newest_only import NewestOnly
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.ros.throttled_log import ThrottledLog
from hand_mesh_ros.ros.typestore import Typestore, TypestoreError
from hand_mesh_ros.types import Frame, Hand, Result
from hand_mesh_ros.viewer.overlay import draw_overlay

DIAGNOSTICS_PERIOD_S = 1.0
_IMAGE = "sensor_msgs/msg/Image"
_COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_HAND_MESH = "hand_mesh_ros/msg/HandMesh"
_HAND_MESH_ARRAY = "hand_mesh_ros/msg/HandMeshArray"
_HAND_TOPOLOGY = "hand_mesh_ros/msg/HandTopology"
_TF = "tf2_msgs/msg/TFMessage"
_CLOUD = "sensor_msgs/msg/PointCloud2"


class Pipeline(Protocol):
    """What the node needs of a pipeline."""

    @property
    def hand_model(self) -> HandModel:
        """Topology of the vertices that `process` returns."""
        ...

    def process(self, frame: Frame) -> Result:
        """Find and reconstruct the hands of one frame."""
        ...

    def reset(self) -> None:
        """Forget everything about earlier frames."""
        ...


class HandMeshNode:
    """Wires a pipeline into a graph; callbacks keep the newest image, one thread does the rest.

    `parameters` may be replaced while the node runs: live ones count from the next frame on.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: NodeParameters,
        pipeline: Pipeline,
        *,
        store: Typestore | None = None,
    ) -> None:
        self.parameters = parameters
        self._graph = graph
        self._pipeline = pipeline
        self._store = store or Typestore()
        self._log = ThrottledLog(graph.log)
        self._diagnostics = Diagnostics(graph.node_name)
        self._images: NewestOnly[tuple[memoryview, float]] = NewestOnly()
        self._camera_info_cdr: memoryview | None = None
        self._used_camera_info_cdr: memoryview | None = None
        self._cameras = CameraSource(
            timeout_s=parameters.camera_info_timeout_s,
            assumed_fov_deg=parameters.assumed_fov_deg,
            log=graph.log,
        )
        self._camera: Camera | None = None
        self._last_stamp_ns: int | None = None
        self._named_hands = NamedHands()
        self._markers = HandMarkers(self._store, pipeline.hand_model)
        self._drawn_tracks: set[int] = set()
        self._right_faces = messages.faces_of(pipeline.hand_model, Side.RIGHT)

        reliable, latched = Qos(), Qos(durability="transient_local", depth=1)
        self._to_hand_meshes = graph.publisher("hand_meshes", _HAND_MESH_ARRAY, reliable)
        self._to_hand_mesh = graph.publisher("hand_mesh", _HAND_MESH, reliable)
        self._to_topology = graph.publisher("hand_topology", _HAND_TOPOLOGY, latched)
        self._to_tf = graph.publisher("/tf", _TF, Qos(depth=100))
        self._to_markers = graph.publisher("hand_markers", MARKER_ARRAY, reliable)
        self._to_detections = graph.publisher("hand_detections", _CLOUD, reliable)
        self._to_overlay = graph.publisher("hand_overlay", _IMAGE, Qos(depth=1))
        self._to_diagnostics = graph.publisher("/diagnostics", DIAGNOSTIC_ARRAY, reliable)
        topology = messages.hand_topology(self._store, pipeline.hand_model)
        self._send(self._to_topology, topology)

        self._compressed = parameters.image_transport == "compressed"
        self._worker = threading.Thread(target=self._work, name="hand_mesh worker", daemon=True)
        self._worker.start()
        topic, kind = (
            ("image/compressed", _COMPRESSED_IMAGE) if self._compressed else ("image", _IMAGE)
        )
        newest = Qos(parameters.image_reliability, depth=1)  # type: ignore[arg-type]  # checked there
        graph.subscribe(
            "camera_info", _CAMERA_INFO, Qos("best_effort", depth=1), self._on_camera_info
        )
        graph.subscribe(topic, kind, newest, self._on_image)
        graph.log.info(
            f"waiting for {topic} ({parameters.image_reliability}) and camera_info; "
            f"{parameters.model} on {pipeline.hand_model.name}"
        )

    def close(self) -> None:
        """Stop working; what is being processed is finished first."""
        self._images.close()
        if threading.current_thread() is not self._worker:
            self._worker.join(timeout=10.0)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until every image that came has been published, refused or passed over."""
        return self._images.wait_until_idle(timeout_s)

    def _on_image(self, cdr: memoryview) -> None:
        self._diagnostics.received()
        if self._images.put((cdr, time.monotonic())):
            self._diagnostics.dropped()

    def _on_camera_info(self, cdr: memoryview) -> None:
        self._camera_info_cdr = cdr

    def _work(self) -> None:
        report_s = time.monotonic() + DIAGNOSTICS_PERIOD_S
        while not self._images.closed:
            arrived = self._images.take(timeout_s=max(report_s - time.monotonic(), 0.0))
            try:
                if arrived is not None:
                    self._handle(*arrived)
                if time.monotonic() >= report_s:
                    report_s = time.monotonic() + DIAGNOSTICS_PERIOD_S
                    self.publish_diagnostics()
            except Exception as error:  # the worker must outlive whatever a frame does to it
                self._log.error(f"hand_mesh: {error!r}", error)
            finally:
                self._images.done()

    def _handle(self, cdr: memoryview, arrived_s: float) -> None:
        """Take one image from bytes to published hands; bad ones are counted and left."""
        try:
            frame = self._frame(cdr)
            if frame is None:
                self._diagnostics.dropped()
                return
            started_s = time.monotonic()
            result = self._pipeline.process(frame)
            stage_s = {**result.stage_s, "pipeline": time.monotonic() - started_s}
            result = replace(
                result,
                stamp_ns=frame.stamp_ns,
                frame_id=frame.frame_id,
                hands=self._sound_hands(result.hands),
            )
            self._publish(frame, result, arrived_s)
            self._diagnostics.processed(
                hands=len(result.hands),
                stage_s=stage_s,
                latency_s=time.monotonic() - arrived_s,
            )
        except (ImageError, CameraInfoError) as error:
            self._diagnostics.refused(str(error))
            self._log.warning(f"image refused: {error}")
        except Exception as error:
            # Half an update may be left behind in the pipeline: better to find the hands again.
            reason = f"{type(error).__name__}: {error}"
            self._diagnostics.failed(reason)
            self._log.error(f"image lost, tracks start afresh: {reason}", error)
            self._start_afresh()

    def _frame(self, cdr: memoryview) -> Frame | None:
        """The frame to process; None for a duplicate, and while camera_info is awaited."""
        self._use_newest_camera_info()
        kind = _COMPRESSED_IMAGE if self._compressed else _IMAGE
        message = self._decode(cdr, kind, ImageError)
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        if not self._is_new(stamp_ns):
            return None
        image = image_from_compressed(message) if self._compressed else image_from_message(message)
        camera = self._cameras.camera_of(image.shape[1], image.shape[0], stamp_ns)
        if camera is None:
            return None
        if camera is not self._camera:
            if self._camera is not None:
                self._start_afresh()  # depths seen through another camera must not be blended in
            self._camera = camera
            self._diagnostics.camera(describe(camera))
        return Frame(image, camera, stamp_ns, message.header.frame_id)

    def _use_newest_camera_info(self) -> None:
        cdr = self._camera_info_cdr
        if cdr is not None and cdr is not self._used_camera_info_cdr:
            self._used_camera_info_cdr = cdr
            self._cameras.update(self._decode(cdr, _CAMERA_INFO, CameraInfoError))

    def _decode(self, cdr: memoryview, type_name: str, error_type: type[ValueError]) -> Any:
        try:
            return self._store.decode(cdr, type_name)
        except TypestoreError as error:
            raise error_type(str(error)) from error

    def _is_new(self, stamp_ns: int) -> bool:
        """False for a duplicate; a step back in time (a bag played again) starts afresh."""
        if stamp_ns <= 0:
            raise ImageError("image header.stamp is not set, expected the time of exposure")
        last_ns, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
        if last_ns is not None and stamp_ns < last_ns:
            back_s = (last_ns - stamp_ns) * 1e-9
            self._log.warning(f"image time went back by {back_s:.3f} s: tracks start afresh")
            self._start_afresh()
        return stamp_ns != last_ns

    def _start_afresh(self) -> None:
        self._named_hands.reset()
        self._pipeline.reset()

    def _sound_hands(self, hands: tuple[Hand, ...]) -> tuple[Hand, ...]:
        """Hands whose numbers are all finite; a NaN must never reach a robot."""
        sound = []
        for hand in hands:
            broken = messages.broken_fields(hand)
            if broken:
                self._log.warning(f"hand held back: not finite: {', '.join(broken)}")
            else:
                sound.append(hand)
        return tuple(sound)

    def _publish(self, frame: Frame, result: Result, arrived_s: float) -> None:
        store, stamp_ns, frame_id = self._store, frame.stamp_ns, frame.frame_id
        hands = result.hands
        latency_s = time.monotonic() - arrived_s
        array = messages.hand_mesh_array(store, result, latency_s)
        self._send(self._to_hand_meshes, array)
        for mesh in array.hands:
            self._send(self._to_hand_mesh, mesh)
        self._publish_tf(hands, stamp_ns, frame_id)
        self._publish_markers(hands, stamp_ns, frame_id)
        if self._to_detections.subscriber_count:
            cloud = messages.detection_cloud(store, result.detections, stamp_ns, frame_id)
            self._send(self._to_detections, cloud)
        if self._to_overlay.subscriber_count:
            picture = draw_overlay(frame.image, hands, frame.camera, self._right_faces)
            overlay = messages.image_message(store, picture, stamp_ns, frame_id)
            self._send(self._to_overlay, overlay)

    def _publish_tf(self, hands: tuple[Hand, ...], stamp_ns: int, frame_id: str) -> None:
        owners = self._named_hands.update(hands)
        if not owners or not self.parameters.publish_tf:
            return
        if not frame_id:
            self._log.warning("image header.frame_id is empty: tf needs a parent, so none is sent")
            return
        prefix = self.parameters.tf_prefix
        transforms = messages.tf_message(self._store, owners, stamp_ns, frame_id, prefix)
        self._send(self._to_tf, transforms)

    def _publish_markers(self, hands: tuple[Hand, ...], stamp_ns: int, frame_id: str) -> None:
        if not (self.parameters.publish_markers and self._to_markers.subscriber_count):
            return
        seen = {hand.track_id for hand in hands}
        lost = sorted(self._drawn_tracks - seen)
        self._drawn_tracks = seen
        if lost:
            self._to_markers.publish(self._markers.encode_deletion(lost, stamp_ns, frame_id))
        if hands:
            self._to_markers.publish(self._markers.encode(hands, stamp_ns, frame_id))

    def publish_diagnostics(self) -> None:
        """Report counts and times; the worker does it once a second."""
        report = self._diagnostics.message(self._store, self._graph.now_ns())
        self._send(self._to_diagnostics, report)

    def _send(self, publisher: Publisher, message: Any) -> None:
        publisher.publish(self._store.encode(message))
