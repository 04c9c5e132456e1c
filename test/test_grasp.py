import numpy as np
import pytest

from hand_mesh_ros.conventions import KEYPOINT_NAMES, mirror_points
from hand_mesh_ros.grasp import T_camera_grasp, grasp_aperture_m
from hand_mesh_ros.rotations import rotation_from_axis_angle


def pinch(aperture_m, base_m=0.06, reach_m=0.05):
    """Thumb below, index above (y), both reaching along z."""
    points = np.zeros((21, 3))
    for name, y, z in (
        ("thumb_mcp", -base_m / 2, 0.0),
        ("index_mcp", base_m / 2, 0.0),
        ("thumb_tip", -aperture_m / 2, reach_m),
        ("index_tip", aperture_m / 2, reach_m),
    ):
        points[KEYPOINT_NAMES.index(name)] = [0.0, y, z]
    return points


def test_aperture_is_the_distance_of_the_tips():
    assert grasp_aperture_m(pinch(0.042)) == pytest.approx(0.042)


@pytest.mark.parametrize("aperture_m", [0.08, 0.02, 0.005, 0.0])
def test_a_straight_pinch_has_the_axes_it_was_made_with(aperture_m):
    T = T_camera_grasp(pinch(aperture_m))
    np.testing.assert_allclose(T[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(T[:, 3], [0, 0, 0.05, 1])


def test_the_frame_turns_and_moves_with_the_hand():
    R, t = rotation_from_axis_angle(np.array([0.3, -1.1, 0.7])), np.array([0.1, -0.2, 0.6])
    T = T_camera_grasp(pinch(0.05) @ R.T + t)
    np.testing.assert_allclose(T[:3, :3], R, atol=1e-12)
    np.testing.assert_allclose(T[:3, 3], R @ [0, 0, 0.05] + t)


def test_of_a_skew_pinch_y_is_exact_and_the_frame_is_a_rotation():
    points = pinch(0.05)
    points[KEYPOINT_NAMES.index("index_tip")] += [0.01, 0.02, 0.015]
    T = T_camera_grasp(points)
    closing = points[KEYPOINT_NAMES.index("index_tip")] - points[KEYPOINT_NAMES.index("thumb_tip")]
    np.testing.assert_allclose(T[:3, 1], closing / np.linalg.norm(closing))
    np.testing.assert_allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
    assert T[2, 2] > 0.8


def test_closing_the_pinch_never_makes_the_frame_jump():
    """1 mm of sideways noise would turn the bare closing axis by 45 degrees at 1 mm."""
    last = None
    for aperture_m in np.arange(0.03, 0.0, -0.0005):
        points = pinch(aperture_m)
        points[KEYPOINT_NAMES.index("index_tip"), 0] += 0.001
        R = T_camera_grasp(points)[:3, :3]
        if last is not None:
            assert np.degrees(np.arccos((np.trace(R @ last.T) - 1) / 2)) < 1.0
        last = R


def test_both_hands_close_from_thumb_to_index_and_approach_forward():
    points = pinch(0.05) + np.array([0.1, 0.0, 0.4])
    points[KEYPOINT_NAMES.index("index_tip")] += [0.01, 0.0, 0.01]
    right, left = T_camera_grasp(points), T_camera_grasp(mirror_points(points))
    np.testing.assert_allclose(left[:3, 1:], mirror_points(right[:3, 1:].T).T)
    assert np.linalg.det(left[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize("points", [np.zeros((21, 3)), pinch(0.06, reach_m=0.0)])
def test_fingers_without_a_direction_give_no_frame(points):
    assert T_camera_grasp(points) is None
