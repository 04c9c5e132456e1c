import numpy as np
import pytest

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.hand_models.skeleton_batch import pose_skeletons
from hand_mesh_ros.reconstruction.landmark_view import view_landmarks
from hand_mesh_ros.training.landmark_noise import LandmarkNoise, rays_of, seen_by_itself


@pytest.fixture(scope="module")
def hands():
    """(400, 21, 3) m keypoints in the camera frame, and focal lengths."""
    model = load_open_hand()
    prior = PosePrior(model)
    s = prior.sample(400, np.random.default_rng(11))
    skeletons = pose_skeletons(model, prior.anatomy, s.angles_rad, s.shape)
    local = skeletons.keypoints(model.keypoint_regressors["detector"], s.shape)
    X = np.einsum("nab,nkb->nka", s.R_camera_hand, local) + s.t_camera_wrist[:, None]
    return X, s.K[:, 0, 0]


def errors(noise, hands, seed=0, **options):
    X, focal = hands
    seen = noise.observe(X, focal, np.random.default_rng(seed), **options)
    truth = X[..., :2] / X[..., 2:]
    return (seen.rays - truth) / view_landmarks(truth).scale[:, None, None], seen


def test_no_noise_gives_the_true_landmarks(hands):
    off, seen = errors(LandmarkNoise.load(), hands, noise_scale=0.0)
    assert np.abs(off).max() < 1e-9
    assert (seen.confidence == 1.0).all()


def test_usual_noise_is_as_large_as_measured(hands):
    """MediaPipe's landmarks on renders: 0.065 of the hand's rms size an axis (median)."""
    off, seen = errors(LandmarkNoise.load(), hands)
    assert 0.05 < np.median(np.abs(off)) < 0.085
    # Not Gaussian: some landmarks are on the wrong finger.
    assert np.quantile(np.abs(off), 0.99) > 6 * np.median(np.abs(off))
    np.testing.assert_allclose(seen.confidence, 0.5)
    half, _ = errors(LandmarkNoise.load(), hands, noise_scale=0.5)
    assert np.median(np.abs(half)) < 0.6 * np.median(np.abs(off))


def test_a_hand_gets_the_errors_of_one_that_looks_like_it(hands):
    X, focal = hands
    noise = LandmarkNoise.load()
    xyz, _ = seen_by_itself(X)
    seen = noise.observe(X, focal, np.random.default_rng(0))
    row_of = {error.tobytes(): i for i, error in enumerate(noise.hands.xy_error)}
    measured = [row_of[error.tobytes()] for error in seen.xy_error]
    other = noise._feature[measured][:, :63].reshape(-1, 21, 3)
    alike = np.linalg.norm(xyz - other, axis=2).mean()
    random = np.linalg.norm(xyz - np.roll(other, 1, axis=0), axis=2).mean()
    assert alike < 0.5 * random


def test_mixed_errors_are_new_and_as_large(hands):
    noise = LandmarkNoise.load()
    known = {error.tobytes() for error in noise.hands.xy_error}
    _, usual = errors(noise, hands)
    mixture = noise.errors_of_alike(*hands, np.random.default_rng(0), mixed_share=1.0)
    off, mixed = errors(noise, hands, xy_error=mixture)
    assert not any(error.tobytes() in known for error in mixed.xy_error)
    size = np.sqrt((mixed.xy_error**2).mean()) / np.sqrt((usual.xy_error**2).mean())
    assert 0.8 < size < 1.25
    near = np.corrcoef(np.clip(off[:, 7], -0.5, 0.5).ravel(), np.clip(off[:, 8], -0.5, 0.5).ravel())
    assert near[0, 1] > 0.4


def test_errors_of_one_hand_belong_together(hands):
    """Neighbours on a finger err alike; independent noise would not."""
    off, _ = errors(LandmarkNoise.load(), hands)
    near = np.corrcoef(np.clip(off[:, 7], -0.5, 0.5).ravel(), np.clip(off[:, 8], -0.5, 0.5).ravel())
    assert near[0, 1] > 0.4


def test_measured_errors_turn_with_the_hand(hands):
    """The detector turns hands upright before it looks: its errors turn with them."""
    X, focal = hands
    noise = LandmarkNoise.load()
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    one = noise.observe(X, focal, np.random.default_rng(5))
    other = noise.observe(X @ turn.T, focal, np.random.default_rng(5))
    np.testing.assert_allclose(other.rays, one.rays @ turn[:2, :2].T, atol=1e-6)


def test_training_and_evaluation_have_errors_of_their_own():
    train, held_out = LandmarkNoise.load(), LandmarkNoise.load(held_out=True)
    assert len(train) > 2.9 * len(held_out) > 5000
    rows = {row.tobytes() for row in train.hands.xy_error}
    assert not rows & {row.tobytes() for row in held_out.hands.xy_error}


def test_rays_and_views_are_inverse(hands):
    truth = hands[0][..., :2] / hands[0][..., 2:]
    views = view_landmarks(truth)
    np.testing.assert_allclose(rays_of(views.xy, views), truth, atol=1e-9)
