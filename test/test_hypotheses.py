"""Several hands of one crop: those that the landmarks allow, their order and their scatter."""

import numpy as np
import pytest

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.reconstruction.hypotheses import (
    plausible_hands,
    reprojection_error,
    reprojects_well,
    scatter_m,
)

HAND = load_open_hand()
CAMERA = Camera(640, 480, np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]]))
ROOT = np.array([0.02, -0.03, 0.5])


@pytest.fixture(scope="module")
def hands():
    """Six hands: (6, V, 3) and (6, 21, 3) about the wrist."""
    prior = PosePrior(HAND)
    drawn = prior.sample(6, np.random.default_rng(1))
    vertices, keypoints = [], []
    for R, shape in zip(drawn.rotations(prior.anatomy), drawn.shape, strict=True):
        posed = HAND.pose_rotations(R, shape)
        vertices.append(posed.vertices_m)
        keypoints.append(HAND.keypoints(posed, shape, "detector"))
    return np.stack(vertices), np.stack(keypoints)


def test_the_hand_that_was_seen_stays_and_others_go(hands):
    _, keypoints = hands
    seen = CAMERA.project(keypoints[3] + ROOT)
    assert reprojection_error(keypoints[3], seen, CAMERA) < 1e-3
    # The same hand deeper or flatter looks the same from here.
    alike = keypoints[3] * [1.0, 1.0, 0.9]
    assert reprojection_error(alike, seen, CAMERA) < 0.05
    others = [reprojection_error(keypoints[i], seen, CAMERA) for i in (0, 1, 2, 4, 5)]
    assert min(others) > 0.1
    kept = plausible_hands(
        np.array([0.9, 0.8, 0.7, 0.1, 0.6, 0.5, 0.3]),
        np.append(keypoints, alike[None], axis=0),
        seen,
        CAMERA,
    )
    assert kept.rows.tolist() == [6, 3]
    np.testing.assert_allclose(kept.probability, [0.75, 0.25])


def test_missing_landmarks_are_left_out(hands):
    _, keypoints = hands
    seen = CAMERA.project(keypoints[0] + ROOT)
    seen[[4, 8, 12]] = np.nan
    assert reprojection_error(keypoints[0], seen, CAMERA) < 1e-3
    seen[:18] = np.nan
    assert reprojection_error(keypoints[0], seen, CAMERA) == np.inf


def test_good_is_what_is_not_much_worse_than_the_best():
    assert reprojects_well(np.array([0.01, 0.04, 0.06])).tolist() == [True, True, False]
    assert reprojects_well(np.array([0.2, 0.39, 0.41, np.inf])).tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert reprojects_well(np.array([np.inf, np.inf])).all()


def test_deviation_is_weighted_of_one_coordinate_and_about_the_centre():
    vertices = np.zeros((2, 2, 3))
    vertices[1, 0], vertices[1, 1] = 0.004, -0.004
    assert scatter_m(vertices, np.array([0.5, 0.5])) == pytest.approx([0.002, 0.002])
    assert scatter_m(vertices, np.array([0.9, 0.1])) == pytest.approx([0.0012, 0.0012])
    moved = vertices + np.array([[[0.1, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
    assert scatter_m(moved, np.array([0.5, 0.5])) == (pytest.approx([0.002, 0.002]))
    assert scatter_m(vertices, np.array([1.0, 0.0])) == pytest.approx([0.0, 0.0])
    assert scatter_m(vertices[:1], np.ones(1)) == pytest.approx([0.0, 0.0])


def test_bad_input_is_refused(hands):
    _, keypoints = hands
    seen = CAMERA.project(keypoints[0] + ROOT)
    with pytest.raises(ValueError, match="are of 5, 6 hands, expected the same"):
        plausible_hands(np.ones(5), keypoints, seen, CAMERA)
    with pytest.raises(ValueError, match="expected numbers above 0"):
        plausible_hands(np.zeros(6), keypoints, seen, CAMERA)
