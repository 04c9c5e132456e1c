"""The teleoperation example: its types, its frame, its choice; and the robot, where it can run."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cyclonedds.domain import DomainParticipant
from dds_peers import Program, free_domain, wait_until
from hand_samples import sample_hand

from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.dds_graph import DdsGraph
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.types import Result

EXAMPLE = Path(__file__).parents[1] / "examples" / "teleoperation"
if not EXAMPLE.exists():
    pytest.skip("no examples folder here", allow_module_level=True)
sys.path.insert(0, str(EXAMPLE))

import operator_hand  # noqa: E402
import ros_types  # noqa: E402
import teleoperate  # noqa: E402

STORE = Typestore("jazzy")
ARRAY, JOINT_STATE = "hand_mesh_ros/msg/HandMeshArray", "sensor_msgs/msg/JointState"
R_ANY = rotation_from_axis_angle(np.array([0.4, -1.1, 2.0]))
# A robot of two fingers with one joint each: turned by an angle, it points from z towards x.
ROBOT = """<robot name="two_fingers"><link name="palm"/>{}</robot>""".format(
    "".join(
        f"""<link name="{name}"/><link name="{name}_tip"/>
<joint name="bend_{name}" type="revolute"><parent link="palm"/><child link="{name}"/>
<axis xyz="0 1 0"/><limit lower="-0.2" upper="1.0" effort="1" velocity="1"/></joint>
<joint name="end_{name}" type="fixed"><parent link="{name}"/><child link="{name}_tip"/>
<origin xyz="0 0 0.1"/></joint>"""
        for name in ("index", "middle")
    )
)
CONFIG = """retargeting: {type: vector, urdf_path: "", target_origin_link_names: [palm, palm],
  target_task_link_names: [index_tip, middle_tip], target_link_human_indices: [[0, 0], [8, 12]],
  scaling_factor: 1.0, low_pass_alpha: 0.2}"""


def array_of(*hands, stamp_ns=1_700_000_000_123_456_789):
    result = Result(stamp_ns=stamp_ns, frame_id="camera", hands=hands)
    return messages.hand_mesh_array(STORE, result, 0.0125)


def open_hand(side, bend_deg=0.0):
    """The open hand in any place, its fingers bent; and where its root frame is."""
    model = load_open_hand()
    anatomy = Anatomy.of(model)
    angles = anatomy.rest_rad.copy()
    for finger in ("index", "middle", "ring", "little"):
        angles[anatomy.angle(f"{finger}_mcp_flexion")] += np.radians(bend_deg)
    pose = anatomy.pose(angles, np.eye(3))
    if side is Side.LEFT:
        model, pose = model.mirrored(), mirror_axis_angle(pose)
    posed = model.pose_hand(pose, np.zeros(10))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R_ANY, [0.1, -0.05, 0.6]
    keypoints = model.keypoints(posed, np.zeros(10), "detector") @ R_ANY.T + T[:3, 3]
    return sample_hand(side, keypoints_m=keypoints, T_camera_wrist=T)


def pointing(angle_rad, **changes):
    """A right hand, index tip 0.1 m from the wrist, so far from z towards x; middle tip at z."""
    hand = sample_hand(Side.RIGHT, **changes)
    T = messages.T_camera_root(hand)
    in_root = np.zeros((21, 3))
    in_root[5], in_root[9], in_root[12] = [0.0, 0.03, 0.09], [0.0, 0.0, 0.09], [0.0, 0.0, 0.1]
    in_root[8] = 0.1 * np.array([np.sin(angle_rad), 0.0, np.cos(angle_rad)])
    return replace(hand, keypoints_m=in_root @ T[:3, :3].T + T[:3, 3])


def keypoints_of(hand):
    return operator_hand.operator_keypoints(messages.hand_mesh(STORE, hand, 1, "camera"))


def test_hand_meshes_are_read_field_by_field():
    sent = array_of(sample_hand(Side.LEFT), sample_hand(Side.RIGHT, track_id=9))
    read = ros_types.message_type("hand_mesh_ros/HandMeshArray").deserialize(STORE.encode(sent))
    assert (read.header.stamp.sec, read.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert read.latency.nanosec == 12_500_000
    assert [hand.track_id for hand in read.hands] == [7, 9]
    for ours, its in zip(sent.hands, read.hands, strict=True):
        assert its.side == ours.side
        assert its.root.pose.orientation.w == ours.root.pose.orientation.w
        np.testing.assert_array_equal(its.keypoints, ours.keypoints)
        assert its.hand_model == ours.hand_model  # the last field: all before have their size


def test_every_field_of_our_messages_has_a_type():
    for name in ("HandMesh", "HandMeshArray"):
        fields = list(ros_types.message_type(f"hand_mesh_ros/{name}").__annotations__)
        assert fields == [field for field, _ in STORE.fields(f"hand_mesh_ros/msg/{name}")]


def test_standard_messages_are_those_of_ros():
    for name in ros_types.STANDARD:
        package, short = name.split("/")
        fields = list(ros_types.message_type(name).__annotations__)
        assert fields == [field for field, _ in STORE.fields(f"{package}/msg/{short}")], name


def test_joint_states_are_ros_messages():
    header = ros_types.message_type("hand_mesh_ros/HandMeshArray").deserialize(
        STORE.encode(array_of())
    )
    made = ros_types.message_type("sensor_msgs/JointState")(
        header.header, ["a", "bc"], [0.5, -1.25], [], []
    )
    read = STORE.decode(made.serialize(use_version_2=False), JOINT_STATE)
    assert read.header.stamp.nanosec == 123_456_789
    assert list(read.name) == ["a", "bc"]
    np.testing.assert_array_equal(read.position, [0.5, -1.25])


@pytest.mark.parametrize("side", Side)
def test_where_the_camera_is_makes_no_difference(side):
    hand = open_hand(side)
    moved = hand.keypoints_m @ R_ANY.T + [0.3, 0.1, -0.2]
    expected = keypoints_of(hand)
    np.testing.assert_allclose(keypoints_of(replace(hand, keypoints_m=moved)), expected, atol=1e-6)
    lengths = np.linalg.norm(hand.keypoints_m - hand.keypoints_m[0], axis=1)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), lengths, atol=1e-6)


@pytest.mark.parametrize(("side", "thumb"), [(Side.RIGHT, 1.0), (Side.LEFT, -1.0)])
def test_the_axes_are_the_operators(side, thumb):
    flat, bent = keypoints_of(open_hand(side)), keypoints_of(open_hand(side, bend_deg=70.0))
    np.testing.assert_allclose(flat[9, :2], 0.0, atol=1e-6)
    assert flat[9, 2] > 0.05
    assert thumb * (flat[5] - flat[17])[1] > 0.03  # y from little to thumb, of a left hand away
    assert (bent - flat)[[8, 12, 16, 20], 0].min() > 0.03  # what closes moves out of the palm


def test_left_and_right_are_each_others_mirror_image():
    left, right = keypoints_of(open_hand(Side.LEFT)), keypoints_of(open_hand(Side.RIGHT))
    np.testing.assert_allclose(left * [1.0, -1.0, 1.0], right, atol=1e-6)


@pytest.mark.parametrize("side", Side)
def test_the_frame_is_that_of_dex_retargeting(side):
    """Its examples: the plane of three keypoints gives MANO's axes, which a constant turns."""
    hand = open_hand(side)
    k = hand.keypoints_m - hand.keypoints_m[0]
    corners = k[[0, 5, 9]]
    normal = np.linalg.svd(corners - corners.mean(0))[2][2]
    x = -k[9] / np.linalg.norm(k[9])
    z = np.cross(x, normal)
    if z @ (k[5] - k[9]) < 0:
        normal, z = -normal, -z
    turn = {
        Side.RIGHT: [[0, 0, -1], [-1, 0, 0], [0, 1, 0]],
        Side.LEFT: [[0, 0, -1], [1, 0, 0], [0, -1, 0]],
    }[side]
    expected = k @ np.stack([x, normal, z], axis=1) @ np.array(turn)
    np.testing.assert_allclose(keypoints_of(hand), expected, atol=1e-6)


@pytest.mark.parametrize("side", Side)
def test_the_published_root_frame_is_near(side):
    hand = open_hand(side)
    T = messages.T_camera_root(hand)
    in_root = (hand.keypoints_m - hand.keypoints_m[0]) @ T[:3, :3]
    U, _, Vt = np.linalg.svd(in_root.T @ keypoints_of(hand))
    angle_deg = np.degrees(np.arccos((np.trace(U @ Vt) - 1) / 2))
    assert angle_deg < 20.0


def test_the_followed_hand_leads_while_it_is_seen():
    def hand(track_id, side=1, score=0.9):
        return SimpleNamespace(track_id=track_id, side=side, score=score)

    def leader(hands, followed=None, side="right"):
        chosen = operator_hand.leading_hand(hands, side, 0.5, followed)
        return None if chosen is None else chosen.track_id

    hands = [hand(1, side=0), hand(2, score=0.7), hand(3), hand(4, score=0.4)]
    assert leader(hands) == 3  # the surest of its side
    assert leader(hands, followed=2) == 2
    assert leader(hands, followed=4) == 3  # not sure enough any more
    assert leader(hands, side="left") == 1
    assert leader(hands[:1]) is None
    assert leader([]) is None


def test_arrays_come_over_dds():
    domain = free_domain()
    graph = DdsGraph("hand_mesh", domain_id=domain)
    publisher = graph.publisher("hand_meshes", ARRAY, Qos())
    arrays = teleoperate._messages(DomainParticipant(domain), "/hand_meshes")
    message = STORE.encode(array_of(sample_hand(Side.RIGHT, track_id=5)))

    def publish():  # what is sent before the first next() has made the reader is lost
        wait_until(lambda: publisher.subscriber_count == 1, "the reader")
        publisher.publish(message)

    with ThreadPoolExecutor() as pool:
        sending = pool.submit(publish)
        assert [hand.track_id for hand in next(arrays).hands] == [5]
        sending.result()
    arrays.close()
    graph.shutdown()


def program(folder, *arguments):
    (folder / "robot.urdf").write_text(ROBOT)
    (folder / "config.yml").write_text(CONFIG)
    files = ["--config", folder / "config.yml", "--urdf", folder / "robot.urdf"]
    return [sys.executable, EXAMPLE / "teleoperate.py", *files, *arguments]


@pytest.mark.skipif(find_spec("dex_retargeting") is not None, reason="dex-retargeting is here")
def test_without_dex_retargeting_it_says_what_to_install(tmp_path):
    with Program(program(tmp_path), PYTHONPATH=None) as run:
        run.log_line("dex_retargeting", "pip install -r requirements.txt")
        assert run.finish() == 1


@pytest.mark.skipif(find_spec("dex_retargeting") is None, reason="needs dex-retargeting (NumPy 2)")
def test_a_robot_follows_within_its_limits_and_its_speed(tmp_path):
    domain = free_domain()
    graph = DdsGraph("hand_mesh", domain_id=domain)
    publisher = graph.publisher("hand_meshes", ARRAY, Qos())
    published = []
    graph.subscribe("/targets", JOINT_STATE, Qos(), lambda cdr: published.append(bytes(cdr)))
    frame = 0

    def lead(angle_rad, track_id=1, frames=1):
        nonlocal frame
        for _ in range(frames):
            frame += 1
            hand = pointing(angle_rad, track_id=track_id)
            publisher.publish(STORE.encode(array_of(hand, stamp_ns=10**18 + frame * 25_000_000)))
            line = json.loads(run.line())
        return line

    arguments = ["--domain", domain, "--targets", "targets", "--max-speed", 4.0]
    with Program(program(tmp_path, *arguments), PYTHONPATH=None) as run:
        wait_until(lambda: publisher.subscriber_count == 1, "the example")
        assert lead(0.3, frames=20)["joints_rad"]["bend_index"] == pytest.approx(0.3, abs=0.02)
        first = lead(0.8)["joints_rad"]["bend_index"]
        assert first == pytest.approx(0.4, abs=0.02)  # 25 ms at 4 rad/s
        assert lead(0.8, frames=20)["joints_rad"]["bend_index"] == pytest.approx(0.8, abs=0.02)
        assert lead(1.5, frames=20)["joints_rad"]["bend_index"] == 1.0  # its limit
        publisher.publish(STORE.encode(array_of()))
        run.log_line("no right hand")
        line = lead(0.0, track_id=2)  # another hand: no jump either
        assert line["track_id"] == 2
        assert line["joints_rad"]["bend_index"] == pytest.approx(0.9, abs=0.02)
        wait_until(lambda: len(published) == 62, "all targets")
        run.process.terminate()
    last = STORE.decode(published[-1], JOINT_STATE)
    graph.shutdown()
    assert list(last.name) == ["bend_index", "bend_middle"]
    assert last.position[1] == pytest.approx(0.0, abs=0.02)
    assert last.position[0] == pytest.approx(line["joints_rad"]["bend_index"], abs=1e-4)
    assert last.header.stamp.nanosec == (10**18 + frame * 25_000_000) % 10**9
