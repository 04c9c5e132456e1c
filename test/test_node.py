import logging
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
from camera_samples import HEIGHT, PERIOD_NS, START_NS, STORE, WIDTH, camera_info, image, stamp_ns
from dds_peers import wait_until
from fake_graph import FakeGraph
from fake_pipeline import FakePipeline
from hand_samples import sample_hand

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.ros.messages import header
from hand_mesh_ros.ros.newest_only import NewestOnly
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.ros.throttled_log import ThrottledLog


class Bench:
    """A node between a fake graph and a fake pipeline."""

    def __init__(self, **parameters):
        self.graph, self.pipeline = FakeGraph(STORE), FakePipeline()
        self.parameters = NodeParameters(**parameters)
        self.node = HandMeshNode(self.graph, self.parameters, self.pipeline, store=STORE)
        self.node.activate()
        self.graph.publishers["hand_markers"].subscriber_count = 1

    def send_image(self, stamp_ns=START_NS, frame_id="cam", **changes):
        """Send an image and wait until the node has dealt with it."""
        message = image(stamp_ns, frame_id)
        for name, value in changes.items():
            setattr(message, name, value)
        self.graph.send("image", message)
        assert self.node.wait_until_idle(10.0)

    def send_info(self, **changes):
        self.graph.send("camera_info", camera_info(**changes))

    def count(self, topic):
        return len(self.graph.publishers[topic].sent)

    def diagnostics(self):
        """(level, message, values) of a fresh report."""
        self.node.publish_diagnostics()
        status = self.graph.messages("/diagnostics")[-1].status[0]
        return status.level, status.message, {v.key: v.value for v in status.values}


@pytest.fixture
def bench():
    yield from _bench()


@pytest.fixture
def calibrated(bench):
    bench.send_info()
    return bench


def _bench(**parameters):
    bench = Bench(**parameters)
    yield bench
    bench.pipeline.gate.set()
    bench.node.close()


ADD, DELETE = 0, 2
INPUTS = ["camera_info", "depth", "depth/camera_info", "image"]


def last_markers(bench):
    """Stamp, and track and action, of what was drawn last."""
    markers = bench.graph.messages("hand_markers")[-1].markers
    return stamp_ns(markers[0]), {(m.id, m.action) for m in markers}


def workers():
    return sum(t.name == "hand_mesh worker" for t in threading.enumerate())


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# Several hands that one may be ------------------------------------------------------------------


def test_hypotheses_are_sent_and_drawn_by_their_probability():
    bench = Bench(num_hypotheses=4)
    bench.send_info()
    hand = sample_hand(track_id=7)
    bench.pipeline.hands = (hand,)
    bench.pipeline.hypotheses = (replace(hand, score=0.75), replace(hand, score=0.25))
    bench.send_image(START_NS)
    (array,) = bench.graph.messages("hand_hypotheses")
    assert [(h.track_id, round(h.score, 3)) for h in array.hands] == [(7, 0.75), (7, 0.25)]
    assert stamp_ns(array) == START_NS
    drawn = bench.graph.messages("hand_markers")[-1].markers[4:]
    assert {m.ns for m in drawn} == {"hand_hypotheses"}
    assert len({m.id for m in drawn}) == 2
    assert 1.0 > drawn[0].color.a > drawn[1].color.a > 0.0
    assert len(bench.graph.messages("hand_meshes")[0].hands) == 1
    bench.node.close()


def test_hypotheses_without_numbers_are_not_sent():
    bench = Bench(num_hypotheses=2)
    bench.send_info()
    hand = sample_hand(track_id=7)
    broken = replace(hand, vertices_m=np.full_like(hand.vertices_m, np.nan))
    bench.pipeline.hands, bench.pipeline.hypotheses = (hand,), (hand, broken)
    bench.send_image(START_NS)
    (array,) = bench.graph.messages("hand_hypotheses")
    assert len(array.hands) == 1
    bench.node.close()


def test_one_hypothesis_sends_none(calibrated):
    calibrated.pipeline.hands = (sample_hand(track_id=1),)
    calibrated.send_image(START_NS)
    assert calibrated.count("hand_hypotheses") == 0


# Wiring ---------------------------------------------------------------------------------------


def test_topics_types_and_qos(bench):
    publishers = bench.graph.publishers
    assert {t: p.type_name.rpartition("/")[2] for t, p in publishers.items()} == {
        "hand_meshes": "HandMeshArray",
        "hand_mesh": "HandMesh",
        "hand_hypotheses": "HandMeshArray",
        "hand_topology": "HandTopology",
        "/tf": "TFMessage",
        "hand_joint_states": "JointState",
        "hand_markers": "MarkerArray",
        "hand_detections": "PointCloud2",
        "hand_overlay": "Image",
        "image_preview/compressed": "CompressedImage",
        "/diagnostics": "DiagnosticArray",
    }
    assert publishers["hand_topology"].qos.durability == "transient_local"
    type_name, qos, _ = bench.graph.subscriptions["image"]
    assert (type_name, qos.reliability, qos.depth) == ("sensor_msgs/msg/Image", "best_effort", 1)
    assert bench.graph.subscriptions["camera_info"][1].reliability == "best_effort"


def test_topology_is_sent_once_at_the_start(bench):
    (topology,) = bench.graph.messages("hand_topology")
    assert topology.hand_model == "test_hand"
    bench.send_image()
    assert bench.count("hand_topology") == 1


def test_everything_carries_the_images_stamp_and_frame(calibrated):
    bench = calibrated
    for topic in ("hand_detections", "hand_overlay", "image_preview/compressed"):
        bench.graph.publishers[topic].subscriber_count = 1
    bench.pipeline.hands = (sample_hand(Side.LEFT, track_id=1), sample_hand(track_id=2, seed=1))
    bench.send_image(START_NS + 5, "left_camera_optical_frame")
    array = bench.graph.messages("hand_meshes")[0]
    meshes = bench.graph.messages("hand_mesh")
    assert [h.track_id for h in array.hands] == [h.track_id for h in meshes] == [1, 2]
    stamped = [
        *(array, *array.hands, *meshes),
        *bench.graph.messages("/tf")[0].transforms,
        *bench.graph.messages("hand_markers")[0].markers,
        *bench.graph.messages("hand_detections"),
        *bench.graph.messages("hand_overlay"),
        *bench.graph.messages("image_preview/compressed"),
    ]
    assert len(stamped) == 5 + 4 + 8 + 3
    assert {stamp_ns(m) for m in stamped} == {START_NS + 5}
    assert {m.header.frame_id for m in stamped} == {"left_camera_optical_frame"}
    assert array.latency.sec == 0
    assert array.latency.nanosec > 0


def test_the_pipeline_gets_the_pixels_and_the_camera(calibrated):
    calibrated.send_image()
    (frame,) = calibrated.pipeline.frames
    np.testing.assert_array_equal(frame.image.ravel(), image().data)
    np.testing.assert_array_equal(frame.camera.K, [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    assert not frame.camera.assumed
    assert (frame.stamp_ns, frame.frame_id) == (START_NS, "cam")


def test_compressed_images():
    for bench in _bench(image_transport="compressed", image_reliability="reliable"):
        assert "image" not in bench.graph.subscriptions
        assert bench.graph.subscriptions["image/compressed"][1].reliability == "reliable"
        bench.send_info()
        pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        message = STORE.type("sensor_msgs/msg/CompressedImage")(
            header=header(STORE, START_NS, "cam"),
            format="png",
            data=cv2.imencode(".png", pixels[..., ::-1])[1].ravel(),
        )
        bench.graph.send("image/compressed", message)
        assert bench.node.wait_until_idle(10.0)
        np.testing.assert_array_equal(bench.pipeline.frames[0].image, pixels)


def test_pictures_nobody_looks_at_are_not_made(calibrated):
    bench = calibrated
    bench.graph.publishers["hand_markers"].subscriber_count = 0
    bench.pipeline.hands = (sample_hand(),)
    bench.send_image()
    assert bench.count("hand_mesh") == 1
    for topic in ("hand_markers", "hand_detections", "hand_overlay", "image_preview/compressed"):
        assert bench.count(topic) == 0, topic


def test_live_parameters_count_from_the_next_frame(calibrated):
    bench = calibrated
    bench.pipeline.hands = (sample_hand(),)
    bench.node.parameters = bench.parameters.changed({"tf_prefix": "op_"})
    bench.send_image(START_NS)
    children = [t.child_frame_id for t in bench.graph.messages("/tf")[0].transforms]
    assert children == ["op_right_hand_root", "op_right_hand_grasp"]
    bench.node.parameters = bench.parameters.changed(
        {"publish_tf": False, "publish_markers": False}
    )
    bench.send_image(START_NS + PERIOD_NS)
    assert (bench.count("hand_mesh"), bench.count("/tf"), bench.count("hand_markers")) == (2, 1, 1)


def test_close_stops_the_worker_and_later_images_are_ignored(calibrated):
    on_image = calibrated.graph.subscriptions["image"][2]
    calibrated.node.close()
    calibrated.node.close()
    on_image(memoryview(STORE.encode(image())))  # was on its way
    assert calibrated.node.wait_until_idle(10.0)
    assert calibrated.pipeline.frames == []
    assert calibrated.pipeline.closed
    assert calibrated.graph.subscriptions == {}
    assert workers() == 0


# Hands that come and go -----------------------------------------------------------------------


def test_a_lost_hand_leaves_an_empty_array_no_tf_and_deleted_markers(calibrated):
    bench = calibrated
    bench.pipeline.hands = (sample_hand(Side.LEFT, track_id=1), sample_hand(track_id=2))
    bench.send_image(START_NS)
    bench.pipeline.hands = (sample_hand(track_id=2),)
    bench.send_image(START_NS + PERIOD_NS)
    bench.pipeline.hands = ()
    bench.send_image(START_NS + 2 * PERIOD_NS)
    bench.send_image(START_NS + 3 * PERIOD_NS)

    hands = [[h.track_id for h in m.hands] for m in bench.graph.messages("hand_meshes")]
    assert hands == [[1, 2], [2], [], []]
    children = [[t.child_frame_id for t in m.transforms] for m in bench.graph.messages("/tf")]
    right = ["right_hand_root", "right_hand_grasp"]
    assert children == [["left_hand_root", "left_hand_grasp", *right], right]
    markers = [
        (sorted({(m.id, m.action) for m in array.markers}), stamp_ns(array.markers[0]) - START_NS)
        for array in bench.graph.messages("hand_markers")
    ]
    add, delete = 0, 2
    assert markers == [
        ([(1, add), (2, add)], 0),
        ([(1, delete)], PERIOD_NS),
        ([(2, add)], PERIOD_NS),
        ([(2, delete)], 2 * PERIOD_NS),
    ]


def test_minutes_without_a_hand(calibrated):
    bench = calibrated
    num_frames = 3 * 60 * 2  # three minutes at 2 Hz
    for i in range(num_frames):
        bench.send_image(START_NS + i * 500_000_000)
    arrays = bench.graph.messages("hand_meshes")
    assert len(arrays) == num_frames
    assert all(a.hands == [] for a in arrays)
    for topic in ("hand_mesh", "/tf", "hand_markers"):
        assert bench.count(topic) == 0, topic
    assert bench.pipeline.resets == 0
    bench.pipeline.hands = (sample_hand(),)
    bench.send_image(START_NS + num_frames * 500_000_000)
    assert bench.count("/tf") == 1


def test_two_hands_of_one_side_share_no_frame(calibrated):
    bench = calibrated
    worse = sample_hand(Side.LEFT, track_id=1, score=0.6)
    better = sample_hand(Side.LEFT, track_id=2, score=0.9, seed=1)
    bench.pipeline.hands = (worse, better)
    bench.send_image()
    assert len(bench.graph.messages("hand_meshes")[0].hands) == 2
    root, _grasp = bench.graph.messages("/tf")[0].transforms
    assert root.child_frame_id == "left_hand_root"
    position = root.transform.translation
    np.testing.assert_allclose(
        [position.x, position.y, position.z], better.T_camera_wrist[:3, 3], rtol=1e-12
    )


def test_a_hand_with_nan_is_held_back(calibrated, caplog):
    bench = calibrated
    broken = sample_hand(Side.LEFT, track_id=1, grasp_aperture_m=float("nan"))
    bench.pipeline.hands = (broken, sample_hand(track_id=2))
    bench.send_image()
    assert [h.track_id for h in bench.graph.messages("hand_meshes")[0].hands] == [2]
    assert [h.track_id for h in bench.graph.messages("hand_mesh")] == [2]
    assert len(bench.graph.messages("/tf")[0].transforms) == 2
    assert "grasp_aperture_m" in warnings(caplog)[0]


# Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "rgb12"}, "encoding 'rgb12' is unknown"),
        ({"step": WIDTH}, f"step {WIDTH}, expected at least {3 * WIDTH}"),
        ({"data": np.zeros(100, np.uint8)}, "has 100 bytes"),
        ({"width": 0, "height": 0}, "0 x 0"),
    ],
)
def test_a_bad_image_is_refused_and_the_next_one_used(calibrated, caplog, changes, words):
    bench = calibrated
    bench.send_image(START_NS, **changes)
    bench.send_image(START_NS + PERIOD_NS, **changes)
    assert bench.count("hand_meshes") == 0
    level, text, values = bench.diagnostics()
    assert level == 1
    assert words in text
    assert words in values["last refusal"]
    assert values["frames refused"] == "2"
    bench.send_image(START_NS + 2 * PERIOD_NS)
    assert [stamp_ns(m) for m in bench.graph.messages("hand_meshes")] == [START_NS + 2 * PERIOD_NS]
    assert len([w for w in warnings(caplog) if words in w]) == 1


@pytest.mark.parametrize("cdr", [b"", b"\x00\x01", b"\x00\x01\x00\x00" + b"\xff" * 60])
def test_bytes_that_are_no_image_are_refused(calibrated, cdr):
    bench = calibrated
    bench.graph.send("image", cdr)
    assert bench.node.wait_until_idle(10.0)
    assert bench.diagnostics()[2]["frames refused"] == "1"
    bench.send_image()
    assert bench.count("hand_meshes") == 1


def test_an_image_without_a_stamp_is_refused(calibrated):
    calibrated.send_image(0)
    assert calibrated.count("hand_meshes") == 0
    assert "stamp is not set" in calibrated.diagnostics()[1]


def test_an_image_without_a_frame_gives_meshes_but_no_tf(calibrated, caplog):
    calibrated.pipeline.hands = (sample_hand(),)
    calibrated.send_image(START_NS, "")
    assert calibrated.count("hand_meshes") == 1
    assert calibrated.count("/tf") == 0
    assert "frame_id is empty" in warnings(caplog)[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": np.array([np.nan, 0, 32, 0, 50, 24, 0, 0, 1])}, "nan"),
        ({"d": np.zeros(3)}, "got 3"),
        ({"distortion_model": "mei"}, "'mei'"),
        ({"width": 2 * WIDTH}, f"{2 * WIDTH} x {HEIGHT}"),
    ],
)
def test_a_bad_camera_info_refuses_images_until_a_good_one_comes(bench, changes, words):
    bench.send_info(**changes)
    bench.send_image(START_NS)
    bench.send_image(START_NS + PERIOD_NS)
    assert bench.pipeline.frames == []
    _, text, values = bench.diagnostics()
    assert words in text
    assert values["frames refused"] == "2"
    bench.send_info()
    bench.send_image(START_NS + 2 * PERIOD_NS)
    assert bench.count("hand_meshes") == 1


def test_an_uncalibrated_camera_is_assumed_at_once_and_said_once(bench, caplog):
    for i in range(3):
        bench.send_info(k=np.zeros(9))
        bench.send_image(START_NS + i * PERIOD_NS)
    cameras = [f.camera for f in bench.pipeline.frames]
    assert len(cameras) == 3
    assert cameras[0].assumed
    assert cameras[0] is cameras[1] is cameras[2]
    # Half the width is seen under half of 60 degrees.
    assert cameras[0].K[0, 0] == pytest.approx(WIDTH / 2 / np.tan(np.radians(30.0)))
    (said,) = warnings(caplog)
    assert "uncalibrated" in said
    assert "60 deg" in said
    assert "assumed" in bench.diagnostics()[2]["camera"]


def test_without_camera_info_the_node_waits_then_assumes_then_corrects_itself(bench, caplog):
    step_ns = 250_000_000
    for i in range(6):
        bench.send_image(START_NS + i * step_ns)
    assert [f.stamp_ns for f in bench.pipeline.frames] == [START_NS + i * step_ns for i in (4, 5)]
    assert all(f.camera.assumed for f in bench.pipeline.frames)
    (said,) = warnings(caplog)
    assert "no camera_info in 1 s" in said
    assert bench.pipeline.resets == 0
    bench.send_image(START_NS - 10**9)  # a bag played again: no second wait
    assert (len(bench.pipeline.frames), bench.pipeline.resets) == (3, 1)
    bench.send_info()
    bench.send_image(START_NS + 6 * step_ns)
    assert not bench.pipeline.frames[-1].camera.assumed
    assert bench.pipeline.resets == 2  # depths of the guess must not be blended in


def test_the_camera_object_stays_while_the_calibration_does(bench):
    for i in range(2):
        bench.send_info()
        bench.send_image(START_NS + i * PERIOD_NS)
    first, second = bench.pipeline.frames
    assert first.camera is second.camera
    bench.send_info(k=np.array([51.0, 0, 32, 0, 51, 24, 0, 0, 1]))
    bench.send_image(START_NS + 2 * PERIOD_NS)
    assert bench.pipeline.frames[-1].camera.K[0, 0] == 51.0


def test_time_going_backwards_starts_afresh_and_goes_on(calibrated, caplog):
    bench = calibrated
    bench.pipeline.hands = (sample_hand(),)
    for stamp in (START_NS, START_NS + PERIOD_NS, START_NS - 60 * 10**9, START_NS - 59 * 10**9):
        bench.send_image(stamp)
    assert bench.pipeline.resets == 1
    assert len(bench.pipeline.frames) == 4
    assert stamp_ns(bench.graph.messages("hand_mesh")[-1]) == START_NS - 59 * 10**9
    assert "60.033 s" in warnings(caplog)[0]


def test_an_image_that_was_overtaken_is_passed_over(calibrated):
    bench = calibrated
    for step in (0, 2, 1, 3):
        bench.send_image(START_NS + step * PERIOD_NS)
    sent = [stamp_ns(m) for m in bench.graph.messages("hand_meshes")]
    assert sent == [START_NS + step * PERIOD_NS for step in (0, 2, 3)]
    assert bench.pipeline.resets == 0


def test_duplicates_are_dropped(calibrated):
    calibrated.send_image(START_NS)
    calibrated.send_image(START_NS)
    assert len(calibrated.pipeline.frames) == 1
    assert calibrated.pipeline.resets == 0
    values = calibrated.diagnostics()[2]
    assert (values["frames received"], values["frames dropped"]) == ("2", "1")
    assert (values["frames processed"], values["frames refused"]) == ("1", "0")


def test_a_pipeline_that_raises_loses_one_frame(calibrated, caplog):
    bench = calibrated
    bench.pipeline.error = RuntimeError("a network said no")
    bench.send_image(START_NS)
    assert bench.count("hand_meshes") == 0
    level, text, _ = bench.diagnostics()
    assert level == 2
    assert "RuntimeError: a network said no" in text
    assert bench.pipeline.resets == 1
    assert any(r.exc_info for r in caplog.records)
    bench.send_image(START_NS + PERIOD_NS)
    assert bench.count("hand_meshes") == 1
    assert bench.diagnostics()[0] == 0


def test_a_pipeline_whose_reset_raises_does_not_end_the_worker(calibrated, monkeypatch):
    def reset():
        raise RuntimeError("no way back")

    monkeypatch.setattr(calibrated.pipeline, "reset", reset)
    calibrated.send_image(START_NS)
    calibrated.send_image(START_NS - PERIOD_NS)
    calibrated.send_image(START_NS + PERIOD_NS)
    assert [f.stamp_ns for f in calibrated.pipeline.frames] == [START_NS, START_NS + PERIOD_NS]


# Life cycle -----------------------------------------------------------------------------------


def test_a_new_node_is_silent_until_it_is_activated():
    graph, pipeline = FakeGraph(STORE), FakePipeline()
    node = HandMeshNode(graph, NodeParameters(), pipeline, store=STORE)
    assert (graph.subscriptions, workers()) == ({}, 0)
    assert not any(p.sent for p in graph.publishers.values())
    node.activate()
    node.activate()
    assert (sorted(graph.subscriptions), workers()) == (INPUTS, 1)
    assert len(graph.messages("hand_topology")) == 1
    node.close()
    assert (workers(), pipeline.closed) == (0, True)


def test_deactivate_stops_lets_hands_vanish_and_activate_goes_on(calibrated):
    bench = calibrated
    bench.pipeline.hands = (sample_hand(track_id=3),)
    bench.send_image(START_NS)
    bench.node.deactivate()
    bench.node.deactivate()
    assert (bench.graph.subscriptions, workers(), bench.pipeline.closed) == ({}, 0, False)
    assert last_markers(bench) == (START_NS, {(3, DELETE)})
    assert bench.pipeline.resets == 1
    bench.send_image(START_NS + PERIOD_NS)
    assert len(bench.pipeline.frames) == 1

    bench.node.activate()
    bench.send_image(START_NS + 2 * PERIOD_NS)  # the calibration is still known
    assert [f.stamp_ns for f in bench.pipeline.frames] == [START_NS, START_NS + 2 * PERIOD_NS]
    assert not bench.pipeline.frames[-1].camera.assumed
    assert last_markers(bench) == (START_NS + 2 * PERIOD_NS, {(3, ADD)})


def test_disabled_it_neither_listens_nor_works(calibrated):
    bench = calibrated
    bench.pipeline.hands = (sample_hand(track_id=3),)
    bench.send_image(START_NS)
    on_image = bench.graph.subscriptions["image"][2]
    assert bench.graph.call("~/enable", False) == (True, "disabled")
    assert bench.graph.call("~/enable", False) == (True, "is disabled already")
    assert bench.graph.subscriptions == {}
    assert last_markers(bench) == (START_NS, {(3, DELETE)})
    on_image(memoryview(STORE.encode(image(START_NS + PERIOD_NS))))  # was on its way
    assert bench.node.wait_until_idle(10.0)
    assert len(bench.pipeline.frames) == 1
    assert bench.diagnostics()[:2] == (0, "disabled by ~/enable")

    assert bench.graph.call("~/enable", True) == (True, "enabled")
    bench.send_image(START_NS + 2 * PERIOD_NS)
    assert len(bench.pipeline.frames) == 2
    assert bench.diagnostics()[0] == 0


def test_disabled_it_stays_so_through_deactivate_and_activate(calibrated):
    calibrated.graph.call("~/enable", False)
    calibrated.node.deactivate()
    calibrated.node.activate()
    assert calibrated.graph.subscriptions == {}
    calibrated.graph.call("~/enable", True)
    assert sorted(calibrated.graph.subscriptions) == INPUTS


def test_reset_forgets_between_two_frames(calibrated):
    bench = calibrated
    bench.pipeline.gate.clear()
    bench.graph.send("image", image(START_NS))
    assert bench.pipeline.entered.wait(10.0)
    answers = []
    caller = threading.Thread(target=lambda: answers.append(bench.graph.call("~/reset")))
    caller.start()
    assert bench.pipeline.resets == 0  # never while a frame is in the pipeline
    bench.pipeline.gate.set()
    caller.join(10.0)
    assert answers == [(True, "all tracks forgotten")]
    assert (bench.pipeline.resets, len(bench.pipeline.frames)) == (1, 1)


def test_a_silent_camera_lets_hands_vanish_until_it_is_back(caplog):
    caplog.set_level(logging.INFO)
    for bench in _bench(stale_timeout_s=0.1):
        bench.send_info()
        bench.pipeline.hands = (sample_hand(track_id=3),)
        bench.send_image(START_NS)
        wait_until(lambda bench=bench: bench.pipeline.resets == 1, "a reset")
        assert last_markers(bench) == (START_NS, {(3, DELETE)})
        assert bench.count("hand_meshes") == 1  # nobody saw that there is no hand
        bench.diagnostics()
        level, text, _ = bench.diagnostics()
        assert level == 1
        assert text.startswith("no image for ")
        assert [w for w in warnings(caplog) if "no image for 0.1 s" in w]

        bench.send_image(START_NS + 60 * 10**9)
        assert last_markers(bench) == (START_NS + 60 * 10**9, {(3, ADD)})
        assert bench.diagnostics()[0] == 0
        assert any("images again, after" in r.getMessage() for r in caplog.records)


def test_a_camera_that_never_sent_is_not_called_silent(caplog):
    for bench in _bench(stale_timeout_s=0.05):
        threading.Event().wait(0.2)
        assert (bench.pipeline.resets, warnings(caplog)) == (0, [])


# Load and reports -----------------------------------------------------------------------------


def test_a_slow_pipeline_skips_frames_and_never_queues(calibrated):
    bench, pipeline = calibrated, calibrated.pipeline
    pipeline.gate.clear()
    bench.graph.send("image", image(START_NS))
    assert pipeline.entered.wait(10.0)
    for i in range(1, 10):  # while the first is being processed
        bench.graph.send("image", image(START_NS + i * PERIOD_NS))
    pipeline.gate.set()
    assert bench.node.wait_until_idle(10.0)
    assert [f.stamp_ns for f in pipeline.frames] == [START_NS, START_NS + 9 * PERIOD_NS]
    values = bench.diagnostics()[2]
    assert (values["frames received"], values["frames dropped"]) == ("10", "8")
    assert values["frames processed"] == "2"
    assert (values["model"], values["back-end"]) == ("lifter", "fake")


def test_diagnostics_hold_rates_times_and_the_nodes_own_stamp(calibrated):
    calibrated.pipeline.hands = (sample_hand(),)
    calibrated.send_image()
    level, _, values = calibrated.diagnostics()
    assert level == 0
    assert values["detection p50 [ms]"] == "2.00"
    assert values["detection p99 [ms]"] == "2.00"
    assert values["hands"] == "1"
    assert float(values["pipeline p50 [ms]"]) <= float(values["latency p50 [ms]"])
    assert float(values["rate [Hz]"]) > 0.0
    assert "50.0 px" in values["camera"]
    report = calibrated.graph.messages("/diagnostics")[-1]
    assert stamp_ns(report) == calibrated.graph.now_ns()
    assert report.status[0].name.startswith("hand_mesh")
    level, text, values = calibrated.diagnostics()
    assert (level, values["rate [Hz]"], values["hands"]) == (1, "0.0", "0")
    assert text.startswith("no image for 0.")


def test_diagnostics_before_the_first_image(bench):
    level, text, _ = bench.diagnostics()
    assert (level, text) == (1, "no image came; is the image topic remapped to the camera's?")


def test_newest_only_keeps_the_last_and_reports_the_thrown_away():
    box = NewestOnly()
    assert box.take(0.0) is None
    assert [box.put(i) for i in range(3)] == [False, True, True]
    assert not box.wait_until_idle(0.0)
    assert box.take(0.0) == 2
    assert not box.wait_until_idle(0.0)
    box.done()
    assert box.wait_until_idle(0.0)
    box.close()
    box.put(5)
    assert box.take(10.0) is None


def test_throttled_log_says_each_reason_once_a_period(caplog):
    time_s = [0.0]
    log = ThrottledLog(logging.getLogger("throttled"), clock=lambda: time_s[0])
    for time_s[0], text in (
        *((0.0, "has 10 bytes"), (1.0, "has 11 bytes"), (2.0, "is 7 wide")),
        *((4.9, "has 12 bytes"), (5.1, "has 13 bytes"), (6.0, "is 8 wide"), (7.1, "is 9 wide")),
    ):
        log.warning(text)
    assert warnings(caplog) == ["has 10 bytes", "is 7 wide", "has 13 bytes", "is 9 wide"]


def test_results_are_stamped_by_the_frame_even_if_the_pipeline_errs(calibrated):
    process = calibrated.pipeline.process
    calibrated.pipeline.process = lambda f: replace(process(f), stamp_ns=1, frame_id="elsewhere")
    calibrated.send_image()
    (array,) = calibrated.graph.messages("hand_meshes")
    assert (stamp_ns(array), array.header.frame_id) == (START_NS, "cam")
