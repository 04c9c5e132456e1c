"""Skinning and conventions on a made-up hand, against slow references and by names."""

from dataclasses import replace

import numpy as np
import pytest
from mano_like import TIPS, made_up_arrays
from scipy.spatial.transform import Rotation

from hand_mesh_ros import conventions as conv
from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS, JOINT_NAMES, JOINT_PARENTS, Side
from hand_mesh_ros.hand_models.hand_model import (
    HandModel,
    forward_kinematics,
    skeleton_keypoints,
)
from hand_mesh_ros.rotations import rotation_from_axis_angle

NO_POSE, NO_SHAPE = np.zeros(48), np.zeros(10)


@pytest.fixture(scope="module")
def model():
    arrays = made_up_arrays()
    anatomical = skeleton_keypoints(
        arrays["v_template"], arrays["shapedirs"], arrays["J_regressor"], list(TIPS.values())
    )
    return HandModel(
        name="made_up",
        side=Side.RIGHT,
        template_m=arrays["v_template"],
        faces=arrays["f"].astype(np.int32),
        shape_dirs_m=arrays["shapedirs"],
        joint_regressor=arrays["J_regressor"],
        skinning_weights=arrays["weights"],
        keypoint_regressors={"anatomical": anatomical},
        flexion_axes=np.tile([0.0, 0.0, 1.0], (16, 1)),
        pose_dirs_m=arrays["posedirs"],
        pose_mean=arrays["hands_mean"],
    )


@pytest.fixture(scope="module")
def rigid(model):
    """Without pose blend shapes and mean pose: what a joint does not carry stays where it is."""
    return replace(model, pose_dirs_m=None, pose_mean=None)


def random_pose(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 0.6, 48), rng.normal(0.0, 1.0, 10)


def bend(joint, degrees, axis=(0.0, 0.0, 1.0)):
    pose = np.zeros((16, 3))
    pose[joint] = np.radians(degrees) * np.array(axis)
    return pose.reshape(48)


def slow_skinning(model, pose, shape):
    """Vertex by vertex with 4 x 4 matrices, the chain walked from each joint to the root."""
    rotations = Rotation.from_rotvec(
        (pose + np.concatenate([np.zeros(3), model.pose_mean])).reshape(16, 3)
    ).as_matrix()
    shaped = model.template_m + sum(shape[k] * model.shape_dirs_m[:, :, k] for k in range(10))
    rest = model.joint_regressor @ shaped
    feature = np.concatenate([(R - np.eye(3)).ravel() for R in rotations[1:]])
    shaped = shaped + sum(feature[k] * model.pose_dirs_m[:, :, k] for k in range(135))

    def T_world_joint(joint):
        local, parent = np.eye(4), JOINT_PARENTS[joint]
        local[:3, :3] = rotations[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0.0)
        return local if parent < 0 else T_world_joint(parent) @ local

    def T_from_rest(joint):
        back = np.eye(4)
        back[:3, 3] = -rest[joint]
        return T_world_joint(joint) @ back

    maps = [T_from_rest(joint) for joint in range(16)]
    vertices = np.zeros((len(shaped), 3))
    for v, point in enumerate(shaped):
        blended = np.zeros((4, 4))
        for joint in range(16):
            blended += model.skinning_weights[v, joint] * maps[joint]
        vertices[v] = (blended @ [*point, 1.0])[:3]
    joints = np.array([T_world_joint(joint)[:3, 3] for joint in range(16)])
    return vertices - joints[0], joints - joints[0]


# Skinning


@pytest.mark.parametrize("seed", range(2))
def test_pose_hand_equals_the_slow_reference(model, seed):
    pose, shape = random_pose(seed)
    hand = model.pose_hand(pose, shape)
    vertices, joints = slow_skinning(model, pose, shape)
    np.testing.assert_allclose(hand.vertices_m, vertices, atol=1e-12)
    np.testing.assert_allclose(hand.joints_m, joints, atol=1e-12)


def test_zero_pose_is_the_shaped_template(rigid):
    _, shape = random_pose(3)
    hand = rigid.pose_hand(NO_POSE, shape)
    shaped = rigid.template_m + rigid.shape_dirs_m @ shape
    wrist = rigid.joint_regressor[0] @ shaped
    np.testing.assert_allclose(hand.vertices_m, shaped - wrist, atol=1e-12)
    np.testing.assert_allclose(hand.joints_m, rigid.joints_at_rest(shape), atol=1e-12)
    np.testing.assert_allclose(hand.joints_m, rigid.joint_regressor @ hand.vertices_m, atol=1e-12)
    np.testing.assert_array_equal(hand.R_joints, np.tile(np.eye(3), (16, 1, 1)))


def test_mean_pose_is_added_to_the_fingers_alone(model):
    pose, shape = random_pose(4)
    moved = pose + np.concatenate([np.zeros(3), model.pose_mean])
    expected = replace(model, pose_mean=None).pose_hand(moved, shape)
    np.testing.assert_array_equal(model.pose_hand(pose, shape).vertices_m, expected.vertices_m)
    np.testing.assert_array_equal(model.full_pose(pose)[:3], pose[:3])


def test_global_rotation_turns_about_the_wrist(model):
    pose, shape = random_pose(5)
    still = np.concatenate([np.zeros(3), pose[3:]])
    R = Rotation.from_rotvec(pose[:3]).as_matrix()
    before, after = model.pose_hand(still, shape), model.pose_hand(pose, shape)
    np.testing.assert_allclose(after.vertices_m, before.vertices_m @ R.T, atol=1e-12)
    np.testing.assert_allclose(after.joints_m, before.joints_m @ R.T, atol=1e-12)
    np.testing.assert_array_equal(after.joints_m[0], 0.0)
    keypoints = [model.keypoints(hand, shape, "anatomical") for hand in (before, after)]
    np.testing.assert_allclose(keypoints[1], keypoints[0] @ R.T, atol=1e-12)
    np.testing.assert_array_equal(keypoints[1][0], 0.0)


@pytest.mark.parametrize("finger", FINGERS)
def test_one_bent_finger_moves_nothing_else(rigid, finger):
    joints = list(FINGER_JOINTS[finger])
    rest = rigid.pose_hand(NO_POSE, NO_SHAPE)
    hand = rigid.pose_hand(bend(joints[0], 90.0), NO_SHAPE)
    belongs = rigid.skinning_weights[:, joints].sum(axis=1) > 0.0
    assert 30 < belongs.sum() < 400
    moved = np.linalg.norm(hand.vertices_m - rest.vertices_m, axis=1)
    assert moved[~belongs].max() < 1e-12
    assert moved[TIPS[finger]] > 0.03
    others = [j for j in range(16) if j not in joints[1:]]  # a joint's own rotation leaves it there
    np.testing.assert_allclose(hand.joints_m[others], rest.joints_m[others], atol=1e-12)
    assert np.linalg.norm(hand.joints_m - rest.joints_m, axis=1)[joints[1:]].min() > 0.01
    tip_names = [n for n in conv.KEYPOINT_NAMES if n.endswith("_tip")]
    before, after = (rigid.keypoints(h, NO_SHAPE, "anatomical") for h in (rest, hand))
    for name in tip_names:
        shift = np.linalg.norm((after - before)[conv.KEYPOINT_NAMES.index(name)])
        assert (shift > 0.03) == name.startswith(finger), name


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "little"])
def test_flexion_about_plus_z_takes_the_tip_to_the_palm_side(rigid, finger):
    """Fingers point to -x; 90 degrees about +z turns -x to -y, the palm side, in closed form."""
    mcp, pip, _ = FINGER_JOINTS[finger]
    rest = rigid.pose_hand(NO_POSE, NO_SHAPE)
    hand = rigid.pose_hand(bend(mcp, 90.0), NO_SHAPE)
    arm = rest.vertices_m[TIPS[finger]] - rest.joints_m[mcp]
    expected = rest.joints_m[mcp] + [-arm[1], arm[0], arm[2]]
    np.testing.assert_allclose(hand.vertices_m[TIPS[finger]], expected, atol=1e-12)
    assert arm[0] < -0.04
    assert expected[1] < rest.joints_m[mcp][1] - 0.04
    bone = rest.joints_m[pip] - rest.joints_m[mcp]
    np.testing.assert_allclose(
        hand.joints_m[pip] - hand.joints_m[mcp], [-bone[1], bone[0], bone[2]], atol=1e-12
    )


def test_rest_pose_has_the_stated_axes(rigid):
    keypoints = rigid.keypoints_at_rest("anatomical")
    assert keypoints[12, 0] < -0.15  # middle tip at -x
    assert keypoints[4, 2] > keypoints[20, 2] + 0.05  # thumb on the +z side of the little finger
    expected = rigid.keypoints(rigid.pose_hand(NO_POSE, NO_SHAPE), NO_SHAPE, "anatomical")
    np.testing.assert_allclose(keypoints, expected, atol=1e-12)


def test_published_root_axes_are_what_they_say(rigid):
    """x out of the palm, y little to thumb (right) or thumb to little (left), z to the tips."""
    for hand in (rigid, rigid.mirrored()):
        R = conv.R_model_root(hand.side)
        assert np.linalg.det(R) == pytest.approx(1.0)
        in_root = hand.keypoints_at_rest("anatomical") @ R
        assert in_root[12, 2] > 0.15
        towards_thumb = in_root[4, 1] - in_root[20, 1]
        assert (towards_thumb > 0.05) == (hand.side is Side.RIGHT)
        pose = bend(4, 60.0, hand.flexion_axes[4])
        curled = hand.keypoints(hand.pose_hand(pose, NO_SHAPE), NO_SHAPE, "anatomical") @ R
        assert curled[12, 0] > in_root[12, 0] + 0.03


def test_hand_length_is_the_sum_of_the_middle_bones(rigid):
    keypoints = rigid.keypoints_at_rest("anatomical")[[0, 9, 10, 11, 12]]
    expected = sum(np.linalg.norm(keypoints[k + 1] - keypoints[k]) for k in range(4))
    assert rigid.hand_length_m(NO_SHAPE) == pytest.approx(expected, rel=1e-12)


def test_vertex_region_is_the_finger_that_carries_the_vertex(rigid):
    for finger in FINGERS:
        assert conv.REGION_NAMES[rigid.vertex_region[TIPS[finger]]] == finger
    wrist_only = rigid.skinning_weights[:, 0] == 1.0
    assert wrist_only.any()
    assert (rigid.vertex_region[wrist_only] == 0).all()


# The other hand


def test_mirrored_twice_is_the_same_model(model):
    twice = model.mirrored().mirrored()
    assert twice.side is Side.RIGHT
    for name in ("template_m", "faces", "shape_dirs_m", "pose_dirs_m", "pose_mean", "flexion_axes"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(model, name), err_msg=name)
    pose, shape = random_pose(6)
    keypoints = [m.keypoints(m.pose_hand(pose, shape), shape, "anatomical") for m in (model, twice)]
    np.testing.assert_array_equal(keypoints[0], keypoints[1])


@pytest.mark.parametrize("seed", range(3))
def test_mirrored_pose_of_mirrored_model_is_the_mirrored_mesh(model, seed):
    pose, shape = random_pose(seed)
    left = model.mirrored()
    hand = model.pose_hand(pose, shape)
    other = left.pose_hand(conv.mirror_axis_angle(pose), shape)
    flip = [-1.0, 1.0, 1.0]
    np.testing.assert_allclose(other.vertices_m, hand.vertices_m * flip, atol=1e-12)
    np.testing.assert_allclose(other.joints_m, hand.joints_m * flip, atol=1e-12)
    np.testing.assert_allclose(other.R_joints, conv.mirror_rotation(hand.R_joints), atol=1e-12)
    np.testing.assert_allclose(
        left.keypoints(other, shape, "anatomical"),
        model.keypoints(hand, shape, "anatomical") * flip,
        atol=1e-12,
    )
    # The same pose without the mirror is another hand: the test above can fail.
    wrong = left.pose_hand(pose, shape)
    assert np.abs(wrong.vertices_m - hand.vertices_m * flip).max() > 0.01


def test_mirrored_faces_look_the_other_way_round(model):
    """A mirror turns every normal inside out unless the winding is reversed."""
    left = model.mirrored()

    def normals(hand):
        a, b, c = (hand.template_m[hand.faces[:, k]] for k in range(3))
        return np.cross(b - a, c - a)

    np.testing.assert_allclose(normals(left), normals(model) * [-1.0, 1.0, 1.0], atol=1e-12)


def test_mirror_rotation_is_mirror_axis_angle():
    axis_angle = np.random.default_rng(7).normal(size=(5, 3))
    R = Rotation.from_rotvec(axis_angle).as_matrix()
    mirrored = Rotation.from_rotvec(conv.mirror_axis_angle(axis_angle)).as_matrix()
    np.testing.assert_allclose(conv.mirror_rotation(R), mirrored, atol=1e-12)
    M = np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(mirrored, M @ R @ M, atol=1e-12)


# Kinematics and rotations


def test_forward_kinematics_equals_recursion_from_the_root():
    rng = np.random.default_rng(8)
    local = Rotation.from_rotvec(rng.normal(size=(16, 3))).as_matrix()
    rest = rng.normal(0.0, 0.05, (16, 3))
    R, joints = forward_kinematics(local, rest)
    for joint in range(16):
        T = np.eye(4)
        chain = [joint]
        while JOINT_PARENTS[chain[-1]] >= 0:
            chain.append(JOINT_PARENTS[chain[-1]])
        for link in reversed(chain):
            step, parent = np.eye(4), JOINT_PARENTS[link]
            step[:3, :3] = local[link]
            step[:3, 3] = rest[link] - (rest[parent] if parent >= 0 else 0.0)
            T = T @ step
        np.testing.assert_allclose(R[joint], T[:3, :3], atol=1e-12, err_msg=JOINT_NAMES[joint])
        np.testing.assert_allclose(joints[joint], T[:3, 3], atol=1e-12, err_msg=JOINT_NAMES[joint])


@pytest.mark.parametrize("scale", [0.0, 1e-13, 1e-9, 1e-4, 1.0, np.pi, 7.0])
def test_rotation_from_axis_angle_equals_scipy(scale):
    direction = np.random.default_rng(9).normal(size=(4, 5, 3))
    axis_angle = scale * direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    expected = Rotation.from_rotvec(axis_angle.reshape(-1, 3)).as_matrix().reshape(4, 5, 3, 3)
    np.testing.assert_allclose(rotation_from_axis_angle(axis_angle), expected, atol=1e-12)


def test_rotation_by_90_degrees_about_z_takes_x_to_y():
    R = rotation_from_axis_angle(np.array([0.0, 0.0, np.pi / 2.0]))
    np.testing.assert_allclose(R @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-15)


# Joint orders, by names that are written out here once more

HO3D_NAMES = (
    *("wrist", "index_mcp", "index_pip", "index_dip", "middle_mcp", "middle_pip", "middle_dip"),
    *("little_mcp", "little_pip", "little_dip", "ring_mcp", "ring_pip", "ring_dip"),
    *("thumb_cmc", "thumb_mcp", "thumb_ip"),
    *("thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip"),
)
INTERHAND_NAMES = (
    *("thumb_tip", "thumb_ip", "thumb_mcp", "thumb_cmc"),
    *("index_tip", "index_dip", "index_pip", "index_mcp"),
    *("middle_tip", "middle_dip", "middle_pip", "middle_mcp"),
    *("ring_tip", "ring_dip", "ring_pip", "ring_mcp"),
    *("little_tip", "little_dip", "little_pip", "little_mcp"),
    "wrist",
)
ORDERS = {
    "mano21": HO3D_NAMES,  # MANO's 16 joints with the tips appended is also HO3D's order
    "ho3d": HO3D_NAMES,
    "interhand": INTERHAND_NAMES,
    "freihand": conv.KEYPOINT_NAMES,
}


@pytest.mark.parametrize("order", ORDERS)
def test_order_maps_are_permutations_that_undo_each_other(order):
    there = getattr(conv, f"idx_keypoints_to_{order}")
    back = getattr(conv, f"idx_{order}_to_keypoints")
    np.testing.assert_array_equal(np.sort(there), np.arange(21))
    np.testing.assert_array_equal(there[back], np.arange(21))
    np.testing.assert_array_equal(back[there], np.arange(21))


@pytest.mark.parametrize("order", ORDERS)
def test_order_maps_carry_names(order):
    there = getattr(conv, f"idx_keypoints_to_{order}")
    back = getattr(conv, f"idx_{order}_to_keypoints")
    assert [conv.KEYPOINT_NAMES[i] for i in there] == list(ORDERS[order])
    assert [ORDERS[order][i] for i in back] == list(conv.KEYPOINT_NAMES)


@pytest.mark.parametrize("finger", FINGERS)
def test_one_bent_finger_shows_under_its_names_in_every_order(rigid, finger):
    rest = rigid.keypoints_at_rest("anatomical")
    pose = bend(FINGER_JOINTS[finger][0], 90.0)
    bent = rigid.keypoints(rigid.pose_hand(pose, NO_SHAPE), NO_SHAPE, "anatomical")
    moved = np.linalg.norm(bent - rest, axis=1) > 1e-9
    base = "thumb_cmc" if finger == "thumb" else f"{finger}_mcp"
    expected = {n for n in conv.KEYPOINT_NAMES if n.startswith(finger) and n != base}
    for order, names in ORDERS.items():
        shown = moved[getattr(conv, f"idx_keypoints_to_{order}")]
        assert {name for name, m in zip(names, shown, strict=True) if m} == expected, order


def test_skeleton_tables_agree_with_the_names():
    assert len(conv.KEYPOINT_NAMES) == len(conv.KEYPOINT_PARENTS) == 21
    assert len(JOINT_NAMES) == len(JOINT_PARENTS) == 16
    for names, parents in (
        (conv.KEYPOINT_NAMES, conv.KEYPOINT_PARENTS),
        (JOINT_NAMES, JOINT_PARENTS),
    ):
        for name, parent in zip(names[1:], parents[1:], strict=True):
            starts = name.endswith(("index_mcp", "middle_mcp", "ring_mcp", "little_mcp", "cmc"))
            assert names[parent] == "wrist" if starts else names[parent][:4] == name[:4], name
    for finger, joints in FINGER_JOINTS.items():
        assert [JOINT_NAMES[j].split("_")[0] for j in joints] == [finger] * 3
    assert len(conv.BONES) == 20
    assert all(conv.KEYPOINT_PARENTS[child] == parent for parent, child in conv.BONES)
