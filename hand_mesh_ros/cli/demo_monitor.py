"""The demo's third process: receives what the node publishes and compares it with the truth."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.evaluation.metrics import pa_error_m
from hand_mesh_ros.ros.camera_info import CameraInfoError, camera_from_info
from hand_mesh_ros.ros.camera_node import CAMERA_INFO_TOPIC, TRUTH_TOPIC
from hand_mesh_ros.ros.graph import Graph, Qos
from hand_mesh_ros.ros.typestore import Typestore

_HAND_MESH_ARRAY = "hand_mesh_ros/msg/HandMeshArray"
_RATE_WINDOW_NS = 2_000_000_000
_SAME_HAND_M = 0.3
"""A reconstructed hand farther than this from a true one of its side is another hand."""


@dataclass
class _Frame:
    """What is known about one image; its parts arrive in any order."""

    received_ns: int | None = None
    latency_s: float = 0.0
    """The node's own, image in to hands out."""
    hands: list[Any] = field(default_factory=list)
    truth: list[Any] | None = None
    detections: Any = None
    camera_info: Any = None


@dataclass(frozen=True)
class HandError:
    """One hand against its truth."""

    root_m: float
    root_share: float
    """Of the true distance."""
    pa_mpjpe_m: float
    pa_mpvpe_m: float | None


class DemoMonitor:
    """Collects by image stamp, on the graph's threads."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._store = graph, Typestore()
        self._lock = threading.Lock()
        self._frames: dict[int, _Frame] = {}
        self._recent: deque[int] = deque()
        self._stage_ms: dict[str, str] = {}
        self.latest: Any = None
        """Newest HandMeshArray, or None."""
        reliable = Qos(depth=50)
        graph.subscribe("hand_meshes", _HAND_MESH_ARRAY, reliable, self._on_hands)
        graph.subscribe(TRUTH_TOPIC, _HAND_MESH_ARRAY, reliable, self._on_truth)
        graph.subscribe(
            "hand_detections", "sensor_msgs/msg/PointCloud2", reliable, self._on_detections
        )
        graph.subscribe(
            "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", reliable, self._on_diagnostics
        )
        graph.subscribe(
            CAMERA_INFO_TOPIC, "sensor_msgs/msg/CameraInfo", Qos(depth=1), self._on_camera_info
        )

    def _on_hands(self, cdr: memoryview) -> None:
        received_ns = self._graph.now_ns()
        array = self._store.decode(bytes(cdr), _HAND_MESH_ARRAY)
        stamp_ns = _stamp_ns(array)
        with self._lock:
            frame = self._frames.setdefault(stamp_ns, _Frame())
            frame.received_ns, frame.hands = received_ns, list(array.hands)
            frame.latency_s = array.latency.sec + 1e-9 * array.latency.nanosec
            self.latest = array
            self._recent.append(received_ns)
            while self._recent[0] < received_ns - _RATE_WINDOW_NS:
                self._recent.popleft()

    def _on_truth(self, cdr: memoryview) -> None:
        array = self._store.decode(bytes(cdr), _HAND_MESH_ARRAY)
        with self._lock:
            self._frames.setdefault(_stamp_ns(array), _Frame()).truth = list(array.hands)

    def _on_detections(self, cdr: memoryview) -> None:
        cloud = self._store.decode(bytes(cdr), "sensor_msgs/msg/PointCloud2")
        with self._lock:
            self._frames.setdefault(_stamp_ns(cloud), _Frame()).detections = cloud

    def _on_diagnostics(self, cdr: memoryview) -> None:
        array = self._store.decode(bytes(cdr), "diagnostic_msgs/msg/DiagnosticArray")
        values = {v.key: v.value for status in array.status for v in status.values}
        with self._lock:
            self._stage_ms = values

    def _on_camera_info(self, cdr: memoryview) -> None:
        info = self._store.decode(bytes(cdr), "sensor_msgs/msg/CameraInfo")
        with self._lock:
            self._frames.setdefault(_stamp_ns(info), _Frame()).camera_info = info

    @property
    def num_results(self) -> int:
        """How many images have been answered."""
        with self._lock:
            return sum(f.received_ns is not None for f in self._frames.values())

    def rate_hz(self) -> float:
        """Answers per second over the last two seconds."""
        with self._lock:
            recent = list(self._recent)
        if len(recent) < 2 or recent[-1] == recent[0]:
            return 0.0
        return (len(recent) - 1) * 1e9 / (recent[-1] - recent[0])

    def recent_latency_ms(self) -> float | None:
        """Median over the newest thirty images, from their stamp to the arrival of their hands."""
        with self._lock:
            newest = [
                (f.received_ns - s) for s, f in list(self._frames.items())[-30:] if f.received_ns
            ]
        return float(np.median(newest)) * 1e-6 if newest else None

    def recent_errors(self) -> list[HandError]:
        """Errors of the newest thirty images."""
        with self._lock:
            frames = list(self._frames.values())[-30:]
        return [e for f in frames for e in errors_of(f.hands, f.truth)]

    def report(self) -> dict[str, Any]:
        """Everything measured; what could not be is left out."""
        with self._lock:
            frames = {s: f for s, f in sorted(self._frames.items()) if f.received_ns is not None}
            stage_ms = dict(self._stage_ms)
        answered = list(frames.values())
        report: dict[str, Any] = {
            "frames_answered": len(answered),
            "frames_with_hand": sum(bool(f.hands) for f in answered),
        }
        if len(answered) > 1:
            arrivals = sorted(f.received_ns for f in answered if f.received_ns is not None)
            report["fps"] = (len(arrivals) - 1) * 1e9 / (arrivals[-1] - arrivals[0])
        if answered:
            latency = [(f.received_ns - s) * 1e-6 for s, f in frames.items() if f.received_ns]
            report["latency_ms"] = _spread(latency, p50=50, p99=99)
            in_node = [1e3 * f.latency_s for f in answered]
            report["node_latency_ms"] = _spread(in_node, p50=50, p99=99)
        errors = [e for f in answered for e in errors_of(f.hands, f.truth)]
        if errors:
            report["hands_compared"] = len(errors)
            report["root_error_mm"] = _spread([1e3 * e.root_m for e in errors], median=50, p90=90)
            report["root_error_percent"] = _spread([100 * e.root_share for e in errors], median=50)
            report["pa_mpjpe_mm"] = _spread([1e3 * e.pa_mpjpe_m for e in errors], median=50, p90=90)
            vertex = [1e3 * e.pa_mpvpe_m for e in errors if e.pa_mpvpe_m is not None]
            if vertex:
                report["pa_mpvpe_mm"] = _spread(vertex, median=50, p90=90)
        detector = [1e3 * e for f in answered for e in self._detector_errors_m(f)]
        if detector:
            report["mediapipe_pa_mpjpe_mm"] = _spread(detector, median=50, p90=90)
        for key, stage in (("mediapipe_ms", "detection"), ("pipeline_ms", "pipeline")):
            times = {p: stage_ms.get(f"{stage} {p} [ms]") for p in ("p50", "p99")}
            if all(times.values()):
                report[key] = {p: float(t) for p, t in times.items() if t is not None}
        suffix = " p50 [ms]"
        report["stage_ms_p50"] = {
            key.removesuffix(suffix): float(value)
            for key, value in stage_ms.items()
            if key.endswith(suffix)
        }
        shares = [
            share
            for f in answered
            if f.camera_info is not None
            for share in reprojection_percent(f.hands, f.camera_info)
        ]
        if shares:
            report["reprojection_percent"] = _spread(shares, median=50, p90=90)
        return report

    def _detector_errors_m(self, frame: _Frame) -> list[float]:
        """PA-MPJPE of the detector's own 3D landmarks, for the hands that have a truth."""
        cloud, truth = frame.detections, frame.truth
        if cloud is None or not truth or not cloud.width:
            return []
        names = [f.name for f in cloud.fields]
        if "x" not in names:
            return []
        rows = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 21, len(names))
        xyz, side = names.index("x"), names.index("side")
        errors = []
        for hand in rows.astype(float):
            same = [t for t in truth if t.side == int(hand[0, side])]
            if same:
                true = np.asarray(same[0].keypoints, float).reshape(21, 3)
                errors.append(pa_error_m(hand[:, xyz : xyz + 3], true))
        return errors


def reprojection_percent(hands: list[Any], camera_info: Any) -> list[float]:
    """How far each hand's keypoints lie from its landmarks (median), in percent of their box."""
    try:
        camera = camera_from_info(
            camera_info, image_width=camera_info.width, image_height=camera_info.height
        )
    except CameraInfoError:
        return []
    if camera is None:
        return []
    shares = []
    for hand in hands:
        if hand.root_source == RootSource.ASSUMED_CAMERA:
            continue
        landmarks = np.asarray(hand.keypoints_2d, float).reshape(21, 2)
        seen = camera.project(np.asarray(hand.keypoints, float).reshape(21, 3))
        size = float(np.ptp(landmarks, axis=0).max())
        shares.append(100 * float(np.median(np.linalg.norm(seen - landmarks, axis=1))) / size)
    return shares


def errors_of(hands: list[Any], truth: list[Any] | None) -> list[HandError]:
    """Each HandMesh against the true one of its side that is nearest to it."""
    errors = []
    for hand in hands:
        root = _point(hand.root.pose.position)
        same = [t for t in truth or () if t.side == hand.side]
        if not same:
            continue
        distances = [float(np.linalg.norm(_point(t.root.pose.position) - root)) for t in same]
        nearest = int(np.argmin(distances))
        true = same[nearest]
        if distances[nearest] > _SAME_HAND_M:
            continue
        distance_m = float(np.linalg.norm(_point(true.root.pose.position)))
        meshes = [np.asarray(h.vertices, float).reshape(-1, 3) for h in (hand, true)]
        keypoints = [np.asarray(h.keypoints, float).reshape(21, 3) for h in (hand, true)]
        same_topology = hand.hand_model == true.hand_model
        errors.append(
            HandError(
                root_m=distances[nearest],
                root_share=distances[nearest] / distance_m,
                pa_mpjpe_m=pa_error_m(*keypoints),
                pa_mpvpe_m=pa_error_m(*meshes) if same_topology else None,
            )
        )
    return errors


def side_name(hand: Any) -> str:
    """The side of a HandMesh in words."""
    return Side(hand.side).name.lower()


def _point(position: Any) -> np.ndarray:
    return np.array([position.x, position.y, position.z])


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def _spread(values: list[float], **percentiles: int) -> dict[str, float]:
    return {
        name: round(float(np.percentile(values, percentile)), 3)
        for name, percentile in percentiles.items()
    }
