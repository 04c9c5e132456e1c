"""The hand_mesh node: newest image in, hands out; the same on every middleware."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_calibration import HandCalibration
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.ros.calibration_service import CalibrationService
from hand_mesh_ros.ros.camera_info import CameraInfoError
from hand_mesh_ros.ros.camera_source import CameraSource, describe
from hand_mesh_ros.ros.depth_input import DEPTH_INFO_TOPIC, DEPTH_TOPIC, DepthInput
from hand_mesh_ros.ros.diagnostics import DIAGNOSTIC_ARRAY, Diagnostics
from hand_mesh_ros.ros.graph import Answer, Graph, Qos, Subscription
from hand_mesh_ros.ros.hand_publisher import HandPublisher
from hand_mesh_ros.ros.images import ImageError, image_from_compressed, image_from_message
from hand_mesh_ros.ros.newest_only import NewestOnly
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.ros.throttled_log import ThrottledLog
from hand_mesh_ros.ros.typestore import Typestore, TypestoreError
from hand_mesh_ros.safety import without_broken
from hand_mesh_ros.types import Frame, Result

DIAGNOSTICS_PERIOD_S = 1.0
_JOIN_TIMEOUT_S = 10.0
_LATE_NS = 250_000_000
"""An image that is older than the last by no more than this was overtaken on its way."""
_IMAGE = "sensor_msgs/msg/Image"
_COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


class Pipeline(Protocol):
    """What the node needs of a pipeline."""

    @property
    def hand_model(self) -> HandModel:
        """Topology of the vertices that `process` returns."""
        ...

    @property
    def back_end(self) -> str:
        """What computes the reconstruction, and the state of its engine."""
        ...

    def process(self, frame: Frame) -> Result:
        """Find and reconstruct the hands of one frame."""
        ...

    def use_calibrations(self, calibrations: Mapping[Side, HandCalibration]) -> None:
        """Keep shape and size of these sides as calibrated."""
        ...

    def reset(self) -> None:
        """Forget everything about earlier frames."""
        ...

    def close(self) -> None:
        """Free what it holds; safe to call twice."""
        ...


class HandMeshNode:
    """Wires a pipeline into a graph; callbacks keep the newest image, one thread does the rest.

    A new node is configured: it has publishers and services, and works from `activate` until
    `deactivate`. `parameters` may be replaced at any time: live ones count from the next frame on.
    The pipeline is the node's from then on, `close` closes it.
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
        facts = {"model": parameters.model}
        self._diagnostics = Diagnostics(graph.node_name, facts=facts)
        self._compressed = parameters.image_transport == "compressed"
        self._camera_info_cdr: memoryview | None = None
        self._used_camera_info_cdr: memoryview | None = None
        self._cameras = CameraSource(
            timeout_s=parameters.camera_info_timeout_s,
            assumed_fov_deg=parameters.assumed_fov_deg,
            log=graph.log,
        )
        self._depth = DepthInput(self._store, self._log, slop_s=parameters.depth_slop_s)
        self._camera: Camera | None = None
        self._last_stamp_ns: int | None = None
        self._last_arrival_s: float | None = None
        self._silent_since_s: float | None = None
        """Arrival of the last image, once that has been too long ago."""

        self._lifecycle = threading.Lock()
        """Held by whoever starts or stops something; the worker never takes it."""
        self._pipeline_lock = threading.Lock()
        """Held while a frame is processed, and by whoever makes the pipeline forget."""
        self._images: NewestOnly[tuple[memoryview, float]] = NewestOnly()
        self._worker: threading.Thread | None = None
        self._subscriptions: list[Subscription] = []
        self._enabled = True

        self._hands = HandPublisher(graph, self._store, pipeline.hand_model, self._log)
        self._to_diagnostics = graph.publisher("/diagnostics", DIAGNOSTIC_ARRAY, Qos())
        graph.service("~/enable", "set_bool", self._enable)
        graph.service("~/reset", "trigger", self._reset)
        path = parameters.hand_calibration_file
        self._calibration = CalibrationService(
            pipeline.hand_model,
            pipeline.use_calibrations,
            path=Path(path) if path else None,
            log=graph.log,
        )
        graph.service("~/calibrate_hand", "trigger", self._calibration.serve)

    def activate(self) -> None:
        """Start to work; at once, and nothing happens where it works already."""
        with self._lifecycle:
            if self._worker is not None:
                return
            self._hands.publish_topology()
            self._last_arrival_s = self._silent_since_s = None
            self._images = NewestOnly()
            self._worker = threading.Thread(target=self._work, name="hand_mesh worker", daemon=True)
            self._worker.start()
            if self._enabled:
                self._subscribe()

    def deactivate(self) -> None:
        """Stop to work, and let shown hands vanish; what is being processed is finished first.

        Raises:
            RuntimeError: the pipeline does not come back from a frame.
        """
        with self._lifecycle:
            self._unsubscribe()
            self._images.close()
            if self._worker is None:
                return
            self._worker.join(_JOIN_TIMEOUT_S)
            if self._worker.is_alive():
                raise RuntimeError(
                    f"the pipeline has been at one frame for {_JOIN_TIMEOUT_S:g} s, "
                    "so the node cannot stop; end the process"
                )
            self._worker = None
        with self._pipeline_lock:
            self._forget_hands()

    def close(self) -> None:
        """Deactivate, and free the pipeline; safe to call twice."""
        try:
            self.deactivate()
        finally:
            self._pipeline.close()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until every image that came has been published, refused or passed over."""
        return self._images.wait_until_idle(timeout_s)

    def _subscribe(self) -> None:
        topic, kind = (
            ("image/compressed", _COMPRESSED_IMAGE) if self._compressed else ("image", _IMAGE)
        )
        reliability = self.parameters.image_reliability
        newest = Qos(reliability, depth=1, parameter="image_reliability")  # type: ignore[arg-type]  # checked there
        any_camera = Qos("best_effort", depth=1)
        self._subscriptions = [
            self._graph.subscribe("camera_info", _CAMERA_INFO, any_camera, self._on_camera_info),
            self._graph.subscribe(topic, kind, newest, self._on_image),
            self._graph.subscribe(DEPTH_TOPIC, _IMAGE, newest, self._depth.on_depth),
            self._graph.subscribe(
                DEPTH_INFO_TOPIC, _CAMERA_INFO, any_camera, self._depth.on_camera_info
            ),
        ]
        self._graph.log.info(
            f"waiting for {topic} ({reliability}) and camera_info; "
            f"{self.parameters.model} on {self._pipeline.hand_model.name}"
        )

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions = []

    def _enable(self, enabled: bool) -> Answer:
        """Service: stop to listen, which costs nothing, or go on."""
        with self._lifecycle:
            if enabled == self._enabled:
                return True, "is enabled already" if enabled else "is disabled already"
            self._enabled = enabled
            self._diagnostics.paused("" if enabled else "disabled by ~/enable")
            if enabled:
                if self._worker is not None:
                    self._subscribe()
                return True, "enabled"
            self._unsubscribe()
        with self._pipeline_lock:
            self._forget_hands()
            self._last_arrival_s = None  # nobody has to be told that no image comes
        return True, "disabled"

    def _reset(self) -> Answer:
        """Service: forget tracks, smoothing and what was learnt of each hand."""
        with self._pipeline_lock:
            self._last_stamp_ns = None
            self._start_afresh()
        return True, "all tracks forgotten"

    def _on_image(self, cdr: memoryview) -> None:
        self._diagnostics.received()
        arrived_s = self._last_arrival_s = time.monotonic()
        if self._images.put((cdr, arrived_s)):
            self._diagnostics.dropped()

    def _on_camera_info(self, cdr: memoryview) -> None:
        self._camera_info_cdr = cdr

    def _work(self) -> None:
        images = self._images
        report_s = time.monotonic() + DIAGNOSTICS_PERIOD_S
        while not images.closed:
            next_s = min(report_s, self._stale_at_s())
            arrived = images.take(timeout_s=max(next_s - time.monotonic(), 0.0))
            try:
                with self._pipeline_lock:
                    if arrived is not None:
                        self._handle(*arrived)
                    self._watch_camera()
                if time.monotonic() >= report_s:
                    report_s = time.monotonic() + DIAGNOSTICS_PERIOD_S
                    self.publish_diagnostics()
            except Exception as error:  # the worker must outlive whatever a frame does to it
                self._log.error(f"hand_mesh: {error!r}", error)
            finally:
                images.done()

    def _stale_at_s(self) -> float:
        """When the camera will have been silent for too long; infinity once that has been said."""
        last_s = self._last_arrival_s
        if last_s is None or last_s == self._silent_since_s:
            return math.inf
        return last_s + self.parameters.stale_timeout_s

    def _watch_camera(self) -> None:
        """Let hands vanish that nobody has seen for a while."""
        last_s = self._last_arrival_s
        if time.monotonic() < self._stale_at_s():
            return
        self._silent_since_s = last_s
        self._log.warning(
            f"no image for {self.parameters.stale_timeout_s:g} s: hands vanish until one comes"
        )
        self._forget_hands()

    def _handle(self, cdr: memoryview, arrived_s: float) -> None:
        """Take one image from bytes to published hands; bad ones are counted and left."""
        if not self._enabled:
            self._diagnostics.dropped()
            return
        if self._silent_since_s is not None:
            self._graph.log.info(f"images again, after {arrived_s - self._silent_since_s:.1f} s")
            self._silent_since_s = None
        try:
            frame = self._frame(cdr, arrived_s)
            if frame is None:
                self._diagnostics.dropped()
                return
            started_s = time.monotonic()
            result = self._pipeline.process(frame)
            for refusal in result.depth_refusals:
                self._log.warning(f"depth not used: {refusal}")
            self._calibration.observe(result)
            stage_s = {**result.stage_s, "pipeline": time.monotonic() - started_s}
            judged = without_broken(result.hands)  # as the last to see them, whatever the pipeline
            reasons = result.safety_reasons + judged.reasons
            for reason in reasons:
                self._log.warning(reason)
            result = replace(
                result,
                stamp_ns=frame.stamp_ns,
                frame_id=frame.frame_id,
                hands=judged.sound,
                hypotheses=without_broken(result.hypotheses).sound,
            )
            latency_s = time.monotonic() - arrived_s
            self._hands.publish(frame, result, self.parameters, latency_s)
            self._diagnostics.processed(
                hands=len(result.hands),
                stage_s=stage_s,
                latency_s=time.monotonic() - arrived_s,
                safety_reasons=reasons,
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

    def _frame(self, cdr: memoryview, arrived_s: float) -> Frame | None:
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
        frame_id = message.header.frame_id
        depth_m = self._depth.depth_of(stamp_ns, frame_id, camera, arrived_s)
        return Frame(image, camera, stamp_ns, frame_id, depth_m)

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
        """False for a duplicate or an overtaken image; a larger step back in time starts afresh."""
        if stamp_ns <= 0:
            raise ImageError("image header.stamp is not set, expected the time of exposure")
        ahead_s = 1e-9 * (stamp_ns - self._graph.now_ns())
        if ahead_s > self.parameters.safety_max_future_s:
            raise ImageError(
                f"image header.stamp is {ahead_s:.1f} s ahead of this node's clock, expected at "
                f"most {self.parameters.safety_max_future_s:g} s (parameter safety.max_future_s): "
                "synchronise the clocks of camera and node, or use_sim_time where time is simulated"
            )
        last_ns = self._last_stamp_ns
        if last_ns is not None and 0 < last_ns - stamp_ns <= _LATE_NS:
            return False
        self._last_stamp_ns = stamp_ns
        if last_ns is not None and stamp_ns < last_ns:
            back_s = (last_ns - stamp_ns) * 1e-9
            self._log.warning(f"image time went back by {back_s:.3f} s: tracks start afresh")
            self._start_afresh()
        return stamp_ns != last_ns

    def _start_afresh(self) -> None:
        self._depth.reset()
        self._hands.forget_names()
        self._pipeline.reset()

    def _forget_hands(self) -> None:
        """Start afresh, and let nothing be shown of what was seen."""
        self._hands.delete_markers()
        self._start_afresh()

    def publish_diagnostics(self) -> None:
        """Report counts and times; the worker does it once a second."""
        self._diagnostics.back_end(self._pipeline.back_end)
        report = self._diagnostics.message(self._store, self._graph.now_ns())
        self._to_diagnostics.publish(self._store.encode(report))
