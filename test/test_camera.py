import numpy as np
import pytest
from oracles import project_opencv, rays_opencv

from hand_mesh_ros.camera import Camera

K = np.array([[612.0, 0.0, 287.5], [0.0, 598.0, 261.0], [0.0, 0.0, 1.0]])  # off centre, not square
LENSES = {
    "pinhole": ("plumb_bob", []),
    "plumb_bob_4": ("plumb_bob", [0.12, -0.25, -0.0008, 0.0011]),
    "plumb_bob_barrel": ("plumb_bob", [-0.31, 0.12, 0.001, -0.002, -0.02]),
    "rational": ("rational_polynomial", [0.51, -2.6, 0.0003, -0.0004, 1.51, 0.39, -2.42, 1.44]),
    "equidistant": ("equidistant", [0.05, -0.021, 0.012, -0.0032]),
    "equidistant_ideal": ("equidistant", [0.0, 0.0, 0.0, 0.0]),
}


def camera_with(lens):
    model, D = LENSES[lens]
    return Camera(640, 480, K, model, np.array(D))


def image_grid():
    u, v = np.meshgrid(np.linspace(-0.5, 639.5, 17), np.linspace(-0.5, 479.5, 13))
    return np.stack([u, v], axis=-1)  # (13, 17, 2) to the very edge


@pytest.fixture
def points_m():
    rng = np.random.default_rng(1)
    z = rng.uniform(0.2, 1.5, 200)
    xy = rng.uniform(-0.55, 0.55, (200, 2)) * z[:, None]
    return np.column_stack([xy, z])


@pytest.mark.parametrize("lens", LENSES)
def test_project_agrees_with_opencv(lens, points_m):
    camera = camera_with(lens)
    np.testing.assert_allclose(
        camera.project(points_m), project_opencv(points_m, camera), rtol=0.0, atol=1e-6
    )


@pytest.mark.parametrize("lens", LENSES)
def test_rays_agree_with_opencv(lens):
    camera = camera_with(lens)
    pixels = image_grid().reshape(-1, 2)
    error_px = (camera.rays(pixels) - rays_opencv(pixels, camera)) * 612.0
    assert np.abs(error_px).max() < 1e-6


@pytest.mark.parametrize("lens", LENSES)
def test_rays_invert_project_over_the_whole_image(lens):
    camera = camera_with(lens)
    pixels = image_grid()
    rays = camera.rays(pixels)
    assert rays.shape == (13, 17, 2)
    points_m = 0.7 * np.concatenate([rays, np.ones((13, 17, 1))], axis=-1)
    np.testing.assert_allclose(camera.project(points_m), pixels, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_jacobian_is_the_slope_of_project(lens, points_m):
    camera = camera_with(lens)
    points_m = np.concatenate([points_m, [[0.0, 0.0, 0.5], [1e-7, 0.0, 0.5], [0.0, -0.2, 0.5]]])
    pixels, J = camera.project_with_jacobian(points_m)
    np.testing.assert_allclose(pixels, camera.project(points_m), rtol=0.0, atol=1e-9)
    h = 1e-5
    for axis in range(3):
        step = h * np.eye(3)[axis]
        slope = (camera.project(points_m + step) - camera.project(points_m - step)) / (2.0 * h)
        np.testing.assert_allclose(J[:, :, axis], slope, rtol=1e-5, atol=1e-3)  # px per m


def test_skew_moves_columns_by_rows():
    skewed = K + np.array([[0.0, 7.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    camera = Camera(640, 480, skewed)
    point_m = np.array([0.1, -0.2, 0.5])
    np.testing.assert_allclose(camera.project(point_m), (skewed @ point_m)[:2] / 0.5)
    np.testing.assert_allclose(camera.rays(camera.project(point_m)), [0.2, -0.4])


@pytest.mark.parametrize("lens", LENSES)
def test_what_no_lens_can_see_is_nan(lens):
    points_m = np.array([[0.0, 0.0, -0.5], [0.0, 0.0, 0.0], [np.nan, np.nan, 1.0]])
    pixels, J = camera_with(lens).project_with_jacobian(points_m)
    assert np.isnan(pixels).all()
    assert np.isnan(J[:2, 0, 0]).all()
    assert np.isnan(camera_with(lens).project(points_m)).all()


@pytest.mark.parametrize("lens", [name for name in LENSES if "equidistant" not in name])
def test_nothing_beside_or_behind_a_narrow_lens_has_a_pixel(lens):
    points_m = np.array([[0.01, 0.02, -0.5], [0.3, 0.0, 0.0], [-0.3, 0.1, -1e-9]])
    assert np.isnan(camera_with(lens).project(points_m)).all()


def test_fisheye_sees_beside_and_behind_itself():
    camera = camera_with("equidistant_ideal")
    for angle_deg in (30.0, 89.0, 90.0, 91.0, 120.0):
        angle = np.radians(angle_deg)
        pixel = camera.project(0.4 * np.array([np.sin(angle), 0.0, np.cos(angle)]))
        np.testing.assert_allclose(pixel, [287.5 + 612.0 * angle, 261.0])
    # x/z and y/z of such a pixel do not exist, and are not invented.
    assert np.isnan(camera.rays(np.array([287.5 + 612.0 * np.radians(91.0), 261.0]))).all()
    assert np.isfinite(camera.rays(np.array([287.5 + 612.0 * np.radians(89.0), 261.0]))).all()


def test_points_beyond_the_fold_of_a_barrel_do_not_come_back_as_ghosts():
    # x (1 - 0.3 x^2) has its top where 0.9 x^2 = 1.
    camera = Camera(640, 480, K, "plumb_bob", np.array([-0.3, 0.0, 0.0, 0.0]))
    fold = np.sqrt(1.0 / 0.9)
    inside, outside = camera.project(np.array([[fold - 1e-3, 0, 1.0], [fold + 1e-3, 0, 1.0]]))
    assert inside[0] == pytest.approx(287.5 + 612.0 * fold * 2.0 / 3.0, abs=1e-2)
    assert np.isnan(outside).all()
    # And no ray leads to a pixel further out than the top.
    assert np.isnan(camera.rays(inside + np.array([5.0, 0.0]))).all()


def test_fold_of_a_fisheye_is_where_its_radius_stops_growing():
    camera = Camera(640, 480, K, "equidistant", np.array([-0.1, 0.0, 0.0, 0.0]))
    fold = np.sqrt(1.0 / 0.3)  # theta - 0.1 theta^3
    directions = [[np.sin(a), 0.0, np.cos(a)] for a in (fold - 1e-3, fold + 1e-3)]
    inside, outside = camera.project(np.array(directions))
    assert inside[0] == pytest.approx(287.5 + 612.0 * fold * 2.0 / 3.0, abs=1e-2)
    assert np.isnan(outside).all()


def test_from_fov_spans_the_image_edges():
    camera = Camera.from_fov(640, 480, 60.0)
    half = np.tan(np.radians(30.0))
    corners_m = np.array([[-half, -half * 0.75, 1.0], [half, half * 0.75, 1.0]])
    np.testing.assert_allclose(camera.project(corners_m), [[-0.5, -0.5], [639.5, 479.5]])
    assert camera.assumed
    assert camera.K[0, 0] == camera.K[1, 1]


def test_arrays_are_copies_that_cannot_change():
    mine = K.copy()
    camera = Camera(640, 480, mine)
    mine[0, 0] = 1.0
    assert camera.K[0, 0] == 612.0
    with pytest.raises(ValueError, match="read-only"):
        camera.K[0, 0] = 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "size must be positive"),
        ({"K": np.eye(4)}, "3 x 3"),
        ({"K": np.where(K == 261.0, np.nan, K)}, "finite"),
        ({"K": np.zeros((3, 3))}, "uncalibrated"),
        ({"K": K * np.array([[1.0], [-1.0], [1.0]])}, r"K\[1,1\] = -598"),
        ({"K": K.T}, "upper triangular"),
        ({"distortion_model": "fov"}, "known: plumb_bob, rational_polynomial, equidistant"),
        ({"D": np.zeros(8)}, "plumb_bob takes 0 or 4 or 5 finite coefficients, got 8"),
        ({"distortion_model": "rational_polynomial"}, "takes 8 .* got 5"),
        ({"distortion_model": "equidistant"}, "takes 4 .* got 5"),
        ({"D": np.array([0.1, 1e300, 0.0, 0.0])}, "numbers that no camera has"),
        ({"K": np.diag([1e-300, 600.0, 1.0])}, "numbers that no camera has"),
        ({"D": np.array([0.1, np.inf, 0.0, 0.0])}, "finite"),
    ],
)
def test_impossible_cameras_are_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as error:
        Camera(**{"width": 640, "height": 480, "K": K, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fov_deg", [0.0, 180.0, -60.0, float("nan")])
def test_impossible_fields_of_view_are_refused(fov_deg):
    with pytest.raises(ValueError, match="field of view"):
        Camera.from_fov(640, 480, fov_deg)


@pytest.mark.parametrize("tiny", [1e-320, 1e-200, 1e-31])
@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", "equidistant"])
def test_a_distortion_of_next_to_nothing_is_none(model, tiny):
    """Found by fuzzing: the lens polynomial's roots overflowed."""
    K = np.array([[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]])
    count = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}[model]
    pixels = np.array([[0.0, 0.0], [40.0, 20.0]])
    plain = Camera(64, 48, K, model, np.zeros(count)).rays(pixels)
    np.testing.assert_allclose(Camera(64, 48, K, model, np.full(count, tiny)).rays(pixels), plain)
