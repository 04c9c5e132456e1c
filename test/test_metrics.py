import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_mesh_ros.evaluation.metrics import mean_distance_m, pa_error_m, procrustes_aligned

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((21, 3))


def test_alignment_undoes_rotation_scale_and_shift():
    R = Rotation.random(random_state=1).as_matrix()
    moved = 0.3 * POINTS @ R.T + [1.0, -2.0, 3.0]
    assert procrustes_aligned(moved, POINTS) == pytest.approx(POINTS, abs=1e-12)
    assert pa_error_m(moved, POINTS) == pytest.approx(0.0, abs=1e-12)


def test_a_mirrored_hand_is_not_forgiven():
    assert pa_error_m(POINTS * [-1.0, 1.0, 1.0], POINTS) > 0.3


def test_no_alignment_is_better():
    """The closed form is at a minimum: every small move of the aligned points is worse."""
    noisy = POINTS + 0.1 * RNG.standard_normal(POINTS.shape)
    aligned = procrustes_aligned(noisy, POINTS)
    best = ((aligned - POINTS) ** 2).sum()
    for k in range(3):
        for step in (-1e-3, 1e-3):
            turn = Rotation.from_rotvec(step * np.eye(3)[k]).as_matrix()
            assert ((aligned @ turn.T - POINTS) ** 2).sum() > best
            assert ((aligned + step * np.eye(3)[k] - POINTS) ** 2).sum() > best
        centre = aligned.mean(0)
    for factor in (0.999, 1.001):
        assert ((centre + factor * (aligned - centre) - POINTS) ** 2).sum() > best


def test_distances_by_hand():
    assert mean_distance_m(np.zeros((2, 3)), np.array([[3.0, 4.0, 0.0], [0, 0, 1]])) == 3.0


def test_a_single_point_cloud_without_extent_does_not_divide_by_zero():
    assert np.isfinite(procrustes_aligned(np.zeros((5, 3)), POINTS[:5])).all()
