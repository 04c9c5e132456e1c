from dataclasses import replace

import numpy as np
import pytest
from oracles import one_euro
from scipy.spatial.transform import Rotation

from hand_mesh_ros.conventions import RootSource, Side, mirror_axis_angle, mirror_points
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.smoothing import HandSmoother, OneEuro, RotationOneEuro
from hand_mesh_ros.types import Hand

FRAME_NS = 33_333_333  # 30 Hz


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def angle_between(A, B):
    return Rotation.from_matrix(np.swapaxes(A, -1, -2) @ B).magnitude()


# One-Euro on numbers


def test_it_is_the_published_recurrence_at_irregular_times():
    rng = np.random.default_rng(1)
    times_ns = 10**18 + np.cumsum(rng.integers(5_000_000, 90_000_000, 200))  # a real epoch
    values = np.cumsum(rng.normal(0.0, 0.05, (200, 2)), axis=0)
    smoother = OneEuro(1.2, 7.0, 1.5)
    ours = np.array([smoother.update(v, int(t)) for v, t in zip(values, times_ns, strict=True)])
    times_s = (times_ns - times_ns[0]) * 1e-9
    for axis in range(2):
        expected = one_euro(values[:, axis], times_s, 1.2, 7.0, 1.5)
        np.testing.assert_allclose(ours[:, axis], expected, rtol=0.0, atol=1e-12)


def test_without_beta_it_is_an_exponential_average():
    smoother = OneEuro(2.0)
    smoother.update(0.0, 0)
    alpha = 1.0 / (1.0 + 1.0 / (2.0 * np.pi * 2.0 * 0.05))
    for k in range(1, 9):
        value = smoother.update(1.0, k * 50_000_000)
        assert value == pytest.approx(1.0 - (1.0 - alpha) ** k)


def test_noise_about_a_constant_shrinks_and_its_mean_stays():
    rng = np.random.default_rng(2)
    values = 0.5 + rng.normal(0.0, 0.004, 600)
    smoother = OneEuro(1.0, 10.0)
    out = np.array([smoother.update(v, k * FRAME_NS) for k, v in enumerate(values)])
    assert rms(out[60:] - 0.5) < 0.45 * rms(values[60:] - 0.5)
    assert np.mean(out[60:]) == pytest.approx(0.5, abs=5e-4)


def test_a_step_is_followed():
    smoother = OneEuro(1.0, 10.0)
    out = np.array([smoother.update(0.2 * (k >= 30), k * FRAME_NS) for k in range(60)])
    np.testing.assert_array_equal(out[:30], 0.0)
    assert np.all(np.diff(out[29:]) >= 0.0)  # no overshoot
    assert out[33] > 0.95 * 0.2  # 0.13 s later
    assert out[-1] == pytest.approx(0.2, abs=1e-3)


def test_higher_beta_lags_less_and_units_of_speed_are_the_callers():
    def lag(beta, speed_scale=1.0):
        smoother = OneEuro(1.0, beta)
        for k in range(60):
            out = smoother.update(k / 30.0, k * FRAME_NS, speed_scale=speed_scale)
        return 59 / 30.0 - float(out)

    assert lag(10.0) < 0.015 < 0.1 < lag(0.0)
    assert lag(20.0, speed_scale=0.5) == pytest.approx(lag(10.0))


@pytest.mark.parametrize("pause_ns", [500_000_001, 10**12, -1, -(10**9)])
def test_a_gap_or_time_that_runs_back_starts_anew(pause_ns):
    smoother = OneEuro(1.0, max_gap_s=0.5)
    for k in range(10):
        smoother.update(0.0, k * FRAME_NS)
    assert smoother.update(1.0, 9 * FRAME_NS + pause_ns) == 1.0


def test_short_gaps_and_repeated_stamps_do_not_start_anew():
    smoother = OneEuro(1.0, max_gap_s=0.5)
    smoother.update(0.0, 0)
    first = smoother.update(1.0, 500_000_000)
    assert 0.5 < first < 0.9  # pi / (1 + pi) = 0.76
    assert smoother.update(7.0, 500_000_000) == first


def test_reset_forgets():
    smoother = OneEuro(1.0)
    smoother.update(0.0, 0)
    smoother.reset()
    assert smoother.update(1.0, FRAME_NS) == 1.0


def test_what_it_returns_and_takes_is_not_its_state():
    smoother = OneEuro(1.0)
    value = np.zeros(3)
    out = smoother.update(value, 0)
    value += 5.0
    out += 5.0
    np.testing.assert_array_equal(smoother.update(np.zeros(3), FRAME_NS), 0.0)


@pytest.mark.parametrize("value", [np.nan, [0.0, np.inf]])
def test_values_that_would_poison_it_are_refused(value):
    smoother = OneEuro(1.0)
    smoother.update(np.zeros_like(value), 0)
    with pytest.raises(ValueError, match="not finite"):
        smoother.update(value, FRAME_NS)
    np.testing.assert_array_equal(smoother.update(np.zeros_like(value), 2 * FRAME_NS), 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_cutoff_hz": 0.0}, "min_cutoff_hz must be positive and finite, got 0"),
        ({"derivative_cutoff_hz": -1.0}, "derivative_cutoff_hz must be positive"),
        ({"beta": -0.1}, "beta must be zero or positive and finite, got -0.1"),
        ({"max_gap_s": np.inf}, "max_gap_s must be positive and finite"),
    ],
)
def test_impossible_parameters_are_refused(arguments, message):
    for kind in (OneEuro, RotationOneEuro):
        with pytest.raises(ValueError, match=message):
            kind(**arguments)


# One-Euro on rotations


def test_rotations_about_one_axis_are_filtered_like_their_angle():
    rng = np.random.default_rng(3)
    angles = np.cumsum(rng.normal(0.0, 0.1, 100))
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    smoother = RotationOneEuro(1.0, 3.0)
    R = rotation_from_axis_angle(angles[:, None] * axis)
    ours = np.array([smoother.update(r, k * FRAME_NS) for k, r in enumerate(R)])
    expected = one_euro(angles, np.arange(100) * FRAME_NS * 1e-9, 1.0, 3.0)
    np.testing.assert_allclose(
        ours, rotation_from_axis_angle(expected[:, None] * axis), rtol=0.0, atol=1e-9
    )


def test_turning_through_pi_never_flips():
    """Axis-angle vectors jump from +pi to -pi here; the rotations must not."""
    angles = np.linspace(np.radians(150.0), np.radians(570.0), 200)  # twice through pi
    R = rotation_from_axis_angle(angles[:, None] * np.array([0.6, 0.0, 0.8]))
    smoother = RotationOneEuro(1.0, 1.0)
    out = np.array([smoother.update(r, k * FRAME_NS) for k, r in enumerate(R)])
    step = angles[1] - angles[0]
    assert angle_between(out[:-1], out[1:]).max() < 1.2 * step
    assert angle_between(out, R).max() < np.radians(15.0)


def test_noise_near_pi_shrinks():
    rng = np.random.default_rng(4)
    still = rotation_from_axis_angle((np.pi - 0.01) * np.array([0.0, 0.6, 0.8]))
    noisy = still @ rotation_from_axis_angle(rng.normal(0.0, 0.05, (400, 3)))
    smoother = RotationOneEuro(1.0, 1.0)
    out = np.array([smoother.update(r, k * FRAME_NS) for k, r in enumerate(noisy)])
    assert rms(angle_between(out[60:], still)) < 0.45 * rms(angle_between(noisy[60:], still))


def test_rotations_stay_rotations():
    rng = np.random.default_rng(5)
    smoother = RotationOneEuro(1.0, 1.0)
    for k in range(2000):
        R = Rotation.random(4, random_state=rng).as_matrix()  # as far apart as can be
        out = smoother.update(R, k * FRAME_NS)
    np.testing.assert_allclose(
        out @ np.swapaxes(out, 1, 2), np.tile(np.eye(3), (4, 1, 1)), atol=1e-10
    )
    np.testing.assert_allclose(np.linalg.det(out), 1.0, atol=1e-10)


def test_each_rotation_is_filtered_on_its_own():
    R = rotation_from_axis_angle(np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    together, alone = RotationOneEuro(1.0, 5.0), RotationOneEuro(1.0, 5.0)
    for k in range(5):
        moved = rotation_from_axis_angle(np.array([[0.3 * k, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        out = together.update(moved, k * FRAME_NS)
        expected = alone.update(moved[0], k * FRAME_NS)
    np.testing.assert_allclose(out[0], expected, atol=1e-12)
    np.testing.assert_allclose(out[1], R[1], atol=1e-12)


# Hands


def make_hand(t, pose, shape, *, side=Side.RIGHT, track_id=1, with_pose=True):
    model = load_open_hand()
    if side is Side.LEFT:
        model = model.mirrored()
    posed = model.pose_hand(pose, shape)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = posed.R_joints[0], t
    keypoints = model.keypoints(posed, shape, "detector") + t
    return Hand(
        track_id=track_id,
        side=side,
        side_score=0.9,
        score=0.8,
        T_camera_wrist=T,
        root_covariance=np.eye(6),
        root_source=RootSource.REPROJECTION,
        keypoints_m=keypoints,
        keypoints_px=np.zeros((21, 2)),
        vertices_m=posed.vertices_m + t,
        pose=pose if with_pose else None,
        shape=shape if with_pose else None,
        box_px=np.zeros(4),
        grasp_aperture_m=float(np.linalg.norm(keypoints[4] - keypoints[8])),
        model="test",
        hand_model=model.name,
    )


def some_pose(rng):
    return np.concatenate([rng.normal(0.0, 1.0, 3), rng.normal(0.0, 0.3, 45)])


def assert_same_hand(a, b, atol=1e-9):
    np.testing.assert_allclose(a.T_camera_wrist, b.T_camera_wrist, rtol=0.0, atol=atol)
    np.testing.assert_allclose(a.keypoints_m, b.keypoints_m, rtol=0.0, atol=atol)
    np.testing.assert_allclose(a.vertices_m, b.vertices_m, rtol=0.0, atol=atol)
    assert a.grasp_aperture_m == pytest.approx(b.grasp_aperture_m, abs=atol)


@pytest.mark.parametrize("with_pose", [True, False])
@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
def test_a_hand_that_does_not_move_comes_out_as_it_went_in(side, with_pose):
    rng = np.random.default_rng(6)
    hand = make_hand(
        np.array([0.1, -0.05, 0.4]),
        some_pose(rng),
        rng.normal(size=10),
        side=side,
        with_pose=with_pose,
    )
    smoother = HandSmoother(load_open_hand())
    for k in range(4):
        (out,) = smoother.update((hand,), k * FRAME_NS)
        assert_same_hand(out, hand)
    assert (out.pose is None) != with_pose


def still_hands(count, *, with_pose=True):
    """Noise as a good single-camera reconstruction has it: little in bearing, much in depth."""
    rng = np.random.default_rng(7)
    pose, shape, t = some_pose(rng), rng.normal(0.0, 0.5, 10), np.array([0.15, -0.1, 0.5])
    clean = make_hand(t, pose, shape, with_pose=with_pose)
    noisy = []
    for _ in range(count):
        z = t[2] + rng.normal(0.0, 0.012)
        noisy_t = np.append((t[:2] / t[2] + rng.normal(0.0, 0.003, 2)) * z, z)
        noisy_pose = pose + rng.normal(0.0, 0.06, 48)
        noisy_shape = shape + rng.normal(0.0, 0.2, 10)
        noisy.append(make_hand(noisy_t, noisy_pose, noisy_shape, with_pose=with_pose))
    return clean, noisy


@pytest.mark.parametrize("with_pose", [True, False])
def test_jitter_of_a_still_hand_shrinks_in_every_part(with_pose):
    clean, noisy = still_hands(150, with_pose=with_pose)
    smoother = HandSmoother(load_open_hand())
    smooth = [smoother.update((hand,), k * FRAME_NS)[0] for k, hand in enumerate(noisy)]
    parts = {
        "root depth": lambda h: h.T_camera_wrist[2, 3],
        "root bearing": lambda h: h.T_camera_wrist[:2, 3] / h.T_camera_wrist[2, 3],
        "rotation": lambda h: h.T_camera_wrist[:3, :3],
        "keypoints": lambda h: h.keypoints_m - h.T_camera_wrist[:3, 3],
        "vertices": lambda h: h.vertices_m - h.T_camera_wrist[:3, 3],
    }
    if with_pose:
        parts |= {"pose": lambda h: h.pose, "shape": lambda h: h.shape}
    for name, part in parts.items():
        before = np.array([part(hand) for hand in noisy[30:]])
        after = np.array([part(hand) for hand in smooth[30:]])
        jitter_before, jitter_after = rms(np.diff(before, axis=0)), rms(np.diff(after, axis=0))
        print(f"{name}: frame to frame {jitter_before:.5f} -> {jitter_after:.5f}")
        assert jitter_after < 0.35 * jitter_before, name
        assert rms(after - part(clean)) < 0.6 * rms(before - part(clean)), name
        if name == "shape":  # a hand keeps its shape
            assert jitter_after < 0.06 * jitter_before


def test_mesh_and_keypoints_are_those_of_the_smoothed_pose_and_shape():
    _, noisy = still_hands(60)
    smoother = HandSmoother(load_open_hand())
    smooth = [smoother.update((hand,), k * FRAME_NS)[0] for k, hand in enumerate(noisy)]
    model = load_open_hand()
    for hand in smooth[30:]:
        posed = model.pose_hand(hand.pose, hand.shape)
        root = hand.T_camera_wrist[:3, 3]
        np.testing.assert_allclose(hand.vertices_m, posed.vertices_m + root, atol=1e-12)
        keypoints = model.keypoints(posed, hand.shape, "detector")
        np.testing.assert_allclose(hand.keypoints_m, keypoints + root, atol=1e-12)
        np.testing.assert_allclose(hand.T_camera_wrist[:3, :3], posed.R_joints[0], atol=1e-12)
        aperture = np.linalg.norm(hand.keypoints_m[4] - hand.keypoints_m[8])
        assert hand.grasp_aperture_m == pytest.approx(aperture, abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("with_pose", [True, False])
def test_a_hand_at_one_metre_a_second_lags_less_than_15_mm(axis, with_pose):
    rng = np.random.default_rng(8)
    pose, shape, start = some_pose(rng), np.zeros(10), np.array([-0.2, -0.1, 0.4])
    smoother = HandSmoother(load_open_hand())
    for k in range(30):
        t = start + (k / 30.0) * np.eye(3)[axis]
        hand = make_hand(t, pose, shape, with_pose=with_pose)
        (out,) = smoother.update((hand,), k * FRAME_NS)
    lag_m = np.linalg.norm(out.keypoints_m - hand.keypoints_m, axis=1).max()
    assert 0.002 < lag_m < 0.015


def test_a_fast_turn_and_a_closing_finger_are_followed():
    """5 rad/s, a quick turn of the wrist: less than 6 degrees late."""
    rng = np.random.default_rng(9)
    pose, t = some_pose(rng), np.array([0.0, 0.0, 0.5])
    smoother = HandSmoother(load_open_hand())
    for k in range(20):
        turned = pose.copy()
        turned[:3] = [0.0, 5.0 * k / 30.0 - 1.0, 0.0]
        turned[3:6] = [0.0, 0.0, 5.0 * k / 30.0]  # index, first joint
        hand = make_hand(t, turned, np.zeros(10))
        (out,) = smoother.update((hand,), k * FRAME_NS)
    late = angle_between(
        rotation_from_axis_angle(out.pose.reshape(16, 3)),
        rotation_from_axis_angle(hand.pose.reshape(16, 3)),
    )
    assert late[:2].max() < np.radians(6.0)
    assert late[2:].max() < 1e-6


def test_points_of_a_turning_hand_do_not_shrink():
    rng = np.random.default_rng(10)
    pose, t = some_pose(rng), np.array([0.0, 0.0, 0.5])
    smoother = HandSmoother(load_open_hand(), beta=0.0)  # as much lag as there can be
    for k in range(30):
        pose[:3] = [0.0, 0.3 * k, 0.0]
        hand = make_hand(t, pose, np.zeros(10), with_pose=False)
        (out,) = smoother.update((hand,), k * FRAME_NS)
    size = np.linalg.norm(np.ptp(hand.keypoints_m @ hand.T_camera_wrist[:3, :3], axis=0))
    size_out = np.linalg.norm(np.ptp(out.keypoints_m @ out.T_camera_wrist[:3, :3], axis=0))
    assert size_out == pytest.approx(size, rel=1e-6)


def test_a_left_hand_is_the_mirror_image_of_a_right_one():
    """Its poses belong to the mirrored model; posed with the right one, it would not match."""
    rng = np.random.default_rng(11)
    right_smoother, left_smoother = HandSmoother(load_open_hand()), HandSmoother(load_open_hand())
    pose, shape = some_pose(rng), rng.normal(0.0, 0.5, 10)
    for k in range(5):
        pose = pose + rng.normal(0.0, 0.1, 48)
        t = np.array([0.1, 0.05, 0.5]) + rng.normal(0.0, 0.01, 3)
        right = make_hand(t, pose, shape)
        left = make_hand(mirror_points(t), mirror_axis_angle(pose), shape, side=Side.LEFT)
        (right_out,) = right_smoother.update((right,), k * FRAME_NS)
        (left_out,) = left_smoother.update((left,), k * FRAME_NS)
    np.testing.assert_allclose(mirror_points(right_out.vertices_m), left_out.vertices_m, atol=1e-9)
    np.testing.assert_allclose(
        mirror_points(right_out.keypoints_m), left_out.keypoints_m, atol=1e-9
    )


def test_tracks_do_not_mix_and_order_does_not_matter():
    rng = np.random.default_rng(12)
    hands = [
        [
            make_hand(rng.normal([0, 0, 0.5], 0.02), some_pose(rng), np.zeros(10), track_id=i)
            for i in (1, 2)
        ]
        for _ in range(4)
    ]
    both, alone = HandSmoother(load_open_hand()), HandSmoother(load_open_hand())
    for k, (one, two) in enumerate(hands):
        out = both.update((one, two) if k % 2 else (two, one), k * FRAME_NS)
        (expected,) = alone.update((one,), k * FRAME_NS)
        assert_same_hand(next(h for h in out if h.track_id == 1), expected)


def moved(hand, metres):
    T = hand.T_camera_wrist.copy()
    T[0, 3] += metres
    shift = np.array([metres, 0.0, 0.0])
    return replace(
        hand,
        T_camera_wrist=T,
        keypoints_m=hand.keypoints_m + shift,
        vertices_m=hand.vertices_m + shift,
    )


@pytest.fixture
def settled():
    """A smoother that has seen a still hand for ten frames, that hand, and the last stamp."""
    hand = make_hand(np.array([0.0, 0.0, 0.5]), some_pose(np.random.default_rng(13)), np.zeros(10))
    smoother = HandSmoother(load_open_hand(), max_gap_s=0.3)
    for k in range(10):
        smoother.update((hand,), k * FRAME_NS)
    return smoother, hand, 9 * FRAME_NS


def test_a_jump_of_a_known_track_is_smoothed(settled):
    smoother, hand, last_ns = settled
    (out,) = smoother.update((moved(hand, 0.02),), last_ns + FRAME_NS)
    assert 0.0 < out.T_camera_wrist[0, 3] < 0.015


def test_a_track_survives_one_lost_frame(settled):
    smoother, hand, last_ns = settled
    smoother.update((), last_ns + FRAME_NS)
    (out,) = smoother.update((moved(hand, 0.02),), last_ns + 2 * FRAME_NS)
    assert out.T_camera_wrist[0, 3] < 0.018


def test_tracks_that_vanished_are_forgotten(settled):
    smoother, _, last_ns = settled
    smoother.update((), last_ns + FRAME_NS)
    assert len(smoother._tracks) == 1
    smoother.update((), last_ns + 300_000_001)
    assert len(smoother._tracks) == 0


@pytest.mark.parametrize("event", ["gap", "back", "other track", "other side", "vanished", "reset"])
def test_a_hand_starts_anew_after(event, settled):
    smoother, hand, last_ns = settled
    stamp_ns, new = last_ns + FRAME_NS, moved(hand, 0.02)
    if event == "gap":
        stamp_ns = last_ns + 300_000_001
    elif event == "back":
        stamp_ns = last_ns - 10 * FRAME_NS
    elif event == "other track":
        new = replace(new, track_id=2)
    elif event == "other side":
        left = make_hand(np.array([0.02, 0.0, 0.5]), hand.pose, hand.shape, side=Side.LEFT)
        new = replace(left, track_id=hand.track_id)
    elif event == "vanished":
        smoother.update((), last_ns + 400_000_000)
        stamp_ns = last_ns + 401_000_000
    elif event == "reset":
        smoother.reset()
    (out,) = smoother.update((new,), stamp_ns)
    assert_same_hand(out, new)


def test_hands_of_another_model_are_smoothed_by_their_points():
    hand = make_hand(np.array([0.0, 0.0, 0.5]), some_pose(np.random.default_rng(14)), np.zeros(10))
    other = replace(hand, hand_model="mano", vertices_m=hand.vertices_m[:100])
    smoother = HandSmoother(load_open_hand())
    smoother.update((other,), 0)
    (out,) = smoother.update((moved(other, 0.02),), FRAME_NS)
    assert out.vertices_m.shape == (100, 3)
    assert 0.0 < out.T_camera_wrist[0, 3] < 0.015
    np.testing.assert_array_equal(out.pose, other.pose)


def test_a_wrist_behind_the_camera_is_refused():
    hand = make_hand(np.array([0.0, 0.0, -0.1]), np.zeros(48), np.zeros(10))
    with pytest.raises(ValueError, match="in front of the camera"):
        HandSmoother(load_open_hand()).update((hand,), 0)
