"""Depth, joint states and calibration as the node wires them."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from camera_samples import HEIGHT, PERIOD_NS, START_NS, STORE, WIDTH, camera_info, image
from dds_peers import wait_until
from fake_graph import FakeGraph
from fake_pipeline import FakePipeline
from hand_samples import sample_hand

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.hand_calibration import load_calibrations
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.ros.calibration_service import CalibrationService
from hand_mesh_ros.ros.camera_node import depth_message
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.types import Result

DEPTH = np.full((HEIGHT, WIDTH), 0.5, np.float32)
MODEL = load_open_hand()


class OpenHandPipeline(FakePipeline):
    """Shows hands of the open hand's model, unsmoothed ones included."""

    def __init__(self):
        super().__init__()
        self.hand_model = MODEL

    def process(self, frame):
        return replace(super().process(frame), unsmoothed_hands=tuple(self.hands))


@pytest.fixture
def wired():
    graph, pipeline = FakeGraph(STORE), OpenHandPipeline()
    node = HandMeshNode(graph, NodeParameters(), pipeline, store=STORE)
    node.activate()
    graph.send("camera_info", camera_info())
    yield graph, pipeline, node
    node.close()


def send(graph, node, stamp_ns=START_NS):
    graph.send("image", image(stamp_ns))
    assert node.wait_until_idle(10.0)


def open_hand(side=Side.RIGHT, **changes):
    vertices = np.random.default_rng(0).normal(0.0, 0.05, (len(MODEL.template_m), 3))
    return sample_hand(side, vertices_m=vertices, hand_model=MODEL.name, **changes)


def test_depth_of_the_same_time_reaches_the_pipeline(wired):
    graph, pipeline, node = wired
    graph.send("depth/camera_info", camera_info())
    graph.send("depth", depth_message(STORE, DEPTH, START_NS + 3_000_000, "cam", "16UC1"))
    send(graph, node)
    np.testing.assert_allclose(pipeline.frames[0].depth_m, 0.5, rtol=1e-6)
    send(graph, node, START_NS + PERIOD_NS)  # its own depth does not come
    assert pipeline.frames[1].depth_m is None


@pytest.mark.parametrize(
    ("depth", "frame_id", "info", "words"),
    [
        (DEPTH[:-1], "cam", None, f"{WIDTH} x {HEIGHT - 1} pixels"),
        (DEPTH, "infrared", None, "frame 'infrared'"),
        (DEPTH, "cam", {"k": np.array([40.0, 0, 32, 0, 40, 24, 0, 0, 1])}, "another lens"),
    ],
)
def test_depth_that_is_not_aligned_is_refused_with_a_line_and_the_image_used(
    wired, caplog, depth, frame_id, info, words
):
    graph, pipeline, node = wired
    if info is not None:
        graph.send("depth/camera_info", camera_info(**info))
    graph.send("depth", depth_message(STORE, depth, START_NS, frame_id, "32FC1"))
    send(graph, node)
    assert pipeline.frames[0].depth_m is None
    (line,) = [r.getMessage() for r in caplog.records if "depth refused" in r.getMessage()]
    assert words in line
    assert "aligned" in line


def test_bytes_that_are_no_depth_image_are_left(wired, caplog):
    graph, pipeline, node = wired
    graph.send("depth", b"\x00\x01")
    send(graph, node)
    assert pipeline.frames[0].depth_m is None
    assert any("depth refused" in r.getMessage() for r in caplog.records)


def test_joint_states_are_sent_while_somebody_listens(wired):
    graph, pipeline, node = wired
    pipeline.hands = (open_hand(Side.LEFT, track_id=1), open_hand(track_id=2, seed=1))
    send(graph, node)
    assert graph.messages("hand_joint_states") == []
    graph.publishers["hand_joint_states"].subscriber_count = 1
    send(graph, node, START_NS + PERIOD_NS)
    (states,) = graph.messages("hand_joint_states")
    assert len(states.name) == len(states.position) == 42
    assert "left_index_pip_flexion" in states.name
    assert "right_thumb_ip_flexion" in states.name
    pipeline.hands = ()
    send(graph, node, START_NS + 2 * PERIOD_NS)
    assert len(graph.messages("hand_joint_states")) == 1  # no hand, no angles: never zeros


def calibration(path=None, **changes):
    used = []
    service = CalibrationService(
        MODEL, used.append, path=path, log=FakeGraph(STORE).log, frames=10, **changes
    )
    return service, used


def result(*hands):
    return Result(START_NS, "cam", hands, unsmoothed_hands=hands)


def answers_of(service):
    """A list that will hold the answer of a call that begins now."""
    answers = []
    caller = threading.Thread(target=lambda: answers.append(service.serve()), daemon=True)
    caller.start()
    wait_until(lambda: service._calibrator is not None, "the call")
    return answers


def test_calibration_is_used_and_stored_after_enough_frames(tmp_path):
    path = tmp_path / "hands.yaml"
    service, used = calibration(path)
    hand = open_hand(Side.LEFT, root_source=RootSource.DEPTH)
    service.observe(result(hand))  # nobody asked yet
    answers = answers_of(service)
    assert service.serve() == (False, "a calibration is going on already")
    for _ in range(9):
        service.observe(result(hand))
    assert used == []
    service.observe(result(hand))
    wait_until(lambda: answers, "the answer")
    ((worked, text),) = answers
    assert worked
    length_mm = 1e3 * MODEL.hand_length_m(hand.shape)
    stddev_mm = 1e3 * used[0][Side.LEFT].hand_length_stddev_m
    assert text.startswith(
        f"left hand {length_mm:.0f} mm +- {stddev_mm:.0f} mm long (10 frames, by depth)"
    )
    ((side, found),) = used[0].items()
    assert side is Side.LEFT
    np.testing.assert_allclose(found.shape, hand.shape)
    np.testing.assert_allclose(
        load_calibrations(path, MODEL)[Side.LEFT].shape, hand.shape, atol=1e-5
    )


def test_calibration_without_hands_or_images_fails_with_advice():
    service, used = calibration(timeout_s=0.0)
    answers = answers_of(service)
    service.observe(result())
    wait_until(lambda: answers, "the answer")
    assert not answers[0][0]
    assert "too few frames" in answers[0][1]
    worked, text = calibration(timeout_s=-1.0)[0].serve()
    assert (worked, text) == (False, "no image came in -1 s")
    assert used == []


def test_calibration_that_cannot_be_stored_is_used_and_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    service, used = calibration(tmp_path / "file" / "hands.yaml")
    answers = answers_of(service)
    for _ in range(10):
        service.observe(result(open_hand()))
    wait_until(lambda: answers, "the answer")
    assert not answers[0][0]
    assert "in use, but not stored" in answers[0][1]
    assert len(used) == 1


def test_the_node_offers_the_service_and_the_pipeline_gets_the_calibration(wired):
    graph, pipeline, node = wired
    pipeline.hands = (open_hand(),)
    answers = []
    caller = threading.Thread(target=lambda: answers.append(graph.call("~/calibrate_hand")))
    caller.start()
    wait_until(lambda: node._calibration._calibrator is not None, "the call")
    for i in range(60):
        send(graph, node, START_NS + i * PERIOD_NS)
    caller.join(10.0)
    assert answers[0][0]
    assert "not stored" in answers[0][1]
    assert set(pipeline.calibrations) == {Side.RIGHT}
