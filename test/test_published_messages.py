"""Whatever detectors, networks and cameras do, no message has a number that a robot must not get.

Hostile hands go through the node, hostile detections and meshes through the whole pipeline; every
message of every topic is then decoded and searched. `/diagnostics` has the time of its report.
"""

import dataclasses
import logging
import math
from collections.abc import Sequence

import numpy as np
import pytest
from camera_samples import HEIGHT, STORE, WIDTH, camera_info, image
from fake_graph import FakeGraph
from fake_pipeline import FakePipeline
from hand_samples import sample_hand

pytest.importorskip("hypothesis", reason="properties need hypothesis: pip install .[dev]")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hand_mesh_ros.assembly import build_safety, build_smoother
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.tracking import Tracker
from hand_mesh_ros.types import Detection, Hand, Reconstruction

OPEN_HAND = load_open_hand()
CLOCK_NS = FakeGraph.clock_ns
SECOND_NS = 1_000_000_000
ODD = (math.nan, math.inf, -math.inf, 1e39, -1e308, 1e19, 0.0, -0.0, 5e-324, 1e-9, -1.0, 1e3)
RUN = settings(
    report_multiple_bugs=False,
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is wanted here

odd_numbers = st.sampled_from(ODD) | st.floats(width=64)
stamps_ns = st.one_of(
    st.integers(1, (2**31 - 1) * SECOND_NS),  # all that a message can say
    st.integers(CLOCK_NS - 3600 * SECOND_NS, CLOCK_NS + 3600 * SECOND_NS),
    st.just(CLOCK_NS),
)


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# The search -------------------------------------------------------------------------------------


def problems(value, where=""):
    """Numbers that are not finite and quaternions that are not of unit length, by their place."""
    if isinstance(value, float):
        return [] if math.isfinite(value) else [f"{where} is {value}"]
    if isinstance(value, np.ndarray):
        is_fine = value.dtype.kind != "f" or np.isfinite(value).all()
        return [] if is_fine else [f"{where} is not finite"]
    if dataclasses.is_dataclass(value):
        found = []
        if value.__msgtype__ == "sensor_msgs/msg/PointCloud2":
            found += problems(value.data.view(np.float32), f"{where}.data")
        if value.__msgtype__ == "geometry_msgs/msg/Quaternion":
            length = math.hypot(value.x, value.y, value.z, value.w)
            found += [] if abs(length - 1.0) < 1e-6 else [f"{where} has length {length}"]
        for field in dataclasses.fields(value):
            found += problems(getattr(value, field.name), f"{where}.{field.name}")
        return found
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and getattr(value[0], "__msgtype__", "") == "geometry_msgs/msg/Point":
            return problems(np.array([(p.x, p.y, p.z) for p in value]), where)  # thousands
        return [p for i, item in enumerate(value) for p in problems(item, f"{where}[{i}]")]
    return []


def stamps(value):
    """Stamps of all headers in a message."""
    if dataclasses.is_dataclass(value):
        if value.__msgtype__ == "std_msgs/msg/Header":
            return {value.stamp.sec * SECOND_NS + value.stamp.nanosec}
        if value.__msgtype__ == "sensor_msgs/msg/CompressedImage" and not len(value.data):
            return set()  # the texture that a marker does not have
        return {s for f in dataclasses.fields(value) for s in stamps(getattr(value, f.name))}
    if isinstance(value, Sequence) and value and dataclasses.is_dataclass(value[0]):
        if value[0].__msgtype__ == "geometry_msgs/msg/Point":
            return set()
        return {s for item in value for s in stamps(item)}
    return set()


def test_the_search_finds_what_it_looks_for():
    quaternion = STORE.type("geometry_msgs/msg/Quaternion")
    assert problems(quaternion(0.0, 0.0, 0.0, 0.0), "q") == ["q has length 0.0"]
    assert problems(quaternion(0.0, 0.0, 0.0, 1.0), "q") == []
    assert problems([np.array([1.0, np.nan])], "v") == ["v[0] is not finite"]
    assert stamps([image(7), image(8)]) == {7, 8}


class Node:
    """A node whose every message is searched."""

    def __init__(self, pipeline, **parameters):
        self.graph = FakeGraph(STORE)
        # However slow the machine is, no hand vanishes for want of images.
        self.parameters = NodeParameters(stale_timeout_s=60.0, **parameters)
        self.node = HandMeshNode(self.graph, self.parameters, pipeline, store=STORE)
        self.node.activate()
        self.graph.send("camera_info", camera_info())
        for publisher in self.graph.publishers.values():
            publisher.subscriber_count = 1
        self.sent_ns = set()

    def see(self, stamp_ns):
        """Send an image of that time."""
        self.sent_ns.add(stamp_ns)
        self.graph.send("image", image(stamp_ns))
        assert self.node.wait_until_idle(10.0)

    def check(self):
        """Search everything that was published, and forget it; returns the number of hands."""
        self.node.publish_diagnostics()
        hands = 0
        for topic, publisher in self.graph.publishers.items():
            for message in self.graph.messages(topic):
                assert problems(message, topic) == []
                if topic not in ("/diagnostics", "hand_topology"):
                    found = stamps(message)
                    assert found <= self.sent_ns, f"{topic}: a stamp of no image"
                    limit_ns = CLOCK_NS + round(1e9 * self.parameters.safety_max_future_s)
                    assert all(s <= limit_ns for s in found), f"{topic}: a stamp in the future"
                hands += topic == "hand_mesh"
            publisher.sent.clear()
        return hands


# Hostile hands ----------------------------------------------------------------------------------

VERTICES_M = sample_hand().keypoints_m.mean(axis=0) + 0.2 * OPEN_HAND.template_m


def good_hand(**changes):
    values = {"vertices_m": VERTICES_M, "keypoint_stddev_m": np.full(21, 0.004), **changes}
    return sample_hand(**values)


ARRAYS = [
    field.name
    for field in dataclasses.fields(Hand)
    if isinstance(getattr(good_hand(), field.name), np.ndarray)
]
NUMBERS = ("side_score", "score", "grasp_aperture_m")


@st.composite
def hostile_hands(draw):
    """A hand with a few numbers that nobody ordered; sometimes with none, which must pass."""
    side, track_id = draw(st.sampled_from(list(Side))), draw(st.integers(0, 3))
    hand = good_hand(side=side, track_id=track_id)
    changes = {}
    for name in draw(st.lists(st.sampled_from([*ARRAYS, *NUMBERS]), max_size=3)):
        value = draw(odd_numbers)
        if name in ARRAYS:
            array = changes.get(name, getattr(hand, name)).copy()
            where = draw(st.integers(0, array.size - 1)) if draw(st.booleans()) else slice(None)
            array.reshape(-1)[where] = value
            value = array
        changes[name] = value
    return dataclasses.replace(hand, **changes)


@pytest.fixture(scope="module")
def fed_node():
    pipeline = FakePipeline()
    pipeline.hand_model = OPEN_HAND
    node = Node(pipeline)
    node.pipeline = pipeline
    yield node
    node.node.close()


@RUN
@given(hands=st.lists(hostile_hands(), max_size=3), stamp_ns=stamps_ns)
def test_no_hostile_hand_gets_out_of_the_node(fed_node, hands, stamp_ns):
    fed_node.pipeline.hands = tuple(hands)
    fed_node.see(stamp_ns)
    fed_node.check()


def test_good_hands_do_get_out(fed_node):
    """Or the property above would hold for a node that is silent."""
    fed_node.pipeline.hands = (good_hand(track_id=9),)
    fed_node.see(CLOCK_NS - 17)
    sent = {topic for topic, p in fed_node.graph.publishers.items() if p.sent}
    seldom = {"/diagnostics", "hand_topology", "hand_hypotheses"}  # none of them is about one hand
    assert sent | seldom == set(fed_node.graph.publishers)
    assert fed_node.check() == 1


def test_an_image_from_the_future_is_refused_and_leaves_no_trace(fed_node):
    fed_node.pipeline.hands = (good_hand(track_id=9),)
    fed_node.see(CLOCK_NS - 16)
    resets = fed_node.pipeline.resets
    fed_node.see(CLOCK_NS + 3600 * SECOND_NS)
    fed_node.see(CLOCK_NS - 15)
    assert fed_node.check() == 2
    assert fed_node.pipeline.resets == resets


# Hostile detectors and networks -----------------------------------------------------------------


class HostileDetector:
    """Sees what it is told."""

    def __init__(self):
        self.detections = []

    def detect(self, image_rgb, stamp_ns):
        return list(self.detections)

    def reset(self):
        pass

    def close(self):
        pass


class HostileReconstructor:
    """Answers what it is told, or with the hand that the landmarks were made of."""

    name, back_end = "hostile", "none"

    def __init__(self):
        self.hand_model, self.changes = OPEN_HAND, {}

    def use_calibrations(self, calibrations):
        pass

    def reset(self):
        pass

    def reconstruct(self, frame, tracks):
        return [dataclasses.replace(GOOD, **self.changes) for _ in tracks]


def _good():
    pose = np.zeros(48)
    posed = OPEN_HAND.pose_hand(pose, np.zeros(10))
    return Reconstruction(
        vertices_m=posed.vertices_m,
        keypoints_m=OPEN_HAND.keypoints(posed, np.zeros(10), "detector"),
        joints_m=np.zeros((16, 3)),
        R_camera_hand=np.eye(3),
        pose=pose,
        shape=np.zeros(10),
        rotation_covariance=0.01 * np.eye(3),
        size_stddev=0.06,
        t_camera_wrist_guess=np.array([0.0, 0.0, 0.5]),
        depth_stddev=0.02,
        keypoint_stddev_m=np.full(21, 0.004),
    )


GOOD = _good()
_SHAPES = {
    f.name: np.shape(getattr(GOOD, f.name))
    for f in dataclasses.fields(Reconstruction)
    if isinstance(getattr(GOOD, f.name), (np.ndarray, float))
}


@st.composite
def hostile_changes(draw):
    """Fields of a reconstruction with numbers that no hand has."""
    changes = {}
    for name in draw(st.lists(st.sampled_from(sorted(_SHAPES)), max_size=2)):
        value = draw(odd_numbers)
        if _SHAPES[name]:
            array = np.array(getattr(GOOD, name), float)
            where = draw(st.integers(0, array.size - 1)) if draw(st.booleans()) else slice(None)
            array.reshape(-1)[where] = value
            value = array
        changes[name] = value
    return changes


@st.composite
def hostile_detections(draw):
    """Landmarks of the good hand, or some that lie anywhere; scores of any kind."""
    scale, shift = draw(st.floats(0.5, 2.0)), draw(st.floats(-20.0, 20.0))
    z = GOOD.keypoints_m[:, 2:] + 0.5 * scale
    keypoints_px = 50.0 * GOOD.keypoints_m[:, :2] / z + [WIDTH / 2 + shift, HEIGHT / 2]
    for _ in range(draw(st.integers(0, 2))):
        keypoints_px[draw(st.integers(0, 20))] = draw(odd_numbers)
    if draw(st.integers(0, 9)) == 0:
        keypoints_px[:] = draw(odd_numbers)
    box = np.concatenate([keypoints_px.min(0), keypoints_px.max(0)])
    side, sure = draw(st.sampled_from(list(Side))), draw(st.floats(0.5, 1.0))
    return Detection(side, sure, draw(st.floats(0.0, 1.0)), keypoints_px, None, box)


@pytest.fixture(scope="module", params=["hold", "mark", "off"])
def whole_node(request):
    parameters = {"safety_action": request.param}
    node_parameters = NodeParameters(**parameters)
    pipeline = Pipeline(
        detector=HostileDetector(),
        tracker=Tracker(),
        reconstructor=HostileReconstructor(),
        smoother=build_smoother(node_parameters, OPEN_HAND),
        safety=build_safety(node_parameters, OPEN_HAND),
    )
    node = Node(pipeline, **parameters)
    node.pipeline, node.stamp_ns = pipeline, CLOCK_NS - 10**6 * SECOND_NS
    yield node
    node.node.close()


@RUN
@given(data=st.data())
def test_no_hostile_network_gets_through_the_pipeline(whole_node, data):
    pipeline = whole_node.pipeline
    for _ in range(2):
        pipeline.detector.detections = data.draw(st.lists(hostile_detections(), max_size=2))
        pipeline.reconstructor.changes = data.draw(hostile_changes())
        whole_node.stamp_ns += data.draw(st.sampled_from([1, 10**6, 33 * 10**6, 10**9]))
        whole_node.see(whole_node.stamp_ns)
        whole_node.check()


def test_a_good_network_does_get_through(whole_node):
    pipeline = whole_node.pipeline
    pipeline.reconstructor.changes = {}
    whole_node.stamp_ns += 10 * SECOND_NS
    z = GOOD.keypoints_m[:, 2:] + 0.5
    keypoints_px = 50.0 * GOOD.keypoints_m[:, :2] / z + [WIDTH / 2, HEIGHT / 2]
    box = np.concatenate([keypoints_px.min(0), keypoints_px.max(0)])
    pipeline.detector.detections = [Detection(Side.RIGHT, 0.95, 0.9, keypoints_px, None, box)]
    whole_node.see(whole_node.stamp_ns)
    assert whole_node.check() == 1
