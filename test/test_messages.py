from dataclasses import replace

import numpy as np
import pytest
from hand_samples import NUM_FACES, NUM_VERTICES, sample_detection, sample_hand, small_hand_model

from hand_mesh_ros.conventions import JOINT_NAMES, KEYPOINT_NAMES, RootSource, Side
from hand_mesh_ros.grasp import T_camera_grasp
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.joint_angles import JointAngles
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.named_hands import NamedHands
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.safety import broken_fields
from hand_mesh_ros.types import Result

STAMP_NS = 1_700_000_000_123_456_789
STORE = Typestore("jazzy")


def over_the_wire(message):
    """The message as a subscriber decodes it."""
    type_name = message.__msgtype__
    return STORE.decode(STORE.encode(message, type_name), type_name)


def rotate(quaternion, vector):
    """q v q* by the textbook formula, with a geometry_msgs/Quaternion."""
    u, w = np.array([quaternion.x, quaternion.y, quaternion.z]), quaternion.w
    return vector + 2 * np.cross(u, np.cross(u, vector) + w * vector)


def stamp_ns(header):
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def test_hand_mesh_carries_every_number_of_the_hand():
    hand = sample_hand(
        keypoint_stddev_m=np.linspace(0.001, 0.01, 21),
        vertex_stddev_m=np.linspace(0.002, 0.02, NUM_VERTICES),
        vertex_colors=np.arange(3 * NUM_VERTICES, dtype=np.uint8).reshape(-1, 3),
        root_source=RootSource.ASSUMED_CAMERA,
    )
    got = over_the_wire(messages.hand_mesh(STORE, hand, STAMP_NS, "cam"))
    assert stamp_ns(got.header) == STAMP_NS
    assert got.header.frame_id == "cam"
    assert (got.side, got.track_id, got.root_source) == (1, 7, 2)
    assert (got.model, got.hand_model) == ("landmark_fit", "test_hand")
    for name, expected in (
        ("side_score", 0.97),
        ("score", 0.9),
        ("grasp_aperture", 0.043),
        ("keypoints", hand.keypoints_m.ravel()),
        ("keypoint_stddev", hand.keypoint_stddev_m),
        ("keypoints_2d", hand.keypoints_px.ravel()),
        ("vertices", hand.vertices_m.ravel()),
        ("vertex_stddev", hand.vertex_stddev_m),
        ("pose", hand.pose),
        ("shape", hand.shape),
    ):
        np.testing.assert_allclose(getattr(got, name), expected, rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(got.vertex_colors, hand.vertex_colors.ravel())
    np.testing.assert_array_equal(got.root.covariance, np.arange(36.0))
    roi = got.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (100, 50, 101, 130)


def test_what_was_not_estimated_is_empty_and_not_zero():
    hand = sample_hand(pose=None, shape=None)
    got = over_the_wire(messages.hand_mesh(STORE, hand, STAMP_NS, "cam"))
    for name in ("vertex_stddev", "vertex_colors", "pose", "shape"):
        assert len(getattr(got, name)) == 0, name
    assert not got.keypoint_stddev.any()  # the message defines 0 as "not estimated"


@pytest.mark.parametrize("side", list(Side))
def test_root_axes_are_palm_and_fingers_for_both_hands(side):
    """A flat hand in the model's frame: a right hand has fingers -x, a left one +x; palms -y."""
    fingers = np.array([-1.0 if side is Side.RIGHT else 1.0, 0.0, 0.0])
    palm = np.array([0.0, -1.0, 0.0])
    T = np.eye(4)
    T[:3, :3] = rotation_from_axis_angle(np.array([0.4, -0.9, 1.3]))
    T[:3, 3] = 0.1, 0.2, 0.5
    got = messages.hand_mesh(STORE, sample_hand(side, T_camera_wrist=T), STAMP_NS, "cam").root.pose
    assert (got.position.x, got.position.y, got.position.z) == (0.1, 0.2, 0.5)
    x, z = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    np.testing.assert_allclose(rotate(got.orientation, z), T[:3, :3] @ fingers, atol=1e-12)
    np.testing.assert_allclose(rotate(got.orientation, x), T[:3, :3] @ palm, atol=1e-12)


def test_quaternion_order_by_quarter_turns():
    """90 degrees tell every order and sign apart; 180 would not."""
    half = np.sqrt(0.5)
    for axis in range(3):
        angle = np.zeros(3)
        angle[axis] = np.pi / 2
        expected = np.zeros(4)
        expected[axis], expected[3] = half, half
        got = messages.quaternion_xyzw(rotation_from_axis_angle(angle))
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_quaternion_of_any_rotation_turns_vectors_as_the_matrix_does():
    rng = np.random.default_rng(0)
    for scale in (1e-9, 0.1, 1.0, np.pi):
        for _ in range(50):
            axis = rng.normal(size=3)
            R = rotation_from_axis_angle(axis / np.linalg.norm(axis) * scale)
            x, y, z, w = messages.quaternion_xyzw(R)
            u, v = np.array([x, y, z]), rng.normal(size=3)
            np.testing.assert_allclose(
                v + 2 * np.cross(u, np.cross(u, v) + w * v), R @ v, atol=1e-12
            )
            assert w >= 0


def test_hand_mesh_array_holds_all_hands_or_none():
    hands = (sample_hand(Side.LEFT, track_id=3), sample_hand(Side.RIGHT, track_id=4))
    result = Result(stamp_ns=STAMP_NS, frame_id="cam", hands=hands)
    got = over_the_wire(messages.hand_mesh_array(STORE, result, latency_s=1.25))
    assert [h.track_id for h in got.hands] == [3, 4]
    assert [h.side for h in got.hands] == [0, 1]
    assert {stamp_ns(m.header) for m in (got, *got.hands)} == {STAMP_NS}
    assert (got.latency.sec, got.latency.nanosec) == (1, 250_000_000)
    empty = over_the_wire(messages.hand_mesh_array(STORE, replace(result, hands=()), 0.0))
    assert empty.hands == []
    assert stamp_ns(empty.header) == STAMP_NS
    assert empty.header.frame_id == "cam"


@pytest.mark.parametrize("side", list(Side))
def test_topology_has_the_faces_of_a_right_hand(side):
    got = over_the_wire(messages.hand_topology(STORE, small_hand_model(side)))
    right = small_hand_model(Side.RIGHT)
    np.testing.assert_array_equal(got.faces.reshape(NUM_FACES, 3), right.faces)
    assert tuple(got.keypoint_names) == KEYPOINT_NAMES
    assert tuple(got.joint_names) == JOINT_NAMES
    assert got.joint_parents[0] == -1
    np.testing.assert_array_equal(got.vertex_region, right.vertex_region)
    np.testing.assert_array_equal(messages.faces_of(right, Side.LEFT), right.faces[:, ::-1])


def test_tf_has_root_and_grasp_of_each_hand_under_its_own_name():
    hands = [sample_hand(Side.LEFT, seed=1), sample_hand(Side.RIGHT, seed=2)]
    got = over_the_wire(messages.tf_message(STORE, hands, STAMP_NS, "cam", prefix="op_")).transforms
    assert [t.child_frame_id for t in got] == [
        "op_left_hand_root",
        "op_left_hand_grasp",
        "op_right_hand_root",
        "op_right_hand_grasp",
    ]
    assert {t.header.frame_id for t in got} == {"cam"}
    assert {stamp_ns(t.header) for t in got} == {STAMP_NS}
    T = T_camera_grasp(hands[1].keypoints_m)
    q, p = got[3].transform.rotation, got[3].transform.translation
    np.testing.assert_allclose([p.x, p.y, p.z], T[:3, 3])
    np.testing.assert_allclose(rotate(q, np.array([0, 0, 1.0])), T[:3, 2], atol=1e-12)
    assert over_the_wire(messages.tf_message(STORE, [], STAMP_NS, "cam")).transforms == []


def test_quaternion_order_is_x_y_z_w():
    quarter = messages.quaternion_xyzw(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(quarter, [0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-15)


def test_joint_states_name_each_angle_with_its_side():
    angles = JointAngles(load_open_hand())
    left, right = sample_hand(Side.LEFT, seed=1), sample_hand(Side.RIGHT, seed=2)
    got = over_the_wire(messages.joint_states(STORE, angles, [left, right], STAMP_NS, "cam"))
    assert (stamp_ns(got.header), got.header.frame_id) == (STAMP_NS, "cam")
    assert len(got.name) == len(got.position) == 42
    assert len(set(got.name)) == 42
    position = dict(zip(got.name, got.position, strict=True))
    at = angles.names.index("index_pip_flexion")
    for name, hand in (("left", left), ("right", right)):
        expected = angles.of(hand.pose, hand.side)
        assert position[f"{name}_index_pip_flexion"] == pytest.approx(expected[at], abs=1e-12)
    assert (len(got.velocity), len(got.effort)) == (0, 0)
    one = messages.joint_states(STORE, angles, [replace(left, pose=None), right], STAMP_NS, "cam")
    assert {n.split("_")[0] for n in over_the_wire(one).name} == {"right"}


def test_detections_are_a_point_cloud_of_raw_keypoints():
    detections = [sample_detection(Side.LEFT, seed=1), sample_detection(Side.RIGHT, seed=2)]
    got = over_the_wire(messages.detection_cloud(STORE, detections, STAMP_NS, "cam"))
    names = [f.name for f in got.fields]
    assert names == ["hand", "side", "score", "x", "y", "z", "u", "v"]
    assert [f.offset for f in got.fields] == [0, 4, 8, 12, 16, 20, 24, 28]
    assert {f.datatype for f in got.fields} == {7}  # FLOAT32
    assert (got.height, got.width, got.point_step, got.row_step) == (1, 42, 32, 42 * 32)
    points = got.data.view(np.float32).reshape(2, 21, 8)
    np.testing.assert_array_equal(points[:, :, 0], [[0] * 21, [1] * 21])
    np.testing.assert_array_equal(points[:, 0, 1], [0, 1])
    np.testing.assert_allclose(points[1, :, 3:6], detections[1].keypoints_rel_m, rtol=1e-6)
    np.testing.assert_allclose(points[0, :, 6:], detections[0].keypoints_px, rtol=1e-6)


def test_without_a_guess_of_depth_the_cloud_has_no_depth_fields():
    detections = [sample_detection(with_depth=False), sample_detection()]
    got = over_the_wire(messages.detection_cloud(STORE, detections, STAMP_NS, "cam"))
    assert [f.name for f in got.fields] == ["hand", "side", "score", "u", "v"]
    points = got.data.view(np.float32).reshape(2, 21, 5)
    assert np.isfinite(points).all()
    np.testing.assert_allclose(points[0, :, 3:], detections[0].keypoints_px, rtol=1e-6)
    assert over_the_wire(messages.detection_cloud(STORE, [], STAMP_NS, "cam")).width == 0


def test_image_message_round_trip():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    got = over_the_wire(messages.image_message(STORE, image[:, ::-1], STAMP_NS, "cam"))
    assert (got.width, got.height, got.step, got.encoding) == (6, 4, 18, "rgb8")
    np.testing.assert_array_equal(got.data.reshape(4, 6, 3), image[:, ::-1])


def test_numbers_that_are_not_finite_are_named():
    assert broken_fields(sample_hand()) == []
    vertices = sample_hand().vertices_m.copy()
    vertices[3, 1] = np.nan
    hand = sample_hand(vertices_m=vertices, grasp_aperture_m=np.inf, pose=None)
    assert broken_fields(hand) == ["vertices_m", "grasp_aperture_m"]


def test_one_hand_of_a_side_owns_its_name_until_it_is_lost():
    named = NamedHands()
    old = sample_hand(Side.LEFT, track_id=1, score=0.8)
    rival = sample_hand(Side.LEFT, track_id=2, score=0.9)
    right = sample_hand(Side.RIGHT, track_id=3)

    def ids(*hands):
        return [h.track_id for h in named.update(hands)]

    assert ids(old, right) == [1, 3]
    assert ids(rival, old, right) == [1, 3]  # seen without a break: no change of owner
    assert ids(rival) == [2]
    assert ids(rival, old) == [2]
    assert ids() == []
    assert ids(old, rival) == [2]  # both new: the better score
    named.reset()
    assert ids(old, replace(rival, score=0.8)) == [1]  # a tie: the older track
