"""What the viewer learns of topics and of recordings."""

import time
from dataclasses import replace

import numpy as np
import pytest
from camera_samples import STORE
from fake_graph import FakeGraph
from hand_samples import sample_hand, small_hand_model
from process_samples import (
    START_NS,
    info_of,
    process,
    settings,
    synthetic_bag,
    synthetic_frames,
    write_bag,
)

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.processing.settings import ProcessingError
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.diagnostics import DIAGNOSTIC_ARRAY, Diagnostics
from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW, small_image
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.types import Result
from hand_mesh_ros.viewer.live_feed import LiveFeed
from hand_mesh_ros.viewer.panel import Status, status_text
from hand_mesh_ros.viewer.recording_feed import RecordingFeed
from hand_mesh_ros.viewer.snapshot import HAND_MESH_ARRAY, decode_topology, snapshot_from

MODEL = small_hand_model()
PERIOD_NS = 33_000_000


def turned_hand(**changes):
    """A hand whose wrist is turned by 90 degrees: no two orders of a quaternion agree on it."""
    T = np.eye(4)
    T[:3, :3] = rotation_from_axis_angle(np.array([0.3, np.pi / 2, 0.1]))
    T[:3, 3] = 0.1, -0.2, 0.6
    return sample_hand(**{"T_camera_wrist": T, **changes})


def array_of(hands, stamp_ns=START_NS, latency_s=0.0):
    return messages.hand_mesh_array(STORE, Result(stamp_ns, "cam", tuple(hands)), latency_s)


def snapshot_of(*hands, stamp_ns=START_NS, latency_s=0.0):
    cdr = STORE.encode(array_of(hands, stamp_ns, latency_s))
    return snapshot_from(STORE.decode(cdr, HAND_MESH_ARRAY))


def preview_of(frame):
    return messages.jpeg_message(
        STORE, small_image(frame.image), frame.stamp_ns, frame.frame_id, quality=90
    )


def rotated_by_wxyz(wxyz, vector):
    """A vector turned by a quaternion, by its definition: q v q*."""
    w, xyz = wxyz[0], wxyz[1:]
    return vector + 2 * w * np.cross(xyz, vector) + 2 * np.cross(xyz, np.cross(xyz, vector))


def test_a_snapshot_is_the_message_in_arrays():
    hand = turned_hand(
        keypoint_stddev_m=np.linspace(0.001, 0.02, 21),
        vertex_stddev_m=np.linspace(0.001, 0.02, 60),
        vertex_colors=np.arange(180, dtype=np.uint8).reshape(60, 3),
        root_covariance=np.diag([1e-4, 4e-4, 9e-4, 0, 0, 0]),
        root_source=RootSource.DEPTH,
    )
    snapshot = snapshot_of(hand, latency_s=0.02)
    assert snapshot.stamp_ns == START_NS
    assert snapshot.latency_s == pytest.approx(0.02)
    (seen,) = snapshot.hands
    assert (seen.side, seen.track_id) == (Side.RIGHT, 7)
    assert seen.root_source is RootSource.DEPTH
    np.testing.assert_allclose(seen.keypoints_m, hand.keypoints_m, atol=1e-6)
    np.testing.assert_allclose(seen.vertices_m, hand.vertices_m, atol=1e-6)
    np.testing.assert_allclose(seen.vertex_stddev_m, hand.vertex_stddev_m, rtol=1e-5)
    np.testing.assert_array_equal(seen.vertex_rgb, hand.vertex_colors)
    assert seen.distance_m == pytest.approx(np.linalg.norm([0.1, -0.2, 0.6]))
    R = messages.T_camera_root(hand)[:3, :3]
    for axis in range(3):
        turned = rotated_by_wxyz(seen.root_wxyz, np.eye(3)[axis])
        np.testing.assert_allclose(turned, R[:, axis], atol=1e-9)
    away = np.array([0.1, -0.2, 0.6]) / seen.distance_m
    assert seen.root_stddev_m == pytest.approx(np.sqrt(away**2 @ [1e-4, 4e-4, 9e-4]))


def test_what_was_not_estimated_is_none():
    (seen,) = snapshot_of(sample_hand()).hands
    assert seen.keypoint_stddev_m is None
    assert seen.vertex_stddev_m is None
    assert seen.vertex_rgb is None


def test_faces_are_those_of_the_hands_side_and_model():
    topology = decode_topology(STORE, STORE.encode(messages.hand_topology(STORE, MODEL)))
    right, left = snapshot_of(sample_hand(), sample_hand(Side.LEFT)).hands
    np.testing.assert_array_equal(topology.faces(right), MODEL.faces)
    np.testing.assert_array_equal(topology.faces(left), MODEL.faces[:, ::-1])
    assert topology.faces(replace(right, hand_model="another")) is None
    assert topology.faces(replace(right, vertices_m=right.vertices_m[:5])) is None


def test_live_hands_are_the_newest_and_come_once():
    graph = FakeGraph(STORE)
    graph.clock_ns = 5_000_000_000
    feed = LiveFeed(graph, store=STORE)
    assert feed.is_stale()
    assert feed.next(0.0) is None
    assert "is the node running" in status_text(feed.status(), None)
    for i in range(3):
        graph.send("hand_meshes", array_of([sample_hand(seed=i)], 4_900_000_000 + i, 0.025))
    snapshot = feed.next(0.0)
    assert snapshot is not None
    assert snapshot.stamp_ns == 4_900_000_002
    assert feed.next(0.0) is None
    assert not feed.is_stale()
    status = feed.status()
    assert status.latency_ms == pytest.approx(25.0)
    assert status.arrival_ms == pytest.approx(100.0, abs=0.01)


def test_live_feed_knows_model_back_end_and_faces():
    graph = FakeGraph(STORE)
    feed = LiveFeed(graph, store=STORE)
    assert feed.topology is None
    graph.send("hand_topology", messages.hand_topology(STORE, MODEL))
    assert feed.topology is not None
    assert feed.topology.hand_model == "test_hand"
    facts = {"model": "lifter", "back-end": "numpy"}
    graph.send("/diagnostics", Diagnostics("hand_mesh", facts=facts).message(STORE, 1))
    others = STORE.type(DIAGNOSTIC_ARRAY)(header=messages.header(STORE, 1, ""), status=[])
    graph.send("/diagnostics", others)
    assert "model lifter on numpy" in status_text(feed.status(), None)


def test_images_are_subscribed_to_only_while_wanted():
    graph = FakeGraph(STORE)
    feed = LiveFeed(graph, store=STORE)
    (frame,) = synthetic_frames(1)
    graph.send("camera_info", info_of(frame))
    assert IMAGE_PREVIEW not in graph.subscriptions
    camera = feed.picture(wanted=True).camera
    assert camera is not None
    assert camera.K[0, 0] == frame.camera.K[0, 0]
    graph.send(IMAGE_PREVIEW, preview_of(frame))
    picture = feed.picture(wanted=True)
    assert picture.image.shape == (240, 320, 3)
    off = picture.image.astype(int) - small_image(frame.image)
    assert np.abs(off).mean() < 5.0
    assert picture.camera is camera, "the camera is that of the whole image"
    assert feed.picture(wanted=True).image is None, "the same image was given twice"
    feed.picture(wanted=False)
    assert IMAGE_PREVIEW not in graph.subscriptions


def test_a_part_of_the_sensor_has_the_field_of_view_of_that_part():
    graph = FakeGraph(STORE)
    feed = LiveFeed(graph, store=STORE)
    (frame,) = synthetic_frames(1)
    info = info_of(frame)
    info.roi.width, info.roi.height, info.roi.x_offset = 320, 200, 100
    info.binning_x = info.binning_y = 2
    graph.send("camera_info", info)
    camera = feed.picture(wanted=True).camera
    assert camera is not None
    assert (camera.width, camera.height) == (160, 100)
    assert camera.K[0, 0] == 0.5 * frame.camera.K[0, 0]


@pytest.mark.parametrize("cdr", [b"", b"\0\1\0\0nonsense", b"\0\1\0\0" + bytes(30)])
def test_what_cannot_be_read_is_said(cdr):
    graph = FakeGraph(STORE)
    feed = LiveFeed(graph, store=STORE)
    feed.picture(wanted=True)
    for topic, what in (
        (IMAGE_PREVIEW, "an image cannot be read"),
        ("hand_meshes", "a message on hand_meshes cannot be read"),
        ("camera_info", "are no sensor_msgs/msg/CameraInfo"),
    ):
        graph.subscriptions[topic][2](memoryview(cdr))
        feed.picture(wanted=True)
        feed.next(0.0)
        problem = feed.status().notes[0]
        assert what in problem
        assert "\n" not in problem


def test_a_closed_feed_listens_to_nothing():
    graph = FakeGraph(STORE)
    feed = LiveFeed(graph, store=STORE)
    feed.picture(wanted=True)
    feed.close()
    assert graph.subscriptions == {}


def hands_bag(path, count=6, topic="/hand_meshes", more=()):
    stamps = [START_NS + i * PERIOD_NS for i in range(count)]
    hands = [(topic, t, array_of([sample_hand(seed=i)], t)) for i, t in enumerate(stamps)]
    topology = ("/hand_topology", START_NS, messages.hand_topology(STORE, MODEL))
    return write_bag(path, [topology, *hands, *more])


def test_a_recording_plays_in_order_at_its_pace_and_begins_again(tmp_path):
    feed = RecordingFeed(hands_bag(tmp_path / "bag"))
    assert feed.duration_s == pytest.approx(5 * 0.033)
    assert feed.topology is not None
    began_s = time.monotonic()
    seen = [feed.next(10.0) for _ in range(6)]
    assert time.monotonic() - began_s >= 0.9 * feed.duration_s
    assert [s.stamp_ns for s in seen if s] == [START_NS + i * PERIOD_NS for i in range(6)]
    assert feed.next(0.0) is None, "the first message again before the pause is over"
    again = feed.next(10.0)
    assert again is not None
    assert again.stamp_ns == START_NS
    feed.close()


def test_seeking_gives_the_nearest_message(tmp_path):
    feed = RecordingFeed(hands_bag(tmp_path / "bag"))
    snapshot = feed.seek(0.07)  # nearest is the third, at 0.066 s
    assert snapshot.stamp_ns == START_NS + 2 * PERIOD_NS
    assert feed.time_s(snapshot) == pytest.approx(0.066)
    following = feed.next(10.0)
    assert following is not None
    assert following.stamp_ns == START_NS + 3 * PERIOD_NS
    feed.close()


def test_what_process_wrote_can_be_viewed(tmp_path, monkeypatch):
    bag, frames = synthetic_bag(tmp_path / "drive", 5)
    process(monkeypatch, tmp_path / "out", bag, settings("bag"))
    feed = RecordingFeed(tmp_path / "out" / "drive")
    assert feed.status().source == "recording drive"
    stamps = [s.stamp_ns for s in (feed.next(10.0) for _ in range(5)) if s]
    assert stamps == [frame.stamp_ns for frame in frames]
    snapshot = feed.seek(0.0)
    assert feed.topology is not None
    faces = feed.topology.faces(snapshot.hands[0])
    assert faces is not None
    assert faces.shape[1] == 3
    feed.close()


@pytest.mark.parametrize(
    ("make", "topic", "says"),
    [
        (lambda p: p / "none", "", "there is no recording at"),
        (lambda p: hands_bag(p / "b"), "/other", "it has them on /hand_meshes"),
        (lambda p: synthetic_bag(p / "b", 1)[0], "", "hand-mesh process"),
        (
            lambda p: hands_bag(p / "b", 2, "/a", more=[("/b", START_NS, array_of([]))]),
            "",
            "choose with --topic",
        ),
    ],
)
def test_recordings_that_cannot_be_shown_say_why(tmp_path, make, topic, says):
    with pytest.raises(ProcessingError, match=says):
        RecordingFeed(make(tmp_path), topic=topic)


def test_the_panel_tells_what_is_known_and_no_more():
    text = status_text(Status("live"), None)
    assert text.strip() == "**live**"
    known = snapshot_of(sample_hand(root_covariance=np.diag([0, 0, 4e-4, 0, 0, 0.0])))
    text = status_text(Status("live", rate_hz=29.97, latency_ms=20.4, model="lifter"), known)
    assert "rate 30.0 Hz" in text
    assert "latency 20 ms in the node" in text
    assert "**right 7**: 0.610 m (+- 20 mm), grip 43 mm" in text
    assert "not calibrated" not in text
    guess = snapshot_of(sample_hand(root_source=RootSource.ASSUMED_CAMERA))
    assert "not calibrated" in status_text(Status("live"), guess)
    assert "no hand in view" in status_text(Status("live"), snapshot_of())
    assert "100 ms from image to here" in status_text(Status("live", arrival_ms=100.0), None)
    for ms in (1.9e12, -3.6e6):
        text = status_text(Status("live", arrival_ms=ms), None)
        assert "its stamps are of another clock" in text
        assert "from image to here" not in text
