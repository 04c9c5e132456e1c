"""Bags in and bags out of `hand-mesh process`."""

import dataclasses
import logging

import numpy as np
import pytest
from camera_samples import STORE
from fake_graph import FakeGraph
from process_samples import (
    START_NS,
    camera_messages,
    compressed_image,
    depth_image,
    info_of,
    posed_hand,
    process,
    raw_image,
    read_bag,
    settings,
    synthetic_bag,
    synthetic_frames,
    write_bag,
)
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.processing import recording
from hand_mesh_ros.processing.jobs import find_jobs
from hand_mesh_ros.processing.output_folder import locked
from hand_mesh_ros.processing.settings import FrameRange
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.sources.synthetic import SyntheticCamera

SMALL = {"width": 160, "height": 120, "noise": 0.0}
HAND_MESH_ARRAY = "hand_mesh_ros/msg/HandMeshArray"


def stamps(frames):
    return [frame.stamp_ns for frame in frames]


def test_the_bag_has_the_bytes_that_the_live_node_publishes(tmp_path):
    """Same images, same pipeline: once through the node, once through a bag."""
    frames = synthetic_frames(12, width=320, height=240)
    frames[6].image[:] = 0  # the hand is lost, and found again
    frames[7].image[:] = 0
    write_bag(tmp_path / "cut", camera_messages(frames))
    chosen = settings("bag")
    (job,), _ = find_jobs([str(tmp_path / "cut")], chosen)
    with locked(tmp_path / "out"):
        recording.RecordingProcessor(chosen, tmp_path / "out").process(job, lambda _: None)

    graph = FakeGraph(STORE)
    node = HandMeshNode(graph, NodeParameters(), build_pipeline(NodeParameters()))
    for name in ("hand_markers", "hand_joint_states"):
        graph.publishers[name].subscriber_count = 1
    node.activate()
    try:
        for frame in frames:
            graph.send("camera_info", info_of(frame))
            graph.send("image", raw_image(frame))
            assert node.wait_until_idle(10.0)
    finally:
        for name in ("hand_markers",):  # what vanishes when the node ends is not of the recording
            live_markers = list(graph.publishers[name].sent)
        node.close()

    recorded = read_bag(tmp_path / "out" / "cut" / "hands")
    assert {topic for topic, _, _ in recorded} == {
        *("/hand_meshes", "/hand_mesh", "/hand_topology"),
        *("/hand_markers", "/hand_joint_states", "/tf"),
    }
    for topic in ("hand_mesh", "hand_topology", "hand_joint_states", "/tf"):
        ours = [cdr for t, _, cdr in recorded if t.strip("/") == topic.strip("/")]
        assert ours == graph.publishers[topic].sent, topic
        assert len(ours) > (0 if topic == "hand_topology" else 8)
    assert [cdr for t, _, cdr in recorded if t == "/hand_markers"] == live_markers
    ours = [STORE.decode(cdr, HAND_MESH_ARRAY) for t, _, cdr in recorded if t == "/hand_meshes"]
    live = graph.messages("hand_meshes")
    zero = STORE.type("builtin_interfaces/msg/Duration")(sec=0, nanosec=0)
    # Only the time since the image's arrival differs: a recording has none.
    expected = [STORE.encode(dataclasses.replace(m, latency=zero)) for m in live]
    assert [STORE.encode(m) for m in ours] == expected
    assert len(ours) == 12


def test_stamps_are_those_of_the_headers(tmp_path, monkeypatch):
    path, frames = synthetic_bag(tmp_path / "in", 5, **SMALL)
    (report,), pipeline = process(monkeypatch, tmp_path / "out", path, settings("bag"))
    recorded = read_bag(tmp_path / "out" / "in" / "hands")
    arrays = [(when, cdr) for topic, when, cdr in recorded if topic == "/hand_meshes"]
    assert [when for when, _ in arrays] == stamps(frames)
    for (_, cdr), stamp_ns in zip(arrays, stamps(frames), strict=True):
        stamp = STORE.decode(cdr, HAND_MESH_ARRAY).header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == stamp_ns
    assert report["first_stamp_ns"] == frames[0].stamp_ns
    assert report["last_stamp_ns"] == frames[-1].stamp_ns
    assert stamps(pipeline.frames) == stamps(frames)
    assert pipeline.frames[0].frame_id == "cam"
    np.testing.assert_array_equal(pipeline.frames[3].image, frames[3].image)
    np.testing.assert_array_equal(pipeline.frames[0].camera.K, frames[0].camera.K)
    assert not pipeline.frames[0].camera.assumed


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_reader_that_knows_none_of_our_types_can_read_the_bag(tmp_path, monkeypatch, storage):
    path, frames = synthetic_bag(tmp_path / "in", 3, **SMALL)
    chosen = settings("bag", bag_storage=storage, arguments=["--ros-args", "-r", "__ns:=/robot"])
    process(monkeypatch, tmp_path / "out", path, chosen)
    store = get_typestore(Stores.EMPTY)
    seen = {}
    with Reader(tmp_path / "out" / "in" / "hands") as reader:
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
            assert store.hash_rihs01(connection.msgtype) == STORE.type_hash(connection.msgtype)
            durability = connection.ext.offered_qos_profiles[0].durability
            latched = connection.topic == "/robot/hand_topology"
            expected = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
            assert durability is expected, connection.topic
        for connection, _, cdr in reader.messages():
            message = store.deserialize_cdr(cdr, connection.msgtype)
            seen.setdefault(connection.topic, []).append(message)
    assert len(seen["/robot/hand_topology"]) == 1
    vertices = np.array(seen["/robot/hand_meshes"][1].hands[0].vertices).reshape(-1, 3)
    truth = posed_hand(frames[1]).vertices_m
    np.testing.assert_allclose(vertices, truth, atol=1e-6)
    assert len(seen["/tf"]) == 3  # absolute: no namespace


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("as_file", [False, True])
def test_every_kind_of_bag_gives_the_same_frames(tmp_path, monkeypatch, storage, as_file):
    frames = synthetic_frames(4, **SMALL)
    path = write_bag(
        tmp_path / "in", camera_messages(frames, image=compressed_image), storage=storage
    )
    if as_file:
        path = next(p for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
    _, pipeline = process(monkeypatch, tmp_path / "out", path, settings("npz"))
    for got, frame in zip(pipeline.frames, frames, strict=True):
        np.testing.assert_array_equal(got.image, frame.image)
        assert got.stamp_ns == frame.stamp_ns


def test_each_camera_of_a_bag_is_processed(tmp_path, monkeypatch):
    frames = synthetic_frames(6, **SMALL)
    other = synthetic_frames(6, seed=8, width=200, height=120)
    depth = [dataclasses.replace(f, depth_m=np.ones((120, 160), np.float32)) for f in frames]
    messages = [
        *camera_messages(frames, "/left"),
        *camera_messages(frames, "/left", info=False, image=compressed_image),  # again
        *camera_messages(other, "/right", image=compressed_image),
        *((f"/left/{n}", f.stamp_ns, depth_image(f)) for f in depth for n in ("depth", "zdepth")),
        *(("/only_depth/image_raw", f.stamp_ns, depth_image(f)) for f in depth),
    ]
    path = write_bag(tmp_path / "in", sorted(messages, key=lambda m: m[1]))
    jobs, _ = find_jobs([str(path)], settings())
    assert [(j.name, j.image_topic, j.num_frames) for j in jobs] == [
        ("in.left_image_raw", "/left/image_raw", 6),
        ("in.right_image_raw", "/right/image_raw/compressed", 6),
    ]
    _, pipeline = process(monkeypatch, tmp_path / "out", path, settings("npz"))
    assert [f.image.shape[1] for f in pipeline.frames] == 6 * [160] + 6 * [200]
    chosen = settings("npz", image_topics=("/right/image_raw/compressed",))
    (job,), _ = find_jobs([str(path)], chosen)
    assert (job.name, job.num_frames) == ("in", 6)
    _, (failure,) = find_jobs([str(path)], settings(depth_topic="/left/depth"))
    assert "--depth-topic /left/depth belongs to one camera" in failure.reason


def test_depth_that_was_recorded_late_finds_its_image(tmp_path, monkeypatch):
    camera = SyntheticCamera(**SMALL, start_ns=START_NS, frame_id="cam")
    frames = [camera.with_depth(i) for i in range(8)]
    messages = list(camera_messages(frames))
    for i, frame in enumerate(frames):
        if i == 5:  # was never recorded: its neighbours' must not be taken
            continue
        late = dataclasses.replace(frame, stamp_ns=frame.stamp_ns + 2_000_000)
        messages.append(("/camera/depth", frame.stamp_ns + 50_000_000, depth_image(late)))
        messages.append(("/camera/camera_info", frame.stamp_ns, info_of(frame)))
    path = write_bag(tmp_path / "in", sorted(messages, key=lambda m: m[1]))
    chosen = settings("npz", depth_topic="/camera/depth", image_topics=("/camera/image_raw",))
    _, pipeline = process(monkeypatch, tmp_path / "out", path, chosen)
    assert stamps(pipeline.frames) == stamps(frames)
    for i, (got, frame) in enumerate(zip(pipeline.frames, frames, strict=True)):
        if i == 5:
            assert got.depth_m is None
        else:
            np.testing.assert_allclose(got.depth_m, frame.depth_m, atol=6e-4)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (FrameRange(every=3), [0, 3, 6, 9]),
        (FrameRange(start_s=0.1, end_s=0.25), [3, 4, 5, 6, 7]),
        (FrameRange(every=2, start_s=0.15), [5, 7, 9]),
    ],
)
def test_a_range_of_frames(tmp_path, monkeypatch, frames, expected):
    path, all_frames = synthetic_bag(tmp_path / "in", 10, **SMALL)
    chosen = settings("npz", frames=frames)
    (job,), _ = find_jobs([str(path)], chosen)
    _, pipeline = process(monkeypatch, tmp_path / "out", path, chosen)
    assert stamps(pipeline.frames) == [all_frames[i].stamp_ns for i in expected]
    assert job.num_frames == len(expected)


def test_a_calibration_is_the_bags_else_the_users_else_assumed(tmp_path, monkeypatch, caplog):
    frames = synthetic_frames(2, **SMALL)
    yaml = tmp_path / "camera.yaml"
    yaml.write_text(
        "image_width: 160\nimage_height: 120\ndistortion_model: plumb_bob\n"
        "camera_matrix: {data: [111, 0, 79.5, 0, 111, 59.5, 0, 0, 1]}\n"
        "distortion_coefficients: {data: [0, 0, 0, 0, 0]}\n"
    )
    calibrated = write_bag(tmp_path / "calibrated", camera_messages(frames))
    bare = write_bag(tmp_path / "bare", camera_messages(frames, info=False))
    elsewhere = [("/x/camera_info", START_NS, info_of(frames[0]))]
    renamed = write_bag(tmp_path / "renamed", [*camera_messages(frames, info=False), *elsewhere])

    def focal_px(path, **options):
        chosen = settings("npz", **options)
        out = tmp_path / f"out_{path.name}_{len(options)}"
        _, pipeline = process(monkeypatch, out, path, chosen)
        camera = pipeline.frames[1].camera
        assert pipeline.frames[0].camera is camera
        return round(float(camera.K[0, 0]), 3), camera.assumed

    own = round(float(frames[0].camera.K[0, 0]), 3)
    assert focal_px(calibrated, camera_info_file=yaml) == (own, False)
    assert focal_px(bare, camera_info_file=yaml) == (111.0, False)
    assert focal_px(renamed, camera_info_topic="/x/camera_info") == (own, False)
    with caplog.at_level(logging.WARNING):
        assert focal_px(renamed) == (pytest.approx(own, abs=0.01), True)
    assert "(but on /x/camera_info: choose with --camera-info-topic)" in caplog.text
    assert "distances are a guess" in caplog.text


def test_images_that_the_node_would_refuse_are_left_out_and_counted(tmp_path, monkeypatch, caplog):
    frames = synthetic_frames(6, **SMALL)
    messages = list(camera_messages(frames))
    images = [m for m in messages if m[0].endswith("image_raw")]
    images[1][2].encoding = "rgb7"
    images[2][2].encoding = "rgb9"
    images[3][2].header.stamp.sec = images[3][2].header.stamp.nanosec = 0
    path = write_bag(tmp_path / "in", messages)
    with caplog.at_level(logging.WARNING):
        (report,), pipeline = process(monkeypatch, tmp_path / "out", path, settings("npz"))
    assert stamps(pipeline.frames) == [frames[i].stamp_ns for i in (0, 4, 5)]
    assert report["frames"] == 3
    lines = [record.getMessage() for record in caplog.records]
    assert sum("'rgb7' is unknown" in line for line in lines) == 1
    assert not any("rgb9" in line for line in lines)  # said once
    assert sum("header.stamp is not set" in line for line in lines) == 1
    assert sum("refused 3 in all" in line for line in lines) == 1


def test_time_that_goes_back_and_another_calibration_begin_afresh(tmp_path, monkeypatch):
    frames = synthetic_frames(3, **SMALL)
    zoomed = synthetic_frames(5, fov_deg=80.0, **SMALL)[3:]
    order = [*frames, *zoomed, zoomed[0]]
    messages = [
        message
        for frame in order
        for message in (
            ("/camera/camera_info", info_of(frame)),
            ("/camera/image_raw", raw_image(frame)),
        )
    ]
    recorded = [(topic, START_NS + i, m) for i, (topic, m) in enumerate(messages)]
    path = write_bag(tmp_path / "in", recorded)
    _, pipeline = process(monkeypatch, tmp_path / "out", path, settings("npz"))
    assert stamps(pipeline.frames) == stamps(order)
    # At the zoomed camera, and back in time.
    assert (pipeline.resets, pipeline.detector.resets, pipeline.forgotten) == (1, 2, 2)


def test_hands_that_are_not_finite_are_held_back(tmp_path, monkeypatch):
    path, _ = synthetic_bag(tmp_path / "in", 2, **SMALL)
    script = [
        lambda f: [
            posed_hand(f, grasp_aperture_m=float("nan")),
            posed_hand(f, side=Side.LEFT, track_id=2),
        ]
    ]
    (report,), _ = process(monkeypatch, tmp_path / "out", path, settings("npz"), script)
    table = np.load(tmp_path / "out" / "in" / "hands.npz")
    assert table["track_id"].tolist() == [2, 1]
    assert report["hands"] == 2


def no_topics(path):
    write_bag(path, [("/camera/camera_info", START_NS, info_of(synthetic_frames(1, **SMALL)[0]))])


def cut_off(path):
    synthetic_bag(path, 3, **SMALL)
    file = path / f"{path.name}.mcap"
    file.write_bytes(file.read_bytes()[:-1000])


def broken_inside(path):
    synthetic_bag(path, 60, storage="sqlite3", **SMALL)
    file = path / f"{path.name}.db3"
    data = bytearray(file.read_bytes())
    data[8192 : len(data) // 2] = bytes(len(data) // 2 - 8192)
    file.write_bytes(data)


def no_metadata(path):
    synthetic_bag(path, 1, **SMALL)
    (path / "metadata.yaml").unlink()


def ros1(path):
    path.with_suffix(".bag").write_bytes(b"#ROSBAG V2.0\n")
    return path.with_suffix(".bag")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_topics, "has no camera images; it has no topic of images"),
        (cut_off, "cannot be read: "),
        (broken_inside, "cannot be read: "),
        (no_metadata, "has no metadata.yaml"),
        (ros1, "is a ROS 1 bag; convert it: rosbags-convert"),
    ],
)
def test_what_is_no_bag_is_said_in_one_line(tmp_path, monkeypatch, make, says):
    path = make(tmp_path / "in") or tmp_path / "in"
    monkeypatch.setattr(recording, "build_pipeline", lambda _: pytest.fail("not needed"))
    jobs, failures = find_jobs([str(path)], settings())
    reasons = [f.reason for f in failures]
    assert len(reasons) == 1, jobs
    assert says in reasons[0]
    assert str(path) in reasons[0]
    assert "\n" not in reasons[0]
