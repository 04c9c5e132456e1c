from dataclasses import replace

import numpy as np
import pytest

from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    CheckpointFile,
    hand_model_fingerprint,
    read_checkpoint_file,
    write_checkpoint_file,
)
from hand_mesh_ros.reconstruction.landmark_view import view_landmarks
from hand_mesh_ros.reconstruction.lifter import (
    NUM_FEATURES,
    OUTPUTS,
    Lifter,
    centre_of,
    lifter_features,
    root_of,
)
from hand_mesh_ros.rotations import rotation_from_axis_angle

HAND = load_open_hand()
ANATOMY = Anatomy.of(HAND)


@pytest.fixture(scope="module")
def lifter():
    return Lifter.load("lifter", HAND)


def random_file(width=16, blocks=2, model=HAND, network="lifter"):
    rng = np.random.default_rng(3)
    outputs = sum(OUTPUTS.values())
    tensors = {}
    for name in ["first", *(f"{k}.{i}" for i in range(blocks) for k in ("inner", "outer")), "last"]:
        shape = outputs if name == "last" else width, NUM_FEATURES if name == "first" else width
        tensors[f"{name}.weight"] = 0.2 * rng.standard_normal(shape).astype(np.float32)
        tensors[f"{name}.bias"] = 0.2 * rng.standard_normal(shape[0]).astype(np.float32)
    return CheckpointFile(
        network=network,
        config={"width": width, "blocks": blocks},
        hand_model=model.name,
        hand_model_fingerprint=hand_model_fingerprint(model),
        preprocessing={},
        training={},
        tensors=tensors,
    )


def seen_hand(seed, *, distance_m=0.5):
    """True keypoints in the camera frame and their rays, of a hand that bends and turns."""
    rng = np.random.default_rng(seed)
    angles = np.clip(
        ANATOMY.mean_rad + 0.5 * ANATOMY.std_rad * rng.standard_normal(21),
        ANATOMY.lower_rad,
        ANATOMY.upper_rad,
    )
    upright = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    R = rotation_from_axis_angle(rng.normal(0.0, 0.5, 3)) @ upright
    shape = 0.5 * rng.standard_normal(10)
    posed = HAND.pose_hand(ANATOMY.pose(angles, R), shape)
    X = HAND.keypoints(posed, shape, "detector")
    X = X - X.mean(0) + [0.05, -0.03, distance_m]
    return X, X[:, :2] / X[:, 2:], R, shape


def test_numpy_runs_the_module_that_was_trained():
    torch = pytest.importorskip("torch")
    from hand_mesh_ros.networks.lifter import LifterConfig, LifterNetwork

    file = random_file()
    module = LifterNetwork(LifterConfig(width=16, blocks=2), HAND)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in file.tensors.items()})
    features = np.random.default_rng(0).standard_normal((7, NUM_FEATURES)).astype(np.float32)
    with torch.no_grad():
        out = module(torch.from_numpy(features))
    expected = np.concatenate([out[name].numpy() for name in OUTPUTS], axis=1)
    lifter = Lifter(file, HAND)
    found = [lifter._run(row) for row in features]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_root_and_centre_are_inverse():
    rng = np.random.default_rng(1)
    X = rng.normal(0.0, 0.06, (4, 21, 3)) + np.array([0.1, 0.0, 0.6])
    views = view_landmarks(X[..., :2] / X[..., 2:])
    in_view = X @ views.R_camera_view
    centre = in_view.mean(1)
    relative = in_view - centre[:, None]
    root = root_of(centre, relative, views)
    assert np.abs(root).max() < 0.2
    np.testing.assert_allclose(centre_of(root, relative, views), centre, rtol=1e-12)


def test_exact_landmarks_give_the_true_hand(lifter):
    """The shipped weights, on hands that they never saw."""
    errors, turns, sideways = [], [], []
    for seed in range(40):
        X, rays, R, shape = seen_hand(seed)
        hand = lifter.lift(rays, np.ones(21))
        scale = HAND.hand_length_m(shape) / HAND.hand_length_m(hand.shape)
        found = scale * (hand.keypoints_m - hand.keypoints_m.mean(0))
        errors.append(1e3 * np.linalg.norm(found - (X - X.mean(0)), axis=1).mean())
        turns.append(
            np.degrees(np.arccos(np.clip((np.trace(hand.R_camera_hand.T @ R) - 1) / 2, -1, 1)))
        )
        place = scale * (hand.t_camera_wrist + hand.keypoints_m.mean(0))
        sideways.append(np.linalg.norm(place - X.mean(0)) / 0.5)
    assert np.median(errors) < 4.0
    assert np.median(turns) < 6.0
    assert np.median(sideways) < 0.02


def test_turning_the_camera_turns_the_answer(lifter):
    X, rays, _, _ = seen_hand(3)
    turn = rotation_from_axis_angle(np.array([0.1, -0.3, 0.8]))
    Y = X @ turn.T
    one, other = lifter.lift(rays), lifter.lift(Y[:, :2] / Y[:, 2:])
    np.testing.assert_allclose(other.keypoints_m, one.keypoints_m @ turn.T, atol=1e-6)
    np.testing.assert_allclose(other.t_camera_wrist, turn @ one.t_camera_wrist, atol=1e-6)
    np.testing.assert_allclose(other.stddev_m, one.stddev_m, atol=1e-8)


def test_deviations_say_what_is_hard(lifter):
    """Depth is harder than what the image shows, and usual landmarks are worse than exact ones."""
    across, along, exact = [], [], []
    for seed in range(20):
        _, rays, _, _ = seen_hand(seed)
        hand = lifter.lift(rays)
        across.append(hand.stddev_m[:, 0].mean())
        along.append(hand.stddev_m[:, 1].mean())
        exact.append(lifter.lift(rays, np.ones(21)).stddev_m[:, 1].mean())
    assert np.mean(along) > 1.2 * np.mean(across)
    assert np.mean(exact) < 0.7 * np.mean(along)
    assert 0.001 < np.mean(across) < 0.01


def test_missing_landmarks_do_not_matter_but_cost_certainty(lifter):
    _, rays, _, _ = seen_hand(5)
    gaps = rays.copy()
    gaps[[7, 8]] = np.nan
    confidence = np.full(21, 0.5)
    confidence[[7, 8]] = 0.0
    hand = lifter.lift(gaps)
    assert np.isfinite(hand.keypoints_m).all()
    other = rays.copy()
    other[[7, 8]] += 5.0
    np.testing.assert_array_equal(lifter.lift(other, confidence).keypoints_m, hand.keypoints_m)
    assert hand.stddev_m[8, 0] > 1.5 * lifter.lift(rays).stddev_m[8, 0]


def test_features_have_their_places():
    views = view_landmarks(seen_hand(0)[1][None])
    previous = np.full((1, 21, 3), 0.33)
    features = lifter_features(views, np.full((1, 21), 0.5), previous)
    assert features.shape == (1, NUM_FEATURES)
    np.testing.assert_allclose(features[0, :42], views.xy.ravel(), rtol=1e-6)
    assert (features[0, 42:63] == 0.5).all()
    np.testing.assert_allclose(features[0, 64:], 1.0)
    assert (lifter_features(views, np.full((1, 21), 0.5))[0, 64:] == 0.0).all()


def test_unfit_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Lifter.load(str(path), HAND)
    write_checkpoint_file(path, random_file(network="m3dhmr"))
    with pytest.raises(CheckpointError, match="'m3dhmr', expected 'lifter'"):
        Lifter.load(str(path), HAND)
    file = random_file()
    other = replace(HAND, template_m=1.01 * HAND.template_m)
    with pytest.raises(CheckpointError, match="was trained for hand model"):
        Lifter(file, other)
    del file.tensors["outer.1.bias"]
    with pytest.raises(CheckpointError, match=r"outer\.1\.bias"):
        Lifter(file, HAND)
    file = random_file()
    file.tensors["last.weight"] = file.tensors["last.weight"][:, :-1]
    with pytest.raises(CheckpointError, match=r"last\.weight is \(82, 15\), expected \(82, 16\)"):
        Lifter(file, HAND)


def test_shipped_weights_are_small_and_say_where_they_come_from():
    from hand_mesh_ros.networks.checkpoint_file import checkpoint_path

    path = checkpoint_path("lifter")
    assert path.stat().st_size < 8e6
    training = read_checkpoint_file(path).training
    assert training["figures"]["pa_mpjpe_mm"] < 6.0
