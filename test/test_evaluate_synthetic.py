"""Rendered hands with truth: reproducible, consistent, and the pipeline finds them."""

from dataclasses import replace

import numpy as np
import pytest
from hand_samples import sample_hand

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.detections import SharedDetector, labelled_one, overlap
from hand_mesh_ros.evaluation.hand_keypoints import hand_keypoints_m
from hand_mesh_ros.evaluation.landmarks import Landmarks, MeasuredLandmarks
from hand_mesh_ros.evaluation.models import ModelError, ModelOptions, build_model
from hand_mesh_ros.evaluation.runner import evaluate
from hand_mesh_ros.evaluation.synthetic_hands import SyntheticHands
from hand_mesh_ros.evaluation.view_angle import view_angles_deg
from hand_mesh_ros.hand_models.open_hand import load_open_hand

MODEL = load_open_hand()


def small(samples):
    """Numbers of the samples whose images are small, so that tests are quick."""
    return [i for i in range(len(samples)) if samples[i].labels.camera.width <= 848]


def test_a_hand_depends_on_its_seed_and_number_alone():
    few, many = SyntheticHands(MODEL, 10, 7), SyntheticHands(MODEL, 50, 7)
    other = SyntheticHands(MODEL, 10, 8)
    index = small(few)[-1]
    many[3]  # reading another one first changes nothing
    a, b, c = few[index], many[index], other[index]
    np.testing.assert_array_equal(a.labels.vertices_m, b.labels.vertices_m)
    np.testing.assert_array_equal(a.labels.load_image(), b.labels.load_image())
    np.testing.assert_array_equal(a.labels.load_image(), a.labels.load_image())
    assert np.abs(a.labels.vertices_m - c.labels.vertices_m).max() > 0.01


def test_truths_agree_with_each_other_for_both_hands():
    samples = SyntheticHands(MODEL, 60, 1)
    sides = []
    for i in range(60):
        sample = samples[i]
        labels = sample.labels
        model = MODEL if labels.side is Side.RIGHT else MODEL.mirrored()
        posed = model.pose_hand(labels.pose, labels.shape)
        np.testing.assert_allclose(posed.vertices_m + labels.root_m, labels.vertices_m, atol=1e-9)
        for name, truth in (
            ("anatomical", labels.keypoints_m),
            ("detector", sample.detector_keypoints_m),
        ):
            keypoints_m = model.keypoints(posed, labels.shape, name) + labels.root_m
            np.testing.assert_allclose(keypoints_m, truth, atol=1e-9)
        assert sample.hand_length_m == pytest.approx(MODEL.hand_length_m(labels.shape), abs=1e-9)
        np.testing.assert_allclose(labels.camera.project(labels.keypoints_m), labels.keypoints_px)
        # A hand in the mirror, seen by the mirrored camera, is whole in the image as well.
        corner = [labels.camera.width - 0.5, labels.camera.height - 0.5]
        assert (labels.keypoints_px > -0.5).all()
        assert (labels.keypoints_px < corner).all()
        sides.append(labels.side)
    assert 20 <= sides.count(Side.LEFT) <= 40


def test_the_image_shows_the_hand_where_the_truth_says():
    samples = SyntheticHands(MODEL, 40, 3)
    for i in small(samples)[:4]:
        labels = samples[i].labels
        image = labels.load_image().astype(float)
        assert image.shape == (labels.camera.height, labels.camera.width, 3)
        x, y = np.round(labels.keypoints_px).astype(int).T
        # Skin is redder than it is blue, the room is not.
        redness = image[..., 0] - image[..., 2]
        assert np.median(redness[y, x]) > 15.0
        assert np.median(redness) < 5.0


def test_landmarks_are_those_of_the_source_mirrored_for_left_hands():
    def off_by_a_hundredth(keypoints_m, focal_px, rng):
        rays = keypoints_m[:, :2] / keypoints_m[:, 2:] + [0.01, 0.0]
        return Landmarks(rays, np.full(21, 0.5))

    samples = SyntheticHands(MODEL, 30, 1, landmarks=off_by_a_hundredth)
    seen = set()
    for i in range(30):
        sample = samples[i]
        truth = sample.detector_keypoints_m[:, :2] / sample.detector_keypoints_m[:, 2:]
        # Noise is drawn for right hands; in the mirror it is off to the other side.
        sign = 1.0 if sample.labels.side is Side.RIGHT else -1.0
        rays = sample.load_landmarks().rays
        np.testing.assert_allclose(rays - truth, np.tile([sign * 0.01, 0.0], (21, 1)), atol=1e-12)
        seen.add(sample.labels.side)
    assert len(seen) == 2


@pytest.mark.parametrize(("n", "seed", "says"), [(0, 1, "got 0"), (5, -1, "seed .* is -1")])
def test_impossible_sets_are_refused(n, seed, says):
    with pytest.raises(ValueError, match=says):
        SyntheticHands(MODEL, n, seed)


class Only:
    """Some of the samples of a set."""

    def __init__(self, samples, indices):
        self._samples, self._indices = samples, indices

    def __len__(self):
        return len(self._indices)

    def __getitem__(self, index):
        return self._samples[self._indices[index]]


def test_the_pipeline_and_mediapipe_on_the_same_detections():
    samples = SyntheticHands(MODEL, 60, 1234)
    # From the palm's side, where the detector is at its best.
    indices = [
        i
        for i in small(samples)
        if view_angles_deg(samples[i].labels.keypoints_m, samples[i].labels.side) < 80.0
    ][:10]
    options = ModelOptions()
    models = [build_model(spec, options) for spec in ("pipeline:landmark_fit", "mediapipe")]
    fit, mediapipe = evaluate(Only(samples, indices), models, show_progress=False).results
    options.detector.close()
    assert fit.summary.samples == mediapipe.summary.samples >= 6
    assert fit.summary.missed == mediapipe.summary.missed
    assert fit.keypoint_convention == fit.true_keypoint_convention == "anatomical"
    assert mediapipe.keypoint_convention == mediapipe.true_keypoint_convention == "detector"
    assert fit.summary.pa_mpjpe_mm < 13.0
    assert fit.summary.pa_mpvpe_mm < 13.0
    assert fit.summary.root_error_share < 0.2
    assert mediapipe.summary.pa_mpjpe_mm < 26.0
    assert mediapipe.summary.root_error_mm is None
    assert mediapipe.summary.pa_mpvpe_mm is None


def test_landmarks_alone_and_the_known_length_of_the_hand():
    samples = SyntheticHands(MODEL, 20, 5)
    results = {}
    for known in (False, True):
        for keypoints in ("anatomical", "detector"):
            options = ModelOptions(keypoints=keypoints, known_hand_length=known)
            model = build_model("landmarks:landmark_fit", options)
            assert not model.needs_image
            (result,) = evaluate(samples, [model], show_progress=False).results
            results[known, keypoints] = result.summary
            assert result.true_keypoint_convention == keypoints
            assert (result.summary.samples, result.wrong_side) == (20, 0)
    assert results[False, "anatomical"].pa_mpjpe_mm < 8.0
    assert results[False, "detector"].pa_mpjpe_mm < 8.0
    # The wrong truth would be the same number twice.
    assert results[False, "anatomical"].pa_mpjpe_mm != results[False, "detector"].pa_mpjpe_mm
    known, unknown = (results[k, "anatomical"].root_error_share for k in (True, False))
    assert known < 0.6 * unknown


def test_measured_landmarks_are_off_by_as_much_as_a_detectors():
    n = 40
    samples = SyntheticHands(MODEL, n, 9, landmarks=MeasuredLandmarks())
    errors = []
    for i in range(n):
        landmarks, truth = samples[i].load_landmarks(), samples[i].detector_keypoints_m
        rays = truth[:, :2] / truth[:, 2:]
        errors.append(
            np.linalg.norm(landmarks.rays - rays, axis=1).mean() / np.ptp(rays, axis=0).max()
        )
        again = samples[i].load_landmarks().rays
        np.testing.assert_array_equal(again, landmarks.rays)
    assert 0.02 < np.median(errors) < 0.12  # shares of the hand's size in the image


def test_a_hand_with_a_missing_landmark_is_missed():
    def half_blind(keypoints_m, focal_px, rng):
        confidence = np.ones(21)
        confidence[7] = 0.0 if rng.uniform() < 0.5 else 1.0
        return Landmarks(keypoints_m[:, :2] / keypoints_m[:, 2:], confidence)

    samples = SyntheticHands(MODEL, 12, 5, landmarks=half_blind)
    missing = sum((samples[i].load_landmarks().confidence == 0.0).any() for i in range(12))
    assert 0 < missing < 12
    model = build_model("landmarks:landmark_fit", ModelOptions())
    (result,) = evaluate(samples, [model], show_progress=False).results
    assert (result.summary.samples, result.summary.missed) == (12 - missing, missing)


def test_landmarks_need_a_set_that_has_them():
    samples = SyntheticHands(MODEL, 2, 5)

    class WithoutLandmarks(Only):
        def __getitem__(self, index):
            return replace(super().__getitem__(index), load_landmarks=None)

    model = build_model("landmarks:landmark_fit", ModelOptions())
    with pytest.raises(ModelError, match="expected --dataset synthetic"):
        evaluate(WithoutLandmarks(samples, [0]), [model], show_progress=False)


def test_anatomical_keypoints_of_hands_with_and_without_a_pose():
    samples, seen = SyntheticHands(MODEL, 12, 4), set()
    for i in range(12):
        labels = samples[i].labels
        T = np.eye(4)
        T[:3, 3] = labels.root_m
        hand = sample_hand(
            labels.side,
            T_camera_wrist=T,
            keypoints_m=samples[i].detector_keypoints_m,
            vertices_m=labels.vertices_m,
            pose=labels.pose,
            shape=labels.shape,
        )
        np.testing.assert_array_equal(hand_keypoints_m(hand, MODEL, "detector"), hand.keypoints_m)
        anatomical = hand_keypoints_m(hand, MODEL, "anatomical")
        np.testing.assert_allclose(anatomical, labels.keypoints_m, atol=1e-9)
        free = hand_keypoints_m(replace(hand, pose=None, shape=None), MODEL, "anatomical")
        assert np.linalg.norm(free - labels.keypoints_m, axis=1).mean() < 0.001
        seen.add(labels.side)
    assert len(seen) == 2


def test_one_look_at_each_image():
    class Counting:
        def __init__(self):
            self.looks, self.resets = 0, 0

        def detect(self, image, stamp_ns):
            assert self.resets == self.looks + 1
            self.looks += 1
            return [image.sum()]

        def reset(self):
            self.resets += 1

        def close(self):
            pass

    counting = Counting()
    detector = SharedDetector(lambda: counting)
    images = [np.full((4, 4, 3), i, np.uint8) for i in range(3)]
    for _ in range(2):
        assert [detector.detect(i, 0)[0] for i in images] == [0, 48, 96]
    assert counting.looks == 3


def test_the_labelled_hand_is_picked_by_place_and_side():
    labels = SyntheticHands(MODEL, 1, 5)[0].labels
    box = labels.box_px
    size = float((box[2:] - box[:2]).max())
    near, far = box + 0.1 * size, box + 3.0 * size
    right, wrong = labels.side, labels.side.opposite

    def pick(*hands):
        return labelled_one(hands, labels, box_px=lambda h: h[0], side=lambda h: h[1])

    assert pick() is None
    assert pick((far, right)) is None
    assert pick((near, wrong))[1] is wrong  # counted as the wrong side by whoever asks
    assert pick((box, wrong), (near, right))[1] is right
    assert pick((near, right), (box, right))[0] is box


def test_overlap_of_boxes():
    box, half = np.array([0.0, 0.0, 10.0, 10.0]), np.array([5.0, 0.0, 15.0, 10.0])
    assert overlap(box, box) == 1.0
    assert overlap(box, half) == overlap(half, box) == 0.5
    assert overlap(box, np.array([2.0, 2.0, 4.0, 4.0])) == 1.0
    assert overlap(box, np.array([20.0, 0.0, 30.0, 10.0])) == 0.0
