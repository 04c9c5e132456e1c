"""The fit against hands that are known: exact landmarks, noisy ones, wrong ones, left ones."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.reconstruction.kinematics import HandKinematics
from hand_mesh_ros.reconstruction.landmark_fit import (
    LandmarkFit,
    LandmarkFitConfig,
)
from hand_mesh_ros.reconstruction.lifter import Lifter
from hand_mesh_ros.training.landmark_noise import LandmarkNoise
from hand_mesh_ros.types import Detection, Frame, Track

HAND = load_open_hand()
ANATOMY = Anatomy.of(HAND)
CAMERA = Camera.from_fov(640, 480, 60.0)
IMAGE = np.zeros((480, 640, 3), np.uint8)
PALM_TO_CAMERA = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class Truth:
    """A random hand in front of the camera and what a perfect detector says of it."""

    def __init__(self, seed: int, side: Side = Side.RIGHT, camera: Camera = CAMERA, angles=None):
        rng = np.random.default_rng(seed)
        draw = ANATOMY.mean_rad + 0.7 * ANATOMY.std_rad * rng.standard_normal(21)
        if angles is None:
            angles = np.clip(draw, ANATOMY.lower_rad, ANATOMY.upper_rad)
        R = Rotation.from_rotvec(0.5 * rng.standard_normal(3)).as_matrix() @ PALM_TO_CAMERA
        self.shape = rng.standard_normal(10)
        self.pose = ANATOMY.pose(angles, R)
        self.model, self.side, self.camera = HAND, side, camera
        if side is Side.LEFT:
            self.model, self.pose = HAND.mirrored(), mirror_axis_angle(self.pose)
        posed = self.model.pose_hand(self.pose, self.shape)
        self.t = np.array([rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.1), rng.uniform(0.35, 0.7)])
        self.vertices = posed.vertices_m
        self.keypoints = self.model.keypoints(posed, self.shape, "detector")
        self.px = camera.project(self.keypoints + self.t)

    def track(self, px=None, relative=True, track_id=0, is_new=True) -> Track:
        px = self.px if px is None else px
        about = self.keypoints - self.keypoints.mean(0)
        # A detector looks along the line of sight: undo the turn that the fit will apply.
        ray = self.camera.rays(px).mean(0)
        axis = np.array([-ray[1], ray[0], 0.0])
        angle = np.arctan(np.linalg.norm(ray))
        turn = Rotation.from_rotvec(axis / max(np.linalg.norm(axis), 1e-12) * angle).as_matrix()
        detection = Detection(
            self.side, 0.9, 0.9, px, about @ turn if relative else None, np.zeros(4)
        )
        return Track(track_id, detection, self.side, 0.9, is_new)

    @property
    def frame(self) -> Frame:
        return Frame(IMAGE, self.camera, 0, "camera")


def pa_error_mm(found: np.ndarray, true: np.ndarray) -> float:
    """Mean distance after the best rotation, scale and translation."""
    a, b = found - found.mean(0), true - true.mean(0)
    U, S, Vt = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    scale = (S * flip).sum() / (a**2).sum()
    return 1e3 * float(np.linalg.norm(scale * a @ (U @ np.diag(flip) @ Vt).T - b, axis=1).mean())


def fitted(truth: Truth, fit: LandmarkFit | None = None, **track):
    return (fit or LandmarkFit(HAND)).reconstruct(truth.frame, [truth.track(**track)])[0]


def test_kinematics_agree_with_the_mesh_model():
    rng = np.random.default_rng(3)
    angles, shape = 0.4 * rng.standard_normal(21), rng.standard_normal(10)
    R = Rotation.random(random_state=3).as_matrix()
    for regressor in ("detector", "anatomical"):
        posed = HAND.pose_hand(ANATOMY.pose(angles, R), shape)
        expected = HAND.keypoints(posed, shape, regressor)
        found = HandKinematics(HAND, ANATOMY, regressor).pose(angles, R, shape)
        assert np.abs(found.keypoints_m - expected).max() < 1e-12


def test_jacobians_agree_with_differences():
    rng = np.random.default_rng(4)
    angles, shape = 0.4 * rng.standard_normal(21), rng.standard_normal(10)
    R = Rotation.random(random_state=4).as_matrix()
    kinematics = HandKinematics(HAND, ANATOMY, "detector")

    def at(step):
        place, turn, bend, change = np.split(step, [3, 6, 27])
        turned = Rotation.from_rotvec(turn).as_matrix() @ R
        return place + kinematics.pose(angles + bend, turned, shape + change).keypoints_m

    steps = 1e-6 * np.eye(37)
    expected = np.stack([at(step) - at(-step) for step in steps], axis=-1) / 2e-6
    assert kinematics.pose(angles, R, shape).jacobian == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("side", list(Side))
def test_exact_landmarks_give_the_hand(side):
    errors = []
    for seed in range(20):
        truth = Truth(seed, side)
        errors.append(pa_error_mm(fitted(truth).vertices_m, truth.vertices))
    assert np.median(errors) < 4.5
    assert max(errors) < 12.0


def test_a_left_hand_does_not_fit_a_right_one():
    right, wrong = [], []
    for seed in range(12):
        truth = Truth(seed)
        right.append(pa_error_mm(fitted(truth).keypoints_m, truth.keypoints))
        track = truth.track()
        as_left = Track(0, track.detection, Side.LEFT, 0.9, True)
        found = LandmarkFit(HAND).reconstruct(truth.frame, [as_left])[0]
        wrong.append(pa_error_mm(found.keypoints_m, truth.keypoints))
    assert np.median(wrong) > 3 * np.median(right)


def test_output_is_consistent_with_its_own_pose_and_shape():
    for side in Side:
        truth = Truth(5, side)
        found = fitted(truth)
        posed = truth.model.pose_hand(found.pose, found.shape)
        assert found.vertices_m == pytest.approx(posed.vertices_m, abs=1e-12)
        R = Rotation.from_rotvec(found.pose[:3]).as_matrix()
        assert found.R_camera_hand == pytest.approx(R, abs=1e-9)


def test_known_length_is_kept():
    truth = Truth(6)
    length = HAND.hand_length_m(truth.shape)
    found = fitted(truth, LandmarkFit(HAND, known_hand_length_m=length))
    assert HAND.hand_length_m(found.shape) == pytest.approx(length, abs=5e-4)
    assert found.size_stddev < 0.005
    assert fitted(truth).size_stddev == pytest.approx(0.0615, abs=0.01)


def test_one_landmark_on_the_wrong_finger_does_little():
    clean, spoilt = [], []
    for seed in range(12):
        truth = Truth(seed)
        px = truth.px.copy()
        px[8] = truth.px[20]
        clean.append(pa_error_mm(fitted(truth).keypoints_m, truth.keypoints))
        spoilt.append(pa_error_mm(fitted(truth, px=px).keypoints_m, truth.keypoints))
    assert np.median(spoilt) < np.median(clean) + 4.0


def test_lens_distortion_is_undone():
    D = np.array([-0.3, 0.1, 0.001, -0.001, 0.0])
    bent = Camera(640, 480, CAMERA.K, "plumb_bob", D)
    straight = [pa_error_mm(fitted(Truth(s)).keypoints_m, Truth(s).keypoints) for s in range(8)]
    truths = [Truth(s, camera=bent) for s in range(8)]
    through = [pa_error_mm(fitted(t).keypoints_m, t.keypoints) for t in truths]
    assert through == pytest.approx(straight, abs=0.5)


def test_warm_start_follows_and_a_new_track_starts_afresh():
    fit, truth = LandmarkFit(HAND), Truth(7)
    first = fitted(truth, fit)
    again = fitted(truth, fit, is_new=False)
    assert pa_error_mm(again.keypoints_m, first.keypoints_m) < 1.0
    other = Truth(8)
    fresh = fitted(other, LandmarkFit(HAND))
    restarted = fitted(other, fit, is_new=True)
    assert restarted.keypoints_m == pytest.approx(fresh.keypoints_m, abs=1e-12)


def test_without_the_detectors_depth_it_still_fits_the_image():
    truth = Truth(9)
    found = fitted(truth, relative=False)
    assert found is None or np.isfinite(found.vertices_m).all()


@pytest.mark.parametrize("missing", [16, 21])
def test_too_few_landmarks_are_refused(missing):
    truth = Truth(10)
    px = truth.px.copy()
    px[:missing] = np.nan
    assert fitted(truth, px=px) is None


def test_joint_limits_hold_under_absurd_landmarks():
    rng = np.random.default_rng(0)
    for seed in range(5):
        truth = Truth(seed)
        px = truth.px + 25.0 * rng.standard_normal((21, 2))
        fit = LandmarkFit(HAND)
        fitted(truth, fit, px=px)
        angles = fit._last[0].state.angles_rad
        over = np.maximum(angles - ANATOMY.upper_rad, ANATOMY.lower_rad - angles)
        assert np.degrees(over.max()) < 12.0


def test_rotation_covariance_is_a_covariance():
    covariance = fitted(Truth(11)).rotation_covariance
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert 0.5 < np.degrees(np.sqrt(np.diag(covariance))).max() < 30


def test_a_track_gone_astray_finds_its_way_back():
    """Start from a hand seen from behind; the next frame must not stay in that valley."""
    truth, fit = Truth(12), LandmarkFit(HAND)
    expected = pa_error_mm(fitted(truth, LandmarkFit(HAND)).keypoints_m, truth.keypoints)
    fitted(truth, fit)
    seen = fit._last[0]
    turned = Rotation.from_euler("y", 180, degrees=True).as_matrix() @ seen.state.R
    state = replace(seen.state, R=turned, angles_rad=ANATOMY.mean_rad)
    fit._last[0] = replace(seen, state=state)
    found = fitted(truth, fit, is_new=False)
    assert pa_error_mm(found.keypoints_m, truth.keypoints) < expected + 1.0


def test_reversed_depth_is_noticed():
    """A detector that takes near for far: the image decides."""
    errors = []
    for seed in range(8):
        truth = Truth(seed)
        track = truth.track()
        d = track.detection
        wrong = Detection(
            d.side, 0.9, 0.9, d.keypoints_px, d.keypoints_rel_m * [1.0, 1.0, -1.0], d.box_px
        )
        found = LandmarkFit(HAND).reconstruct(truth.frame, [Track(0, wrong, d.side, 0.9, True)])[0]
        errors.append(pa_error_mm(found.keypoints_m, truth.keypoints))
    assert np.median(errors) < 15.0


# With the lifter.


@pytest.fixture(scope="module")
def lifted_fit():
    return LandmarkFit(HAND, lifter=Lifter.load("lifter", HAND))


def noisy(truth, seed, share=0.025):
    rng = np.random.default_rng([seed, 9])
    return truth.px + share * np.ptp(truth.px, axis=0).max() * rng.standard_normal((21, 2))


def detected(num):
    """Hands in poses that hands take, and their landmarks with errors that the detector makes."""
    poses = PosePrior(HAND).angles_rad(np.zeros((num, 10)), np.random.default_rng(4))
    noise, focal_px = LandmarkNoise.load(held_out=True), CAMERA.K[:1, 0]
    for seed, angles in enumerate(poses):
        truth = Truth(seed, angles=angles)
        keypoints = (truth.keypoints + truth.t)[None]
        seen = noise.observe(keypoints, focal_px, np.random.default_rng(seed)).rays[0]
        yield truth, CAMERA.project(np.column_stack([seen, np.ones(21)]))


def test_the_lifter_sees_depth_that_the_fit_alone_does_not(lifted_fit):
    """On poses that hands take, with errors that the detector makes."""
    with_lifter, alone, place = [], [], []
    for truth, px in detected(30):
        track = truth.track(px, relative=False)
        (found,) = lifted_fit.reconstruct(truth.frame, [track])
        (other,) = LandmarkFit(HAND).reconstruct(truth.frame, [track])
        with_lifter.append(pa_error_mm(found.keypoints_m, truth.keypoints))
        alone.append(pa_error_mm(other.keypoints_m, truth.keypoints))
        size = truth.model.hand_length_m(truth.shape) / truth.model.hand_length_m(found.shape)
        place.append(abs(size * found.t_camera_wrist_guess[2] / truth.t[2] - 1.0))
    assert np.median(with_lifter) < 0.75 * np.median(alone)
    assert np.median(place) < 0.04


def test_the_lifters_deviations_and_depth_go_along(lifted_fit):
    truth = Truth(4)
    lifted_fit.reset()
    (found,) = lifted_fit.reconstruct(truth.frame, [truth.track(noisy(truth, 4))])
    assert found.keypoint_stddev_m.shape == (21,)
    assert 0.001 < found.keypoint_stddev_m.min() <= found.keypoint_stddev_m.max() < 0.03
    assert 0.01 < found.depth_stddev < 0.1
    (other,) = LandmarkFit(HAND).reconstruct(truth.frame, [truth.track()])
    assert (other.keypoint_stddev_m, other.depth_stddev) == (None, None)


def test_the_lifter_says_which_hands_depth_it_knows_less_well():
    """Of measured hands that it has never seen, in thirds by what it says."""
    lifter, noise = Lifter.load("lifter", HAND), LandmarkNoise.load(held_out=True)
    hands = noise.hands[np.random.default_rng(0).permutation(len(noise))[:900]]
    keypoints_m = hands.keypoints_camera_m(HAND)
    rng = np.random.default_rng(0)
    seen = noise.observe(keypoints_m, hands.focal_px, rng, xy_error=hands.xy_error)
    stated, errors = [], []
    for rays, true, shape in zip(seen.rays, keypoints_m, hands.shape, strict=True):
        found = lifter.lift(rays)
        sight = found.R_camera_view[:, 2]
        depth_m = (found.t_camera_wrist + found.keypoints_m.mean(0)) @ sight
        size = HAND.hand_length_m(shape) / found.hand_length_m
        errors.append(size * depth_m / (true.mean(0) @ sight) - 1.0)
        stated.append(found.depth_stddev)
    order = np.argsort(stated)
    squares = np.square(errors)[order]
    sure, middle, unsure = (np.sqrt(np.mean(part)) for part in np.split(squares, 3))
    assert 1.5 * sure < unsure
    assert sure < middle < unsure
    assert 0.5 < np.sqrt(np.mean(np.square(errors) / np.square(stated))) < 1.3


def test_landmarks_that_make_no_hand_for_the_lifter_are_at_least_met(lifted_fit):
    """Fingers taken for others: the mesh goes where the landmarks are and claims no deviations."""
    lifter, truth = Lifter.load("lifter", HAND), Truth(2)
    trusting_fit = LandmarkFit(
        HAND, lifter=lifter, config=LandmarkFitConfig(unlike_a_hand_cost=np.inf)
    )
    px = truth.px.copy()
    px[[1, 2, 3, 4, 17, 18, 19, 20]] = px[[17, 18, 19, 20, 1, 2, 3, 4]]
    (trusting,) = trusting_fit.reconstruct(truth.frame, [truth.track(px)])
    assert trusting.keypoint_stddev_m is not None
    (found,) = lifted_fit.reconstruct(truth.frame, [truth.track(px)])
    assert found.keypoint_stddev_m is None
    assert off_share(found, px) < 0.1


def test_a_track_keeps_its_shape_with_the_lifter_too(lifted_fit):
    spread = []
    for hand in range(4, 12):
        truth = Truth(hand)
        lifted_fit.reset()
        (first,) = lifted_fit.reconstruct(truth.frame, [truth.track(noisy(truth, 0))])
        for seed in range(1, 15):
            track = truth.track(noisy(truth, seed), is_new=False)
            (last,) = lifted_fit.reconstruct(truth.frame, [track])
        off = [np.linalg.norm(found.shape - truth.shape) for found in (last, first)]
        spread.append(off[0] / off[1])
    assert np.median(spread) < 1.05
    (again,) = lifted_fit.reconstruct(truth.frame, [truth.track(noisy(truth, 14), is_new=True)])
    assert np.linalg.norm(again.shape - last.shape) > 1e-3


def off_share(found, px):
    seen = CAMERA.project(found.keypoints_m + found.t_camera_wrist_guess)
    return np.median(np.linalg.norm(seen - px, axis=1)) / np.ptp(px, axis=0).max()


def count_linearised(fit, monkeypatch):
    calls, linearise = [], fit._cost.linearise
    monkeypatch.setattr(
        fit._cost, "linearise", lambda *args: calls.append(args) or linearise(*args)
    )
    return calls


def test_a_tracked_hand_needs_one_look_where_a_new_one_needs_two(lifted_fit, monkeypatch):
    """What the lifter missed by in one frame it misses by in the next, for half of the work."""
    calls = count_linearised(lifted_fit, monkeypatch)
    first, later, looks = [], [], []
    for truth, px in detected(20):
        lifted_fit.reset()
        (found,) = lifted_fit.reconstruct(truth.frame, [truth.track(px)])
        first.append(off_share(found, px))
        calls.clear()
        (found,) = lifted_fit.reconstruct(truth.frame, [truth.track(px, is_new=False)])
        later.append(off_share(found, px))
        looks.append(len(calls))
    assert np.median(later) < 1.01 * np.median(first)
    assert np.median(looks) == 1


def test_what_was_missed_on_one_hand_hardly_spoils_another(lifted_fit):
    """Even if a track jumps to another pose between two frames, which a hand cannot."""
    worse = []
    for seed in range(8):
        truth, other, errors = Truth(seed), Truth(seed + 20), []
        for forgets in (False, True):
            lifted_fit.reset()
            lifted_fit.reconstruct(truth.frame, [truth.track(noisy(truth, seed))])
            if forgets:
                lifted_fit._last[0] = replace(lifted_fit._last[0], correction=None)
            track = other.track(noisy(other, seed), is_new=False)
            (found,) = lifted_fit.reconstruct(other.frame, [track])
            errors.append(pa_error_mm(found.keypoints_m, other.keypoints))
        worse.append(errors[0] - errors[1])
    assert np.median(worse) < 0.3
    assert max(worse) < 2.0


@pytest.mark.parametrize("bent", [0.0, 1e-4])
def test_landmarks_on_a_line_are_no_hand(lifted_fit, bent):
    truth = Truth(0)
    along = np.linspace(-1.0, 1.0, 21)
    px = np.column_stack([320.0 + 80.0 * along, 240.0 + 40.0 * along + bent * along**2])
    for fit in (lifted_fit, LandmarkFit(HAND)):
        assert fit.reconstruct(truth.frame, [truth.track(px)]) == [None]
