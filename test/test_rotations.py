import numpy as np
import pytest

from hand_mesh_ros.rotations import (
    rotation_between,
    rotation_from_axis_angle,
    rotations_to_directions,
)


def test_the_optical_axis_is_turned_by_the_smallest_rotation():
    towards = np.array([[0.0, 0.0, 1.0], [0.4, -0.3, 1.0], [-3.0, 0.4, 2.0]])
    for direction, R in zip(towards, rotations_to_directions(towards), strict=True):
        unit = direction / np.linalg.norm(direction)
        np.testing.assert_allclose(R @ [0.0, 0.0, 1.0], unit, atol=1e-12)
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(R) == pytest.approx(1.0)
        assert np.trace(R) == pytest.approx(1.0 + 2.0 * unit[2])


def test_points_are_turned_back_to_where_they_came_from_and_never_mirrored():
    rng = np.random.default_rng(0)
    points, R = rng.standard_normal((9, 3)), rotation_from_axis_angle(np.array([0.4, -2.0, 1.0]))
    np.testing.assert_allclose(rotation_between(points, points @ R.T + 3.0), R, atol=1e-12)
    mirrored = rotation_between(points, points * [1.0, 1.0, -1.0])
    assert np.linalg.det(mirrored) == pytest.approx(1.0)
