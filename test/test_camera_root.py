import numpy as np
import pytest
from oracles import project_opencv, register_2d

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.camera_root import ASSUMED_FOCAL_STDDEV, solve_root
from hand_mesh_ros.conventions import RootSource
from hand_mesh_ros.hand_models.open_hand import load_open_hand

K = np.array([[612.0, 0.0, 250.0], [0.0, 598.0, 281.0], [0.0, 0.0, 1.0]])  # far off the centre
LENSES = {
    "pinhole": Camera(640, 480, K),
    "plumb_bob": Camera(640, 480, K, "plumb_bob", np.array([-0.31, 0.12, 0.001, -0.002, -0.02])),
    "rational_polynomial": Camera(
        *(640, 480, K, "rational_polynomial"),
        np.array([0.51, -2.6, 0.0003, -0.0004, 1.51, 0.39, -2.42, 1.44]),
    ),
    "equidistant": Camera(640, 480, K, "equidistant", np.array([0.05, -0.021, 0.012, -0.0032])),
}
IMAGE_CORNERS_PX = np.array([[60.0, 50.0], [580.0, 50.0], [60.0, 430.0], [580.0, 430.0]])


def hand_m(rng):
    """A randomly turned and curled hand, (21, 3) m, wrist at the origin."""
    model = load_open_hand()
    pose = np.concatenate([rng.normal(0.0, 1.5, 3), rng.normal(0.0, 0.3, 45)])
    shape = rng.normal(0.0, 0.5, 10)
    return model.keypoints(model.pose_hand(pose, shape), shape, "detector")


def place_m(rng):
    z = rng.uniform(0.3, 0.9)
    return np.array([rng.uniform(-0.2, 0.3) * z, rng.uniform(-0.25, 0.15) * z, z])


def move_to_wrong_finger(rng, pixels, count, stddev_px=60.0):
    pixels = pixels.copy()
    wrong = rng.choice(21, count, replace=False)
    pixels[wrong] += rng.normal(0.0, stddev_px, (count, 2))
    return pixels


@pytest.mark.parametrize("lens", LENSES)
def test_clean_landmarks_give_the_true_root_and_the_oracle_agrees(lens):
    rng = np.random.default_rng(2)
    camera = LENSES[lens]
    for _ in range(6):
        X, t = hand_m(rng), place_m(rng)
        pixels = project_opencv(X + t, camera)
        root = solve_root(X, pixels, camera, stddev_px=1.0)
        assert np.linalg.norm(root.t_camera_wrist - t) < 1e-6
        assert np.linalg.norm(root.t_camera_wrist - register_2d(X, pixels, camera)) < 1e-4


@pytest.mark.parametrize("lens", LENSES)
def test_hand_at_each_image_corner(lens):
    rng = np.random.default_rng(3)
    camera = LENSES[lens]
    for corner_px in IMAGE_CORNERS_PX:
        X = hand_m(rng)
        middle = 0.5 * np.append(camera.rays(corner_px), 1.0)
        t = middle - X.mean(axis=0)
        pixels = camera.project(X + t) + rng.normal(0.0, 1.0, (21, 2))
        root = solve_root(X, pixels, camera, stddev_px=1.0)
        error = root.t_camera_wrist - t
        assert error @ np.linalg.solve(root.covariance, error) < 16.3  # 99.9% of chi squared, 3
        assert np.linalg.norm(error) < 0.02


def test_ignoring_the_lens_at_a_corner_would_show():
    """The corner test can fail: the same pixels under a pinhole are centimetres off."""
    rng = np.random.default_rng(3)
    camera = LENSES["plumb_bob"]
    X = hand_m(rng)
    t = 0.5 * np.append(camera.rays(IMAGE_CORNERS_PX[3]), 1.0) - X.mean(axis=0)
    root = solve_root(X, camera.project(X + t), LENSES["pinhole"], stddev_px=1.0)
    assert np.linalg.norm(root.t_camera_wrist - t) > 0.03


def test_with_outliers_it_is_at_least_as_good_as_the_oracle():
    rng = np.random.default_rng(4)
    camera = LENSES["pinhole"]
    ours, theirs = [], []
    for _ in range(40):
        X, t = hand_m(rng), place_m(rng)
        pixels = camera.project(X + t) + rng.normal(0.0, 1.0, (21, 2))
        pixels = move_to_wrong_finger(rng, pixels, 5)
        root = solve_root(X, pixels, camera, stddev_px=1.0)
        ours.append(np.linalg.norm(root.t_camera_wrist - t))
        theirs.append(np.linalg.norm(register_2d(X, pixels, camera) - t))
    print(f"median error {np.median(ours):.4f} m, oracle {np.median(theirs):.4f} m")
    assert np.median(ours) <= np.median(theirs)
    assert np.quantile(ours, 0.9) <= np.quantile(theirs, 0.9)
    assert np.median(ours) < 0.004
    assert np.quantile(ours, 0.9) < 0.012


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("keypoint_stddev_m", [0.0, 0.006])
def test_covariance_is_honest(lens, keypoint_stddev_m):
    """Mean normalised squared error of 200 draws: 3 +- 0.17 if perfect, one standard error."""
    rng = np.random.default_rng(5)
    camera = LENSES[lens]
    nees = []
    for _ in range(200):
        X, t = hand_m(rng), place_m(rng)
        true_m = X + rng.normal(0.0, 1.0, (21, 3)) * keypoint_stddev_m
        pixels = camera.project(true_m + t) + rng.normal(0.0, 1.5, (21, 2))
        given = np.full(21, keypoint_stddev_m) if keypoint_stddev_m else None
        root = solve_root(X, pixels, camera, stddev_px=1.5, keypoint_stddev_m=given)
        error = root.t_camera_wrist - t
        nees.append(error @ np.linalg.solve(root.covariance, error))
    assert 2.3 < np.mean(nees) < 3.8


def test_covariance_grows_with_residuals_larger_than_promised():
    rng = np.random.default_rng(6)
    camera = LENSES["pinhole"]
    nees = []
    for _ in range(150):
        X, t = hand_m(rng), place_m(rng)
        pixels = camera.project(X + t) + rng.normal(0.0, 4.0, (21, 2))
        root = solve_root(X, pixels, camera, stddev_px=1.0)  # promised four times too good
        error = root.t_camera_wrist - t
        nees.append(error @ np.linalg.solve(root.covariance, error))
    assert 2.0 < np.mean(nees) < 4.5  # 48 without the scaling


def test_covariance_is_honest_where_landmarks_err_together():
    """All are shifted by the same 1.2 px: 21 of them say as much as 2.4 that err on their own."""
    rng, camera = np.random.default_rng(7), LENSES["pinhole"]
    nees = {None: [], 2.4: []}
    for _ in range(200):
        X, t = hand_m(rng), place_m(rng)
        errors_px = rng.normal(0.0, 1.2, 2) + rng.normal(0.0, 1.5, (21, 2))
        for independent in nees:
            root = solve_root(
                *(X, camera.project(X + t) + errors_px, camera),
                stddev_px=np.hypot(1.2, 1.5),
                independent_landmarks=independent,
            )
            error = root.t_camera_wrist - t
            nees[independent].append(error @ np.linalg.solve(root.covariance, error))
    assert np.mean(nees[None]) > 8.0
    assert 1.8 < np.mean(nees[2.4]) < 3.8


def test_landmarks_that_err_together_leave_more_to_the_guess():
    rng, camera = np.random.default_rng(8), LENSES["pinhole"]
    X, t = hand_m(rng), np.array([0.0, 0.05, 0.5])
    pixels = camera.project(X + t) + rng.normal(0.0, 1.5, (21, 2))
    guess = t * 1.05

    def solved(depth_stddev_m, independent):
        return solve_root(
            *(X, pixels, camera),
            stddev_px=1.5,
            initial_t=guess,
            depth_stddev_m=depth_stddev_m,
            independent_landmarks=independent,
        )

    alone, together = solved(0.01, None), solved(0.01, 2.1)
    assert abs(together.t_camera_wrist[2] - guess[2]) < abs(alone.t_camera_wrist[2] - guess[2])
    # A tenth of the landmarks' word: as with a guess that is surer, and all in all less sure.
    surer = solved(0.01 * np.sqrt(0.1), None)
    assert together.t_camera_wrist == pytest.approx(surer.t_camera_wrist, abs=1e-9)
    assert together.covariance == pytest.approx(10.0 * surer.covariance, rel=1e-6)
    assert np.sqrt(together.covariance[2, 2]) < 0.01


@pytest.mark.parametrize("keypoint_stddev_m", [0.0, 0.005])
def test_covariance_of_a_ring_has_its_closed_form(keypoint_stddev_m):
    """Landmarks on a ring of radius s facing the camera: var z = sigma^2 z^4 / (f^2 n s^2)."""
    f, z, s, n = 500.0, 0.6, 0.08, 21
    angle = np.arange(n) * 2.0 * np.pi / n
    X = s * np.column_stack([np.cos(angle), np.sin(angle), np.zeros(n)])
    camera = Camera(640, 480, np.array([[f, 0.0, 320.0], [0.0, f, 240.0], [0.0, 0.0, 1.0]]))
    pixels = camera.project(X + np.array([0.0, 0.0, z]))
    given = np.full(n, keypoint_stddev_m)
    root = solve_root(X, pixels, camera, stddev_px=2.0, keypoint_stddev_m=given)
    # In space as in the image: focal * stddev / depth, a little more as the ring is off the axis.
    sigma_px = np.hypot(2.0, keypoint_stddev_m * f / z * np.sqrt(1.0 + 0.5 * (s / z) ** 2))
    lateral_m = sigma_px * z / f / np.sqrt(n)
    # Perfect pixels have weight one each; noisy ones would have the 0.85 that the result corrects.
    stddev_m = np.sqrt(np.diag(root.covariance) / 0.85)
    np.testing.assert_allclose(stddev_m, [lateral_m, lateral_m, lateral_m * z / s], rtol=1e-6)


def test_weights_decide_between_landmarks_that_disagree():
    rng = np.random.default_rng(7)
    camera = LENSES["pinhole"]
    X, t = hand_m(rng), np.array([0.02, -0.03, 0.5])
    pixels = camera.project(X + t)
    pixels[[4, 8, 12]] += 30.0
    stddev_px = np.ones(21)
    stddev_px[[4, 8, 12]] = np.inf
    root = solve_root(X, pixels, camera, stddev_px=stddev_px)
    np.testing.assert_allclose(root.t_camera_wrist, t, atol=1e-6)
    stddev_m = np.where(np.isinf(stddev_px), np.inf, 0.002)
    root = solve_root(X, pixels, camera, stddev_px=1.0, keypoint_stddev_m=stddev_m)
    np.testing.assert_allclose(root.t_camera_wrist, t, atol=1e-6)


def test_landmarks_that_are_not_finite_are_left_out():
    rng = np.random.default_rng(8)
    camera = LENSES["plumb_bob"]
    X, t = hand_m(rng), np.array([0.02, -0.03, 0.5])
    pixels = camera.project(X + t)
    X[3], pixels[10], pixels[20] = np.nan, np.nan, np.inf
    root = solve_root(X, pixels, camera, stddev_px=1.0)
    np.testing.assert_allclose(root.t_camera_wrist, t, atol=1e-6)
    pixels[:16] = np.nan
    assert solve_root(X, pixels, camera, stddev_px=1.0) is None  # four left


@pytest.mark.parametrize("lens", LENSES)
def test_no_root_from_landmarks_that_do_not_fix_one(lens):
    camera = LENSES[lens]
    t = np.array([0.03, 0.02, 0.5])
    on_a_line = np.linspace(-0.08, 0.08, 21)[:, None] * np.array([0.6, 0.3, 0.2])
    assert solve_root(on_a_line, camera.project(on_a_line + t), camera, stddev_px=1.0) is None
    at_a_point = np.zeros((21, 3))
    assert solve_root(at_a_point, camera.project(at_a_point + t), camera, stddev_px=1.0) is None
    X = hand_m(np.random.default_rng(9))
    one_pixel = np.tile([300.0, 200.0], (21, 1))
    assert solve_root(X, one_pixel, camera, stddev_px=1.0) is None
    nothing = np.full((21, 2), np.nan)
    assert solve_root(X, nothing, camera, stddev_px=1.0) is None


def test_no_root_from_pixels_that_have_nothing_to_do_with_the_hand():
    rng = np.random.default_rng(10)
    camera = LENSES["pinhole"]
    for _ in range(30):
        pixels = rng.uniform([0.0, 0.0], [640.0, 480.0], (21, 2))
        root = solve_root(hand_m(rng), pixels, camera, stddev_px=1.0)
        if root is not None:  # never behind the camera, never sure of itself
            assert root.t_camera_wrist[2] > 0.0
            assert np.sqrt(root.covariance[2, 2]) > 0.03 * root.t_camera_wrist[2]


def test_a_hand_turned_by_half_a_turn_still_stays_in_front():
    """Its linear solution lies behind the camera; size and image still tell the depth roughly."""
    rng = np.random.default_rng(11)
    camera = LENSES["pinhole"]
    X, t = hand_m(rng), np.array([0.0, 0.0, 0.5])
    pixels = camera.project(X * [-1.0, -1.0, 1.0] + t)
    root = solve_root(X, pixels, camera, stddev_px=1.0)
    assert root is None or root.t_camera_wrist[2] > 0.0


@pytest.mark.parametrize(
    "guess", [[0.05, 0.02, 0.55], [1.5, 1.0, 0.1], [0.0, 0.0, -0.4], [np.nan] * 3]
)
def test_a_guess_does_no_harm(guess):
    rng = np.random.default_rng(12)
    camera = LENSES["rational_polynomial"]
    X, t = hand_m(rng), np.array([0.05, 0.02, 0.5])
    pixels = move_to_wrong_finger(rng, camera.project(X + t), 4)
    plain = solve_root(X, pixels, camera, stddev_px=1.0)
    guided = solve_root(X, pixels, camera, stddev_px=1.0, initial_t=np.array(guess))
    np.testing.assert_allclose(guided.t_camera_wrist, t, atol=1e-3)
    np.testing.assert_allclose(guided.t_camera_wrist, plain.t_camera_wrist, atol=2e-4)


def test_a_guess_helps_where_a_third_of_the_landmarks_agree_on_something_else():
    rng = np.random.default_rng(13)
    camera = LENSES["pinhole"]
    plain, guided = [], []
    for _ in range(40):
        X, t = hand_m(rng), place_m(rng)
        pixels = camera.project(X + t)
        pixels[rng.choice(21, 8, replace=False)] += [120.0, 60.0]
        near = t + rng.normal(0.0, 0.01, 3)
        for close, guess in ((plain, None), (guided, near)):
            root = solve_root(X, pixels, camera, stddev_px=1.0, initial_t=guess)
            close.append(root is not None and np.linalg.norm(root.t_camera_wrist - t) < 0.01)
    print(f"within 1 cm: {np.mean(plain):.2f} without, {np.mean(guided):.2f} with a guess")
    assert np.mean(guided) > 0.8
    assert np.mean(guided) > np.mean(plain) + 0.3


def test_an_assumed_camera_says_so_and_doubts_its_depth():
    rng = np.random.default_rng(14)
    X, t = hand_m(rng), np.array([0.05, 0.02, 0.5])
    known = LENSES["pinhole"]
    guessed = Camera.from_fov(640, 480, 60.0)
    root = solve_root(X, known.project(X + t), known, stddev_px=1.0)
    assert root.source is RootSource.REPROJECTION
    root = solve_root(X, guessed.project(X + t), guessed, stddev_px=1.0)
    assert root.source is RootSource.ASSUMED_CAMERA
    assert np.sqrt(root.covariance[2, 2]) > ASSUMED_FOCAL_STDDEV * 0.5


def test_negative_noise_is_refused_and_none_at_all_is_fine():
    X, t = hand_m(np.random.default_rng(15)), np.array([0.05, 0.02, 0.5])
    camera = LENSES["pinhole"]
    pixels = camera.project(X + t)
    with pytest.raises(ValueError, match="stddev_px must not be negative, got -1 px"):
        solve_root(X, pixels, camera, stddev_px=-1.0)
    root = solve_root(X, pixels, camera, stddev_px=0.0)
    np.testing.assert_allclose(root.t_camera_wrist, t, atol=1e-6)
    assert solve_root(X, np.tile(pixels[0], (21, 1)), camera, stddev_px=0.0) is None


def test_a_known_depth_counts_by_its_certainty():
    rng = np.random.default_rng(8)
    camera = LENSES["pinhole"]
    X, t = hand_m(rng), place_m(rng)
    pixels = project_opencv(X + t, camera) + rng.normal(0.0, 3.0, (21, 2))
    guess = t * 1.05
    free = solve_root(X, pixels, camera, stddev_px=3.0, initial_t=guess)
    depths, stddevs = [], []
    for share in (1.0, 0.02, 0.0005):
        root = solve_root(
            X, pixels, camera, stddev_px=3.0, initial_t=guess, depth_stddev_m=share * guess[2]
        )
        depths.append(root.t_camera_wrist[2])
        stddevs.append(np.sqrt(root.covariance[2, 2]))
    assert depths[0] == pytest.approx(free.t_camera_wrist[2], rel=1e-3)
    assert depths[0] < depths[1] < depths[2]
    assert depths[2] == pytest.approx(guess[2], rel=1e-3)
    assert stddevs[0] == pytest.approx(np.sqrt(free.covariance[2, 2]), rel=1e-2)
    assert stddevs[0] > stddevs[1] > stddevs[2]
    assert stddevs[2] < 0.0006 * guess[2]
    # Two independent measurements, each counted by its variance.
    own, prior = free.covariance[2, 2], (0.02 * guess[2]) ** 2
    expected = (free.t_camera_wrist[2] / own + guess[2] / prior) / (1.0 / own + 1.0 / prior)
    assert depths[1] == pytest.approx(expected, abs=0.2 * abs(guess[2] - free.t_camera_wrist[2]))


def test_a_known_depth_needs_a_guess():
    X = hand_m(np.random.default_rng(0))
    camera = LENSES["pinhole"]
    pixels = camera.project(X + np.array([0.0, 0.0, 0.5]))
    with pytest.raises(ValueError, match="expected a positive one and initial_t"):
        solve_root(X, pixels, camera, stddev_px=1.0, depth_stddev_m=0.01)
