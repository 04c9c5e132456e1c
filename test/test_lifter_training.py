import subprocess
import sys
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from hand_mesh_ros.hand_models.anatomy import Anatomy  # noqa: E402
from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402
from hand_mesh_ros.hand_models.torch_skeleton import TorchSkeleton  # noqa: E402
from hand_mesh_ros.networks.lifter import LifterConfig, LifterNetwork  # noqa: E402
from hand_mesh_ros.reconstruction.kinematics import HandKinematics  # noqa: E402
from hand_mesh_ros.reconstruction.landmark_view import view_landmarks  # noqa: E402
from hand_mesh_ros.reconstruction.lifter import HAS_PREVIOUS, PREVIOUS, PREVIOUS_UNIT  # noqa: E402
from hand_mesh_ros.training.ahead import made_ahead  # noqa: E402
from hand_mesh_ros.training.batch_stream import BatchStream  # noqa: E402
from hand_mesh_ros.training.landmark_noise import LandmarkNoise  # noqa: E402
from hand_mesh_ros.training.lifter_data import LifterData, LifterDataOptions  # noqa: E402
from hand_mesh_ros.training.lifter_task import LifterTask  # noqa: E402

HAND = load_open_hand()
ANATOMY = Anatomy.of(HAND)
CPU = torch.device("cpu")


NOISE = LandmarkNoise.load()


@pytest.fixture(scope="module")
def data():
    options = LifterDataOptions(
        poses=300, exact_share=1.0, scaled_share=0.0, dropout_share=0.0, previous_share=0.5
    )
    return LifterData(HAND, options, NOISE, seed=3)


def task(**options):
    network = LifterNetwork(LifterConfig(width=64, blocks=1), HAND)
    return LifterTask(network, LifterDataOptions(poses=300, **options), model=HAND, batch_size=64)


def train_batches(of, **place):
    return of.batches(BatchStream("train", CPU, **place))


def test_torch_skeleton_agrees_with_numpy():
    rng = np.random.default_rng(0)
    angles = rng.uniform(ANATOMY.lower_rad, ANATOMY.upper_rad, (6, 21))
    shape = rng.standard_normal((6, 10))
    R = np.linalg.qr(rng.standard_normal((6, 3, 3)))[0]
    R *= np.sign(np.linalg.det(R))[:, None, None]
    for regressor in ("detector", "anatomical"):
        kinematics = HandKinematics(HAND, ANATOMY, regressor)
        expected = [
            kinematics.pose(a, r, s).keypoints_m for a, r, s in zip(angles, R, shape, strict=True)
        ]
        inputs = (torch.tensor(x, dtype=torch.float32) for x in (angles, R, shape))
        found = TorchSkeleton(HAND, regressor)(*inputs)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_truth_is_what_the_features_show(data):
    """With exact landmarks, projecting the true keypoints gives the network's own input."""
    batch = data.batch(50, np.random.default_rng(0))
    kinematics = HandKinematics(HAND, ANATOMY, "detector")
    for i in range(50):
        X = kinematics.pose(
            batch.angles_rad[i].astype(float), batch.R_view_hand[i], batch.shape[i].astype(float)
        ).keypoints_m
        length = HAND.hand_length_m(batch.shape[i].astype(float))
        relative = (X - X.mean(0)) / length
        np.testing.assert_allclose(relative, batch.keypoints[i], atol=1e-5)
        # Where the root says that the hand is, it is seen as the landmarks say.
        scale = np.exp(batch.features[i, 63] * 0.7 - 2.3)
        width = np.sqrt((relative[:, :2] ** 2).sum(1).mean()) * length
        z = np.exp(batch.root[i, 2]) * width / scale
        P = relative * length + [0.0, 0.0, z]
        seen = P[:, :2] / P[:, 2:]
        xy = batch.features[i, :42].reshape(21, 2) * scale
        off = (seen - seen.mean(0)) - (xy - xy.mean(0))
        # The hand is a little off the axis here: that moves its image the more, the nearer it is.
        assert np.abs(off).max() < 0.25 * scale**2


def measured_rows(batch):
    """(N,) which measured hand each one is, by its shape; -1: none."""
    row_of = {shape.tobytes(): i for i, shape in enumerate(NOISE.hands.shape)}
    return np.array([row_of.get(shape.tobytes(), -1) for shape in batch.shape])


def test_measured_hands_are_among_the_others(data):
    rows = measured_rows(data.batch(400, np.random.default_rng(2)))
    assert (rows >= 0).sum() == 240
    none = LifterDataOptions(poses=300, measured_share=0.0)
    drawn = LifterData(HAND, none, NOISE, seed=3).batch(400, np.random.default_rng(2))
    assert (measured_rows(drawn) < 0).all()


def test_measured_hands_are_nearly_as_the_detector_was_shown_them():
    """And it sees of them nearly what it saw: their own errors, not those of another hand."""
    options = LifterDataOptions(
        poses=1, measured_share=1.0, exact_share=0.0, scaled_share=0.0, dropout_share=0.0
    )
    batch = LifterData(HAND, options, NOISE, seed=3).batch(300, np.random.default_rng(4))
    rows = measured_rows(batch)
    assert (rows >= 0).all()
    hands = NOISE.hands[rows]
    bent_deg = np.degrees(np.abs(batch.angles_rad - hands.angles_rad))
    assert 1.0 < np.median(bent_deg) < 4.0

    def off(xy_error):
        truth, rng = hands.keypoints_camera_m(HAND), np.random.default_rng(0)
        views = view_landmarks(NOISE.observe(truth, hands.focal_px, rng, xy_error=xy_error).rays)
        shown = batch.features[:, :42].reshape(-1, 21, 2)
        return np.median(np.linalg.norm(shown - views.xy, axis=2)), views

    own, views = off(hands.xy_error)
    assert own < 0.5 * off(np.roll(hands.xy_error, 1, axis=0))[0]
    # Its truth is where the errors say it is, about the landmarks that it is shown.
    R = batch.R_view_hand.transpose(0, 2, 1) @ views.R_camera_view.transpose(0, 2, 1)
    turned = np.trace(R @ hands.R_camera_hand, axis1=1, axis2=2)
    turned_deg = np.degrees(np.arccos(np.clip(0.5 * (turned - 1.0), -1.0, 1.0)))
    assert np.median(turned_deg) < 8.0  # some that are seen edge-on take another way up


def test_the_frame_before_is_nearly_this_one(data):
    batch = data.batch(200, np.random.default_rng(1))
    had = np.abs(batch.R_view_previous).sum((1, 2)) > 0
    assert 0.3 < had.mean() < 0.7
    assert (batch.previous_features[~had] == 0.0).all()
    change = np.abs(batch.previous_features[had, :42] - batch.features[had, :42])
    assert 0.005 < np.median(change) < 0.1
    cosine = (np.trace(batch.R_view_previous[had], axis1=1, axis2=2) - 1.0) / 2.0
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 10.0


def test_the_answer_to_the_frame_before_comes_back_in_this_view():
    batch = next(train_batches(task(previous_share=0.5)))
    trained = task(previous_share=0.5)
    features = trained._features(trained.network, batch)
    turn = batch["R_view_previous"]
    had = turn.abs().sum((1, 2)) > 0
    assert torch.equal(features[~had], batch["features"][~had])
    assert (features[had, HAS_PREVIOUS] == 1.0).all()
    row = int(had.nonzero()[0])
    answer = trained._decoder(trained.network(batch["previous_features"][row : row + 1]))
    expected = turn[row] @ answer["keypoints"][0].T
    found = features[row, PREVIOUS].reshape(21, 3).T * PREVIOUS_UNIT
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-4)


def test_batches_depend_on_seed_and_step_alone():
    first = [batch["features"] for batch, _ in zip(train_batches(task()), range(3), strict=False)]
    resumed = next(train_batches(task(), start_step=2))["features"]
    assert torch.equal(first[2], resumed)
    assert not torch.equal(first[0], first[1])
    other = next(train_batches(task(), seed=2))
    assert not torch.equal(first[0], other["features"])


def test_validation_has_the_detectors_usual_errors_and_unseen_ones():
    validation = list(task().batches(BatchStream("val", CPU, seed=5)))
    again = next(task().batches(BatchStream("val", CPU, seed=6)))
    assert torch.equal(validation[0]["features"], again["features"])
    confidence = torch.cat([b["features"][:, 42:63] for b in validation])
    assert 0.43 < confidence.min() <= confidence.max() < 0.6


def test_training_lowers_the_error_and_likelihood_moves_deviations_alone():
    torch.manual_seed(0)
    trained = task(exact_share=1.0, scaled_share=0.0, previous_share=0.0)
    optimiser = torch.optim.Adam(trained.network.parameters(), lr=3e-3)
    losses = []
    for step, batch in zip(range(60), train_batches(trained), strict=False):
        terms = trained.losses(batch, step=step)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
        losses.append({name: float(value.detach()) for name, value in terms.items()})
    assert losses[-1]["keypoints"] < 0.5 * losses[0]["keypoints"]
    trained.network.zero_grad()
    trained.losses(next(train_batches(trained)), step=0)["likelihood"].backward()
    gradient = trained.network.last.weight.grad.abs().sum(1)
    assert (gradient[:40] == 0.0).all()
    assert (gradient[40:] > 0.0).any()


def test_pictures_show_what_was_seen_and_found():
    lifter = task()
    batch = next(train_batches(lifter))
    with torch.no_grad():
        shown = lifter.pictures(lifter.network, batch)["hands"]
    preview = lifter.preview(16)
    count = min(8, len(batch["keypoints"]))
    assert shown.shape == (2 * 192, count * 192, 3)
    assert preview.shape == (2 * 2 * 192, 8 * 192, 3)
    green, red = (30, 160, 30), (220, 50, 40)
    for cell in np.split(shown, count, axis=1):
        assert (cell == green).all(axis=2).any()
        assert (cell == red).all(axis=2).any()
    assert (preview == green).all(axis=2).any()
    assert not (preview == red).all(axis=2).any()


def test_made_ahead_keeps_order_and_gives_errors_on():
    def items():
        yield from range(5)
        raise RuntimeError("no more")

    made = made_ahead(items(), 2)
    assert [next(made) for _ in range(5)] == list(range(5))
    with pytest.raises(RuntimeError, match="no more"):
        next(made)
    assert list(made_ahead(iter("abc"), 1)) == ["a", "b", "c"]


def test_made_ahead_stops_with_its_reader():
    endless = made_ahead(iter(int, 1), 2)
    next(endless)
    before = threading.active_count()
    endless.close()
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(2.0)
    assert threading.active_count() < before


def test_a_program_may_end_while_batches_are_made():
    program = (
        "import torch\n"
        "from hand_mesh_ros.training.ahead import made_ahead\n"
        "def endless():\n"
        "    while True:\n"
        "        yield torch.rand(1500, 1500) @ torch.rand(1500, 1500)\n"
        "kept = made_ahead(endless(), 2)\n"
        "next(kept)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match=r"exact_share \+ scaled_share is 1\.2"):
        LifterDataOptions(exact_share=0.7, scaled_share=0.5)
    with pytest.raises(ValueError, match=r"dropout is 0\.9"):
        LifterDataOptions(dropout=0.9)
