"""What `hand-mesh process` writes beside bags: tables, meshes, overlays, summaries."""

import json
import re
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from process_samples import (
    OPEN_HAND,
    posed_hand,
    process,
    settings,
    synthetic_bag,
    synthetic_frames,
    write_pictures,
    write_video,
)

from hand_mesh_ros.conventions import KEYPOINT_NAMES, Side
from hand_mesh_ros.joint_angles import JointAngles
from hand_mesh_ros.processing import mesh_files
from hand_mesh_ros.processing.mesh_files import glb, obj, ply
from hand_mesh_ros.processing.statistics import Statistics, reprojection_percent
from hand_mesh_ros.processing.svg_charts import Bar, Line, bar_chart, line_chart
from hand_mesh_ros.ros.messages import T_camera_root, quaternion_xyzw
from hand_mesh_ros.types import Result

SMALL = {"width": 160, "height": 120, "noise": 0.0}


def two_hands(frame):
    return [posed_hand(frame, track_id=3), posed_hand(frame, side=Side.LEFT, track_id=4)]


def nothing(frame):
    return []


def without_pose(frame):
    return [posed_hand(frame, pose=None, shape=None, track_id=5)]


def test_npz_has_the_numbers_of_every_hand_and_frame(tmp_path, monkeypatch):
    path, frames = synthetic_bag(tmp_path / "in", 4, **SMALL)
    script = [two_hands, nothing, without_pose]
    process(monkeypatch, tmp_path / "out", path, settings("npz"), script)
    with np.load(tmp_path / "out" / "in" / "hands.npz") as table:
        assert table["frame_stamp_ns"].tolist() == [f.stamp_ns for f in frames]
        assert table["frame_num_hands"].tolist() == [2, 0, 1, 1]
        assert table["frame_index"].tolist() == [0, 0, 2, 3]
        assert table["stamp_ns"].tolist() == [frames[i].stamp_ns for i in (0, 0, 2, 3)]
        assert table["track_id"].tolist() == [3, 4, 5, 1]
        assert table["side"].tolist() == [1, 0, 1, 1]
        assert table["keypoint_names"].tolist() == list(KEYPOINT_NAMES)
        left = posed_hand(frames[0], side=Side.LEFT)
        model = OPEN_HAND.mirrored()
        joints = model.pose_hand(left.pose, left.shape).joints_m + left.T_camera_wrist[:3, 3]
        angles = JointAngles(OPEN_HAND)
        root = T_camera_root(left)
        expected = {
            "joints_m": joints,
            "keypoints_m": left.keypoints_m,
            "keypoints_px": left.keypoints_px,
            "pose_rad": left.pose,
            "shape": left.shape,
            "joint_angles_rad": angles.of(left.pose, Side.LEFT),
            "root_position_m": root[:3, 3],
            "root_quaternion_xyzw": quaternion_xyzw(root[:3, :3]),
            "root_covariance_m_rad": left.root_covariance,
            "grasp_aperture_m": left.grasp_aperture_m,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(table[name][1], value, rtol=1e-6, atol=1e-6, err_msg=name)
        assert np.isnan(table["keypoint_stddev_m"][1]).all()
        assert np.isnan(table["pose_rad"][2]).all()
        assert np.isnan(table["joints_m"][2]).all()
        assert table["joint_angle_names"].tolist() == list(angles.names)


def test_a_recording_without_hands_has_an_empty_table(tmp_path, monkeypatch):
    path, _ = synthetic_bag(tmp_path / "in", 2, **SMALL)
    chosen = settings("npz", "summary", "bag")
    process(monkeypatch, tmp_path / "out", path, chosen, [nothing, nothing])
    with np.load(tmp_path / "out" / "in" / "hands.npz") as table:
        assert table["keypoints_m"].shape == (0, 21, 3)
        assert table["frame_num_hands"].tolist() == [0, 0]
    assert "No hand was seen" in (tmp_path / "out" / "in" / "summary.html").read_text()


def test_parquet_has_the_npz_numbers_in_flat_columns(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path, frames = synthetic_bag(tmp_path / "in", 3, **SMALL)
    chosen = settings("parquet")
    process(monkeypatch, tmp_path / "out", path, chosen, [two_hands, nothing, two_hands])
    table = parquet.read_table(tmp_path / "out" / "in" / "hands.parquet")
    assert table.num_rows == 4
    hand = posed_hand(frames[2], side=Side.LEFT)
    row = {name: table[name][3].as_py() for name in table.column_names}
    index_tip = KEYPOINT_NAMES.index("index_tip")
    assert row["frame_index"] == 2
    assert row["index_tip_y_m"] == pytest.approx(hand.keypoints_m[index_tip, 1], abs=1e-6)
    assert row["index_tip_v_px"] == pytest.approx(hand.keypoints_px[index_tip, 1], abs=1e-3)
    assert row["root_z_m"] == hand.T_camera_wrist[2, 3]
    assert row["root_covariance_x_ry"] == hand.root_covariance[0, 4]
    assert row["pose_thumb_ip_z_rad"] == pytest.approx(hand.pose[47], abs=1e-6)


def a_mesh(colored):
    hand = posed_hand(synthetic_frames(1, **SMALL)[0])
    count = len(hand.vertices_m)
    colors = np.random.default_rng(0).integers(0, 256, (count, 3), np.uint8)
    return hand.vertices_m, OPEN_HAND.faces, colors if colored else None


@pytest.mark.parametrize("colored", [False, True])
def test_ply(colored):
    vertices, faces, colors = a_mesh(colored)
    header, _, body = ply(vertices, faces, colors).partition(b"end_header\n")
    assert f"element vertex {len(vertices)}\n".encode() in header
    assert (b"property uchar red" in header) is colored
    fields = [("xyz", "<f4", 3), *([("rgb", "u1", 3)] if colored else [])]
    rows = np.frombuffer(body, fields, len(vertices))
    np.testing.assert_allclose(rows["xyz"], vertices, atol=1e-7)
    if colored:
        np.testing.assert_array_equal(rows["rgb"], colors)
    rest = np.frombuffer(body[rows.nbytes :], [("n", "u1"), ("i", "<i4", 3)])
    assert (rest["n"] == 3).all()
    np.testing.assert_array_equal(rest["i"], faces)


@pytest.mark.parametrize("colored", [False, True])
def test_obj(colored):
    vertices, faces, colors = a_mesh(colored)
    lines = [line.split() for line in obj(vertices, faces, colors).decode().splitlines()]
    rows = np.array([line[1:] for line in lines if line[0] == "v"], float)
    np.testing.assert_allclose(rows[:, :3], vertices, atol=1e-6)
    if colored:
        np.testing.assert_allclose(rows[:, 3:] * 255, colors, atol=1e-3)
    corners = np.array([line[1:] for line in lines if line[0] == "f"], int)
    np.testing.assert_array_equal(corners - 1, faces)


@pytest.mark.parametrize("colored", [False, True])
def test_glb(colored):
    vertices, faces, colors = a_mesh(colored)
    data = glb(vertices, faces, colors)
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    document = json.loads(data[20 : 20 + size])
    binary_size, binary_kind = struct.unpack_from("<I4s", data, 20 + size)
    assert binary_kind == b"BIN\0"
    assert size % 4 == binary_size % 4 == 0
    assert document["buffers"] == [{"byteLength": binary_size}]
    binary = data[28 + size :]
    assert len(binary) == binary_size
    dtypes = {5126: "<f4", 5125: "<u4", 5121: "u1"}
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}

    def array(index):
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        width = widths[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        dtype = dtypes[accessor["componentType"]]
        count = accessor["count"] * width
        return np.frombuffer(binary, dtype, count, view["byteOffset"]).reshape(-1, width)

    (primitive,) = document["meshes"][0]["primitives"]
    positions = array(primitive["attributes"]["POSITION"])
    np.testing.assert_allclose(positions, vertices, atol=1e-7)
    extent = document["accessors"][primitive["attributes"]["POSITION"]]
    assert extent["min"] == positions.min(0).tolist()
    assert extent["max"] == positions.max(0).tolist()
    np.testing.assert_array_equal(array(primitive["indices"]).reshape(-1, 3), faces)
    if colored:
        rgba = array(primitive["attributes"]["COLOR_0"])
        np.testing.assert_allclose(255 * (rgba[:, :3] / 255) ** (1 / 2.2), colors, atol=22)
        assert (rgba[:, 3] == 255).all()
    # A rotation by 180 degrees about x: what is up in the camera (-y) is up in glTF (+y).
    assert document["nodes"][0]["rotation"] == [1.0, 0.0, 0.0, 0.0]


def test_meshes_of_the_first_frames(tmp_path, monkeypatch):
    path, frames = synthetic_bag(tmp_path / "in", 3, **SMALL)
    chosen = settings("ply", "glb", "obj", num_mesh_frames=2)
    process(monkeypatch, tmp_path / "out", path, chosen, [two_hands])
    for kind in mesh_files.FORMATS:
        names = sorted(p.name for p in (tmp_path / "out" / "in" / kind).iterdir())
        assert names == [f"00000_left_4.{kind}", f"00000_right_3.{kind}", f"00001_right_1.{kind}"]
    left = (tmp_path / "out" / "in" / "ply" / "00000_left_4.ply").read_bytes()
    hand = posed_hand(frames[0], side=Side.LEFT)
    assert left == ply(hand.vertices_m, OPEN_HAND.mirrored().faces)


def test_overlay_keeps_size_rate_and_number_of_frames(tmp_path, monkeypatch):
    frames = synthetic_frames(9, width=161, height=121, noise=0.0)
    path = write_video(tmp_path / "clip.mp4", frames, rate_hz=24.0)
    process(monkeypatch, tmp_path / "out", path, settings("overlay"), [nothing] + 8 * [two_hands])
    capture = cv2.VideoCapture(str(tmp_path / "out" / "clip" / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(24.0, abs=0.01)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 9
    source = cv2.VideoCapture(str(path))
    differences = []
    for _ in frames:
        (_, drawn), (_, plain) = capture.read(), source.read()
        plain = cv2.resize(plain, drawn.shape[1::-1], interpolation=cv2.INTER_AREA)
        differences.append(float(np.abs(drawn.astype(int) - plain).mean()))
    assert differences[0] < 3.0
    assert min(differences[1:]) > 3.0 * differences[0], differences


def test_pictures_of_several_sizes_keep_them(tmp_path, monkeypatch):
    frames = [*synthetic_frames(2, **SMALL), *synthetic_frames(1, width=101, height=90)]
    folder = write_pictures(tmp_path / "stills", frames)
    chosen = settings("overlay", "npz", stills_rate_hz=4.0)
    _, pipeline = process(monkeypatch, tmp_path / "out", folder, chosen, [nothing, two_hands])
    # ROS takes a stamp of 0 for "unset", so what has no clock begins at one second.
    assert [f.stamp_ns for f in pipeline.frames] == [1_000_000_000, 1_250_000_000, 1_500_000_000]
    # At another camera; not at each picture.
    assert (pipeline.resets, pipeline.detector.resets, pipeline.forgotten) == (1, 1, 1)
    overlay = tmp_path / "out" / "stills" / "overlay"
    pictures = [cv2.imread(str(p)) for p in sorted(overlay.iterdir())]
    assert [p.shape for p in pictures] == [(120, 160, 3), (120, 160, 3), (90, 101, 3)]
    np.testing.assert_array_equal(pictures[0][:, :, ::-1], frames[0].image)


def off_by_9_px(frame):
    hand = posed_hand(frame)
    return [replace(hand, keypoints_px=hand.keypoints_px + 9.0)]


class Links(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.found, self.pictures = [], 0

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe")
        for name, value in attrs:
            if name in ("src", "href") and value.startswith("data:image/jpeg;base64,"):
                self.pictures += 1
            elif name in ("src", "href"):
                self.found.append(value)


def test_summary_needs_nothing_but_itself(tmp_path, monkeypatch):
    path, _ = synthetic_bag(tmp_path / "in", 40, **SMALL)
    script = 10 * [two_hands] + 6 * [nothing] + 10 * [two_hands] + [off_by_9_px]
    process(monkeypatch, tmp_path / "out", path, settings("summary"), script)
    page = (tmp_path / "out" / "in" / "summary.html").read_text()
    links = Links()
    links.feed(page)
    assert links.found == []
    assert 1 <= links.pictures <= 3  # half a second apart, in 1.3 s
    assert re.findall(r"<figcaption>frame (\d+),", page)[0] == "26"
    assert "url(" not in page
    outside = re.findall(r"https?://[^\"' ]+", page)
    assert set(outside) == {"http://www.w3.org/2000/svg"}  # the name of a format, not a place
    assert "40, of which 34 (85.0%) show a hand" in page
    assert "1 gap(s) without any hand, the longest: 0.20 s at 0.33 s" in page
    assert "30.00 frames/s (median)" in page


def test_statistics():
    statistics = Statistics()
    frames = synthetic_frames(8, **SMALL)
    for i, frame in enumerate(frames):
        T = np.eye(4)
        T[:3, 3] = 0.0, 0.0, 0.5 + 0.01 * i + (0.002 if i % 2 else 0.0)
        hands = () if i in (0, 4) else (posed_hand(frame, T_camera_wrist=T),)
        statistics.add(Result(round(i * 1e9 / 10), "cam", hands))
    assert (statistics.num_frames, statistics.num_frames_with_hand) == (8, 6)
    gaps = [(round(g.start_s, 3), round(g.duration_s, 3)) for g in statistics.gaps()]
    assert sorted(gaps) == [(0.0, 0.1), (0.4, 0.1)]
    first, second = statistics.stretches()
    np.testing.assert_allclose(first.time_s, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(second.distance_m, [0.552, 0.56, 0.572])
    # A steady 10 mm a frame is no jitter; 2 mm to and fro are.
    np.testing.assert_allclose(statistics.jitter_mm(), [2.0, 2.0], atol=1e-9)


def test_reprojection_is_a_share_of_the_hand():
    frame = synthetic_frames(1, **SMALL)[0]
    hand = posed_hand(frame)
    assert reprojection_percent(hand, frame.camera) == pytest.approx(0.0, abs=1e-9)
    size_px = np.ptp(hand.keypoints_px, axis=0).max()
    moved = posed_hand(frame, keypoints_px=hand.keypoints_px + np.array([0.05 * size_px, 0.0]))
    assert reprojection_percent(moved, frame.camera) == pytest.approx(5.0)


def test_charts_are_sound_svg():
    x = np.linspace(0.0, 10.0, 5000)
    line = Line(x, -np.abs(x - 2.5), "#123456")
    svg = ET.fromstring(line_chart([line], x_end=10.0, y_name="m"))
    (polyline,) = svg.iter("{http://www.w3.org/2000/svg}polyline")
    points = np.array([p.split(",") for p in polyline.get("points").split()], float)
    assert len(points) <= 1500
    assert points[0, 0] == 60.0
    assert points[:, 0].max() == pytest.approx(890.0, abs=1.0)
    assert points[:, 1].argmin() == np.argmax(line.y[::4])  # SVG's y points down
    svg = ET.fromstring(bar_chart([Bar("left", 2.5, 5.0, "red")], x_end=10.0, labels=["left"]))
    (rect,) = svg.iter("{http://www.w3.org/2000/svg}rect")
    assert float(rect.get("x")) == pytest.approx(60 + 0.25 * 830)
    assert float(rect.get("width")) == pytest.approx(0.25 * 830)
