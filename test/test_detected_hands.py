"""The hands that the detector was shown, as an evaluation of models of landmarks."""

import numpy as np
import pytest
from test_evaluate import command
from test_evaluate_synthetic import Only

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.detected_hands import DetectedHands
from hand_mesh_ros.evaluation.models import ModelOptions, build_model
from hand_mesh_ros.evaluation.runner import evaluate
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.training.landmark_noise import LandmarkNoise, seen_by_itself

MODEL = load_open_hand()


@pytest.fixture(scope="module")
def hands():
    return DetectedHands(MODEL)


def test_truths_agree_with_each_other(hands):
    inside = []
    for index in range(0, len(hands), len(hands) // 50):
        sample = hands[index]
        labels = sample.labels
        assert labels.side is Side.RIGHT
        posed = MODEL.pose_hand(labels.pose, labels.shape)
        np.testing.assert_allclose(posed.vertices_m + labels.root_m, labels.vertices_m, atol=1e-7)
        detector_m = MODEL.keypoints(posed, labels.shape, "detector") + labels.root_m
        np.testing.assert_allclose(detector_m, sample.detector_keypoints_m, atol=1e-7)
        np.testing.assert_allclose(labels.camera.project(labels.keypoints_m), labels.keypoints_px)
        corner = [labels.camera.width, labels.camera.height]
        inside.append((labels.keypoints_px > 0.0) & (labels.keypoints_px < corner))
    assert np.mean(inside) > 0.97  # few hands reach over the border


def test_landmarks_have_the_errors_that_were_measured_on_that_very_hand(hands):
    measured = LandmarkNoise.load(held_out=True).hands
    for index in (0, 17, len(hands) - 1):
        sample = hands[index]
        seen = sample.load_landmarks()
        xyz, views = seen_by_itself(sample.detector_keypoints_m[None])
        towards = np.append(seen.rays, np.ones((21, 1)), axis=1) @ views.R_camera_view[0]
        xy = (towards[:, :2] / towards[:, 2:] - views.mean[0]) / views.scale[0]
        np.testing.assert_allclose(xy - xyz[0, :, :2], measured.xy_error[index], atol=1e-6)
        np.testing.assert_allclose(seen.confidence, 0.5)


def test_training_sees_none_of_them(hands):
    learned = {row.tobytes() for row in LandmarkNoise.load().hands.xy_error}
    held_out = LandmarkNoise.load(held_out=True).hands.xy_error
    assert len(held_out) == len(hands)
    assert not any(row.tobytes() in learned for row in held_out)


def test_the_lifter_finds_them(hands):
    indices = np.random.default_rng(0).permutation(len(hands))[:150].tolist()
    models = [build_model(name, ModelOptions()) for name in ("lifter", "landmarks:lifter")]
    for result in evaluate(Only(hands, indices), models, show_progress=False).results:
        assert (result.summary.samples, result.summary.missed) == (150, 0)
        pa_mpjpe_mm = result.summary.pa_mpjpe_mm
        assert pa_mpjpe_mm is not None
        assert 1.0 < pa_mpjpe_mm < 8.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "pipeline:lifter"], "kept without their images; expected models of landmarks"),
        (["--model", "mediapipe"], "kept without their images"),
        (["--model", "lifter", "--landmark-noise", "none"], "belongs to synthetic"),
    ],
)
def test_what_they_cannot_be_used_for_is_told_in_one_line(arguments, says, capsys):
    assert command("--dataset", "detected", *arguments) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert said.splitlines()[-1].rpartition("\r")[2].startswith("hand-mesh evaluate: ")
