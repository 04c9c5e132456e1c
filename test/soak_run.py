"""Many frames through one node: what grows, what slows down, and who is who."""

from __future__ import annotations

import collections
import struct
import time
from dataclasses import dataclass, replace

import numpy as np
import psutil
from camera_samples import STORE, camera_info
from fake_graph import FakeGraph
from recorded_hands import RATE_HZ, RecordedHands

from hand_mesh_ros.assembly import build_reconstructor, build_smoother
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.ros.messages import image_message
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.sources.base import NS_PER_S, nominal_stamp_ns
from hand_mesh_ros.tracking import Tracker

START_NS = 1_700_000_000_000_000_000
WIDTH, HEIGHT = 320, 240
WARM_UP = 0.01
"""Share of the frames after which memory counts..."""
LEAST_WARM_UP = 2000
"""...but never fewer than so many."""
_SAMPLE_EVERY = 1000


class SoakError(AssertionError):
    """Something was published that must never be."""


@dataclass(frozen=True)
class SoakResult:
    """What a soak showed."""

    frames: int
    seconds: float
    hands: int
    """Published, over all frames."""
    track_ids: int
    """Different ones."""
    warm_rss_mb: float
    highest_rss_mb: float
    """After the warm-up."""
    wall_p99_ms: tuple[float, float]
    """Of a frame from bytes to published bytes: first tenth (after the warm-up), last tenth."""
    cpu_p99_ms: tuple[float, float]
    """Likewise, of the process' own time, which other programs of the machine disturb less."""

    @property
    def growth_mb(self) -> float:
        """Memory above that after the warm-up."""
        return self.highest_rss_mb - self.warm_rss_mb


class _LastOnlyGraph(FakeGraph):
    """Keeps the last message of each topic, and hears nobody but joint states and markers."""

    def publisher(self, topic, type_name, qos):
        publisher = super().publisher(topic, type_name, qos)
        publisher.sent = collections.deque(maxlen=1)
        publisher.subscriber_count = int(topic in ("hand_markers", "hand_joint_states"))
        return publisher


class _Identities:
    """Follows ids through their lives; raises SoakError where one is used twice."""

    def __init__(self, lost_timeout_s):
        self._timeout_ns = round(lost_timeout_s * NS_PER_S)
        self._alive = {}  # id -> (which hand, stamp)
        self._dead_up_to = 0
        self.count = 0

    def see(self, hands, stamp_ns):
        """Take the hands of one image: (id, which hand of the truth)."""
        ids = [track_id for track_id, _ in hands]
        if len(set(ids)) < len(ids):
            raise SoakError(f"two hands of one image have the ids {ids}")
        for track_id, (_, seen_ns) in tuple(self._alive.items()):
            if stamp_ns - seen_ns > self._timeout_ns:
                del self._alive[track_id]
                self._dead_up_to = max(self._dead_up_to, track_id)
        for track_id, which in hands:
            if track_id not in self._alive:
                self.count += 1
                if track_id <= self._dead_up_to:
                    raise SoakError(f"id {track_id} was used before, and is used again")
            elif self._alive[track_id][0] != which:
                raise SoakError(f"id {track_id} went over to the other hand")
            self._alive[track_id] = which, stamp_ns


def soak(num_frames: int, *, max_seconds: float = float("inf"), seed: int = 0, progress=iter):
    """Send frames one by one, each when the last has been published; raises SoakError.

    Args:
        num_frames: at 30 Hz of image time.
        max_seconds: end earlier after that time.
        seed: of noise, and of when hands come and go.
        progress: wraps the iterable of frame numbers.
    """
    # A machine with other things to do may leave the process alone for a while.
    parameters = NodeParameters(stale_timeout_s=60.0)
    detector = RecordedHands(width=WIDTH, height=HEIGHT, start_ns=START_NS, seed=seed)
    reconstructor = build_reconstructor(parameters)
    pipeline = Pipeline(
        detector=detector,
        tracker=Tracker(max_gap_s=parameters.lost_hand_timeout_s),
        reconstructor=reconstructor,
        smoother=build_smoother(parameters, reconstructor.hand_model),
    )
    graph = _LastOnlyGraph(STORE)
    node = HandMeshNode(graph, parameters, pipeline, store=STORE)
    node.activate()
    try:
        return _Run(graph, node, detector, parameters).send(num_frames, max_seconds, progress)
    finally:
        node.close()


class _Run:
    def __init__(self, graph, node, detector, parameters):
        self._graph, self._node, self._detector = graph, node, detector
        self._identities = _Identities(parameters.lost_hand_timeout_s)
        blank = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
        self._image = STORE.encode(image_message(STORE, blank, START_NS, "cam"))
        info = camera_info(width=WIDTH, height=HEIGHT, k=detector.camera.K.reshape(9))
        graph.send("camera_info", info)

    def send(self, num_frames, max_seconds, progress):
        # Filled, so that their memory is there from the start.
        wall_s, cpu_s = np.full(num_frames, np.nan), np.full(num_frames, np.nan)
        process = psutil.Process()
        warm_up = min(max(round(WARM_UP * num_frames), LEAST_WARM_UP), num_frames // 2)
        rss, warm_rss, hands, done = [], 0, 0, 0
        start_s = time.monotonic()
        for index in progress(range(num_frames)):
            stamp_ns = nominal_stamp_ns(index, RATE_HZ, START_NS)
            wall, cpu = time.perf_counter(), time.process_time()
            self._send(stamp_ns)
            wall_s[index], cpu_s[index] = time.perf_counter() - wall, time.process_time() - cpu
            hands += self._check(stamp_ns)
            done = index + 1
            if done == warm_up:
                warm_rss = process.memory_info().rss
            if done >= warm_up and done % _SAMPLE_EVERY == 0:
                rss.append(process.memory_info().rss)
            if time.monotonic() - start_s > max_seconds:
                break
        rss.append(process.memory_info().rss)
        tenth = max((done - warm_up) // 10, 1)
        spans = slice(warm_up, warm_up + tenth), slice(done - tenth, done)
        return SoakResult(
            frames=done,
            seconds=time.monotonic() - start_s,
            hands=hands,
            track_ids=self._identities.count,
            warm_rss_mb=warm_rss / 1e6,
            highest_rss_mb=max(rss) / 1e6,
            wall_p99_ms=tuple(float(1e3 * np.percentile(wall_s[s], 99)) for s in spans),
            cpu_p99_ms=tuple(float(1e3 * np.percentile(cpu_s[s], 99)) for s in spans),
        )

    def _send(self, stamp_ns):
        seconds, nanoseconds = divmod(stamp_ns, NS_PER_S)
        stamp = struct.pack("<iI", seconds, nanoseconds)
        self._graph.send("image", self._image[:4] + stamp + self._image[12:])
        if not self._node.wait_until_idle(10.0):
            raise SoakError("a frame took more than 10 s")

    def _check(self, stamp_ns):
        """Hold what was published against the truth; the value is the number of hands."""
        (array,) = self._graph.messages("hand_meshes")
        stamp = array.header.stamp.sec * NS_PER_S + array.header.stamp.nanosec
        if stamp != stamp_ns:
            raise SoakError(f"the image of {stamp_ns} ns was not published")
        found = []
        for hand in array.hands:
            numbers = (hand.keypoints, hand.vertices, hand.root.covariance)
            if not all(np.isfinite(values).all() for values in numbers):
                raise SoakError(f"hand {hand.track_id} has numbers that are not finite")
            is_left = float(np.mean(hand.keypoints_2d[::2])) > 0.5 * WIDTH
            if is_left != (hand.side == 0):
                raise SoakError(f"hand {hand.track_id} has the wrong side")
            if not self._detector.seen[is_left]:
                raise SoakError(f"hand {hand.track_id} was published, and is not there")
            found.append((hand.track_id, is_left))
        self._identities.see(found, stamp_ns)
        return len(found)


def without_times(result: SoakResult) -> SoakResult:
    """The part of a result that equal frames make equal."""
    nothing = (0.0, 0.0)
    return replace(
        result,
        seconds=0.0,
        warm_rss_mb=0.0,
        highest_rss_mb=0.0,
        wall_p99_ms=nothing,
        cpu_p99_ms=nothing,
    )
