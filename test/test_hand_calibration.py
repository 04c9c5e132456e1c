from dataclasses import replace

import numpy as np
import pytest
from hand_samples import sample_hand

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.hand_calibration import (
    MIN_FRAMES,
    CalibrationError,
    HandCalibrator,
    load_calibrations,
    robust_mean,
    save_calibrations,
)
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_size import HandSize
from hand_mesh_ros.reconstruction.landmark_fit import LandmarkFit
from hand_mesh_ros.sources.synthetic import SyntheticCamera
from hand_mesh_ros.types import Detection, Track

MODEL = load_open_hand()
TRUE = np.random.default_rng(5).normal(0.0, 1.0, 10)


def seen(side, rng, source, *, noise=0.3, **changes):
    shape = TRUE + rng.normal(0.0, noise, 10)
    return sample_hand(side, shape=shape, root_source=source, hand_model=MODEL.name, **changes)


def test_many_noisy_frames_give_the_true_shape_and_an_honest_size():
    rng = np.random.default_rng(0)
    calibrator = HandCalibrator(MODEL, frames=60)
    for i in range(60):
        assert calibrator.progress == pytest.approx(i / 60)
        left = seen(Side.LEFT, rng, RootSource.DEPTH)
        right = seen(Side.RIGHT, rng, RootSource.REPROJECTION)
        if i % 6 == 0:  # a wrong fit now and then
            left = replace(left, shape=left.shape + 5.0)
        calibrator.update([left, right])
    assert calibrator.progress == 1.0
    found = calibrator.result()
    true_length = MODEL.hand_length_m(TRUE)
    left, right = found[Side.LEFT], found[Side.RIGHT]
    np.testing.assert_allclose(left.shape, TRUE, atol=0.3)
    assert left.hand_length_m == pytest.approx(MODEL.hand_length_m(left.shape))
    assert abs(left.hand_length_m - true_length) < 2 * left.hand_length_stddev_m
    assert (left.by_depth, right.by_depth) == (True, False)
    assert 0.02 < left.size_stddev < 0.03
    # Without depth the size is as unknown as before: hands differ by 6%.
    assert right.size_stddev == pytest.approx(0.061, abs=0.002)


def test_depth_frames_decide_where_they_are_the_most():
    rng = np.random.default_rng(1)
    small = HandSize(MODEL).scaled(TRUE, 0.9)
    calibrator = HandCalibrator(MODEL, frames=40)
    for i in range(40):
        if i % 3:
            calibrator.update([seen(Side.RIGHT, rng, RootSource.DEPTH)])
        else:
            hand = seen(Side.RIGHT, rng, RootSource.REPROJECTION)
            calibrator.update([replace(hand, shape=small)])
    (found,) = calibrator.result().values()
    assert found.frames == 26
    assert found.hand_length_m == pytest.approx(MODEL.hand_length_m(TRUE), rel=0.01)


def test_the_better_of_two_hands_of_a_side_counts_and_other_models_do_not():
    rng = np.random.default_rng(2)
    calibrator = HandCalibrator(MODEL, frames=MIN_FRAMES)
    for _ in range(MIN_FRAMES):
        good = seen(Side.LEFT, rng, RootSource.DEPTH, noise=0.0, score=0.9)
        bad = seen(Side.LEFT, rng, RootSource.DEPTH, noise=3.0, score=0.4)
        other = replace(good, side=Side.RIGHT, hand_model="mano")
        calibrator.update([bad, good, other])
    found = calibrator.result()
    assert set(found) == {Side.LEFT}
    np.testing.assert_allclose(found[Side.LEFT].shape, TRUE, atol=1e-9)


def test_too_few_frames_are_refused_with_advice():
    calibrator = HandCalibrator(MODEL)
    assert calibrator.progress == 0.0
    calibrator.update([seen(Side.LEFT, np.random.default_rng(0), RootSource.DEPTH)])
    with pytest.raises(CalibrationError, match=r"1 of the left, 0 of the right hand, expected 10"):
        calibrator.result()
    with pytest.raises(CalibrationError, match=r"frames is 3, expected 10"):
        HandCalibrator(MODEL, frames=3)


def test_robust_mean_leaves_strangers_out():
    rng = np.random.default_rng(3)
    values = rng.normal(1.0, 0.1, (40, 3))
    values[:10] += 20.0
    np.testing.assert_allclose(robust_mean(values, np.ones(40)), 1.0, atol=0.1)
    weights = np.r_[np.full(10, 1e-6), np.ones(30)]
    assert np.abs(robust_mean(values, weights) - values[10:].mean(0)).max() < 0.05


def calibrated():
    rng = np.random.default_rng(4)
    calibrator = HandCalibrator(MODEL, frames=20)
    for _ in range(20):
        calibrator.update([seen(side, rng, RootSource.DEPTH) for side in Side])
    return calibrator.result()


def test_a_file_gives_back_what_was_saved(tmp_path):
    before, path = calibrated(), tmp_path / "new" / "hands.yaml"
    save_calibrations(before, path)
    after = load_calibrations(path, MODEL)
    assert set(after) == set(Side)
    for side in Side:
        a, b = before[side], after[side]
        np.testing.assert_allclose(b.shape, a.shape, atol=1e-5)
        assert b.hand_length_m == pytest.approx(a.hand_length_m, abs=1e-5)
        assert b.hand_length_stddev_m == pytest.approx(a.hand_length_stddev_m, abs=1e-6)
        assert (b.side, b.frames, b.by_depth, b.hand_model) == (side, 20, True, MODEL.name)


SHAPE = "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hands: [", "is no YAML"),
        ("", "has no hands"),
        ("hands: {}", "has no hands"),
        ("hands: {third: {}}", "third hand: expected left or right"),
        ("hands: {left: 3}", "left hand: got 3"),
        ("hands: {left: {hand_model: mano}}", "is for hand_model 'mano', this is 'open_hand'"),
        ("hands: {left: {hand_model: open_hand, shape: [1]}}", "numbers are missing"),
        (
            "hands: {left: {hand_model: open_hand, hand_length_stddev_m: 0.01, shape: [1, 2]}}",
            "shape must be 10 finite numbers",
        ),
        (
            f"hands: {{left: {{hand_model: open_hand, hand_length_stddev_m: -1, shape: {SHAPE}}}}}",
            "hand_length_stddev_m is -1.0",
        ),
        (
            "hands: {left: {hand_model: open_hand, hand_length_stddev_m: 0.01, "
            f"shape: {SHAPE.replace('[0', '[-12')}}}}}",
            "expected 0.08 to 0.3 m",
        ),
        ("hands: !!python/object/apply:os.getcwd []", "is no YAML"),
    ],
)
def test_files_that_hold_no_calibration_are_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "hands.yaml"
    path.write_text(text)
    with pytest.raises(CalibrationError) as refused:
        load_calibrations(path, MODEL)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"nowhere\.yaml: No such file"):
        load_calibrations(tmp_path / "nowhere.yaml", MODEL)


def track_of(hand, side, rng):
    keypoints_px = hand.keypoints_px + rng.normal(0.0, 1.0, (21, 2))
    box = np.concatenate([keypoints_px.min(0), keypoints_px.max(0)])
    detection = Detection(side, 0.9, 0.9, keypoints_px, None, box)
    return Track(int(side), detection, side, 0.9, False)


def test_the_fit_keeps_a_calibrated_hands_size_and_leaves_the_other_free():
    source = SyntheticCamera(seed=6, hands=2)
    true = source.frame_at(0).hands[0].shape
    fit = LandmarkFit(MODEL)
    calibration = replace(calibrated()[Side.RIGHT], shape=true)
    rng = np.random.default_rng(0)

    def lengths():
        for index in range(4):
            shown = source.frame_at(index)
            tracks = [track_of(hand, hand.side, rng) for hand in shown.hands]
            right, left = fit.reconstruct(shown.frame, tracks)
        return right, left

    free_right, free_left = lengths()
    assert free_right.size_stddev == free_left.size_stddev == pytest.approx(0.061, abs=0.002)
    fit.use_calibrations({Side.RIGHT: calibration})
    right, left = lengths()
    true_length = MODEL.hand_length_m(true)
    assert MODEL.hand_length_m(right.shape) == pytest.approx(true_length, rel=0.01)
    assert np.abs(right.shape - true).max() < 0.3
    assert abs(MODEL.hand_length_m(free_right.shape) / true_length - 1.0) > 0.02
    assert right.size_stddev == pytest.approx(calibration.size_stddev)
    assert left.size_stddev == free_left.size_stddev
    fit.use_calibrations({})
    assert lengths()[0].size_stddev == free_right.size_stddev
