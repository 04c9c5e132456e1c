"""The hand that ships: its size, axes, skeleton and named angles."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.open_hand import DATA, load_open_hand
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle

HAND = load_open_hand()
ANATOMY = Anatomy.of(HAND)
FLAT = np.zeros(21)


def keypoints(angles_rad: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray:
    shape = np.zeros(10) if shape is None else shape
    posed = HAND.pose_hand(ANATOMY.pose(angles_rad, np.eye(3)), shape)
    return HAND.keypoints(posed, shape, "anatomical")


def bent(name: str, degrees: float) -> np.ndarray:
    angles = FLAT.copy()
    angles[ANATOMY.angle(name)] = np.radians(degrees)
    return angles


def test_file_is_small_and_carries_its_licence():
    path = DATA / "open_hand.npz"
    assert path.stat().st_size < 1_000_000
    with np.load(path, allow_pickle=False) as file:
        assert "CC0" in str(file["licence"])
        assert "Apache" in str(file["licence"])


def test_sizes_and_sums():
    assert HAND.template_m.shape == (778, 3)
    assert HAND.faces.max() == 777
    assert HAND.skinning_weights.sum(1) == pytest.approx(np.ones(778))
    assert HAND.joint_regressor.sum(1) == pytest.approx(np.ones(16))
    assert (HAND.skinning_weights >= 0).all()
    counts = np.bincount(HAND.vertex_region, minlength=6)
    assert (counts > 50).all(), counts


def test_axes_are_those_of_mano():
    k = keypoints(FLAT)
    wrist, tips, knuckles = k[0], k[[8, 12, 16, 20]], k[[5, 9, 13, 17]]
    assert wrist == pytest.approx(np.zeros(3), abs=1e-12)
    assert (tips[:, 0] < -0.12).all(), "fingers point to -x"
    assert (np.diff(knuckles[:, 2]) < 0).all(), "index to little runs to -z"
    assert k[4, 2] > 0.04, "the thumb lies at +z"


def test_faces_look_outwards():
    a, b, c = (HAND.template_m[HAND.faces[:, i]] for i in range(3))
    # Six times the volume under the faces as seen from inside: positive for outward normals.
    inside = HAND.joint_template_m[4]
    assert np.einsum("fc,fc->", np.cross(b - a, c - a), a - inside) > 0


def test_shape_is_a_human_range_of_lengths():
    rng = np.random.default_rng(0)
    lengths = [HAND.hand_length_m(rng.standard_normal(10)) for _ in range(500)]
    assert np.mean(lengths) == pytest.approx(0.187, abs=0.002)
    assert np.std(lengths) == pytest.approx(0.0115, abs=0.002)


def test_hand_length_is_that_of_the_straight_middle_finger():
    shape = np.random.default_rng(1).standard_normal(10)
    k = keypoints(FLAT, shape)[[0, 9, 10, 11, 12]]
    chain = np.linalg.norm(np.diff(k, axis=0), axis=1).sum()
    assert HAND.hand_length_m(shape) == pytest.approx(chain, abs=1e-12)


@pytest.mark.parametrize("finger", FINGERS[1:])
def test_zero_flexion_is_straight(finger):
    """The last three bones are in line, seen from the side (bend about the flexion axis)."""
    first = 4 * FINGERS.index(finger) + 1
    bones = np.diff(keypoints(FLAT)[first : first + 4], axis=0)
    bones /= np.linalg.norm(bones, axis=1, keepdims=True)
    axis = HAND.flexion_axes[FINGER_JOINTS[finger][1]]
    bend = np.degrees([np.cross(a, b) @ axis for a, b in pairwise(bones)])
    assert np.abs(bend).max() < 2.0


@pytest.mark.parametrize("finger", FINGERS[1:])
@pytest.mark.parametrize("joint", ["mcp", "pip", "dip"])
def test_flexion_moves_the_tip_to_the_palm(finger, joint):
    tip = 4 * FINGERS.index(finger) + 4
    straight, flexed = keypoints(FLAT), keypoints(bent(f"{finger}_{joint}_flexion", 40))
    assert flexed[tip, 1] < straight[tip, 1] - 0.008
    others = [k for k in range(21) if not tip - 4 < k <= tip]
    assert np.abs(flexed[others] - straight[others]).max() < 1e-12


AWAY = [("index", 1), ("middle", 1), ("ring", -1), ("little", -1)]


@pytest.mark.parametrize(("finger", "sign"), AWAY)
def test_abduction_spreads(finger, sign):
    tip = 4 * FINGERS.index(finger) + 4
    spread = keypoints(bent(f"{finger}_mcp_abduction", 15))
    assert sign * (spread[tip, 2] - keypoints(FLAT)[tip, 2]) > 0.01


def test_thumb_flexes_across_the_palm():
    flexed = keypoints(bent("thumb_mcp_flexion", 50))
    assert flexed[4, 2] < keypoints(FLAT)[4, 2] - 0.015


def test_fist_brings_fingertips_to_the_palm():
    angles = FLAT.copy()
    for finger in FINGERS[1:]:
        for joint, degrees in (("mcp", 85), ("pip", 100), ("dip", 60)):
            angles[ANATOMY.angle(f"{finger}_{joint}_flexion")] = np.radians(degrees)
    k = keypoints(angles)
    palm = k[[0, 5, 17]].mean(0)
    assert np.linalg.norm(k[[8, 12, 16, 20]] - palm, axis=1).max() < 0.06


def test_angles_and_limits_are_consistent():
    assert len(set(ANATOMY.names)) == 21
    assert (ANATOMY.lower_rad < ANATOMY.mean_rad).all()
    assert (ANATOMY.mean_rad < ANATOMY.upper_rad).all()
    assert (ANATOMY.lower_rad <= ANATOMY.rest_rad).all()
    assert (ANATOMY.rest_rad <= ANATOMY.upper_rad).all()


def test_pose_of_rest_angles_is_the_template():
    pose = ANATOMY.pose(ANATOMY.rest_rad, np.eye(3))
    assert np.abs(pose).max() < 1e-12
    posed = HAND.pose_hand(pose, np.zeros(10))
    assert np.abs(posed.vertices_m - (HAND.template_m - HAND.joint_template_m[0])).max() < 1e-9


def test_rotation_logarithm_inverts_the_exponential():
    R = Rotation.random(200, random_state=0).as_matrix()
    assert np.abs(rotation_from_axis_angle(axis_angle_from_rotation(R)) - R).max() < 1e-12
    for axis in np.concatenate([np.eye(3), [[0.6, -0.8, 0.0], [0.48, 0.6, 0.64]]]):
        for angle in (0.0, 1e-9, 1e-4, np.pi - 1e-7, np.pi):
            R = Rotation.from_rotvec(angle * axis).as_matrix()
            found = axis_angle_from_rotation(R)
            assert np.linalg.norm(found) == pytest.approx(angle, abs=1e-6)
            assert np.abs(rotation_from_axis_angle(found) - R).max() < 1e-8


def test_detector_keypoints_grow_with_the_hand_and_lie_in_it():
    detector = HAND.keypoint_regressors["detector"]
    assert detector is not HAND.keypoint_regressors["anatomical"], "not calibrated"
    rest = HAND.keypoints_at_rest("detector")
    vertices = HAND.template_m - HAND.joint_template_m[0]
    nearest = np.linalg.norm(rest[:, None] - vertices[None], axis=2).min(1)
    assert nearest.max() < 0.035
    tips, ends = rest[[8, 12, 16, 20]], HAND.keypoints_at_rest("anatomical")[[8, 12, 16, 20]]
    assert np.linalg.norm(tips - ends, axis=1).max() < 0.03
    # Twice the growth of the hand: twice the growth of the offset.
    direction = np.zeros(10)
    direction[0] = 1.0
    length = HAND.hand_length_m(np.zeros(10))
    growth = (HAND.hand_length_m(direction * 1e-3) - length) / (1e-3 * length)
    expected = detector.offset_m * growth
    assert detector.offset_dirs_m @ direction == pytest.approx(expected, abs=2e-5)
