import numpy as np
import pytest

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.reconstruction.landmark_view import view_landmarks
from hand_mesh_ros.rotations import rotation_from_axis_angle


def points(seed=0, n=5):
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 0.06, (n, 21, 3)) + np.array([0.1, -0.05, 0.5])


def rays_of(points_m):
    return points_m[..., :2] / points_m[..., 2:]


@pytest.mark.parametrize(
    "turn", [[0.0, 0.0, 1.2], [0.4, 0.0, 0.0], [-0.2, 0.5, -2.0]], ids=["roll", "pitch", "all"]
)
def test_turning_the_camera_changes_nothing(turn):
    X = points()
    R = rotation_from_axis_angle(np.array(turn))
    before, after = view_landmarks(rays_of(X)), view_landmarks(rays_of(X @ R.T))
    np.testing.assert_allclose(after.xy, before.xy, atol=1e-9)
    np.testing.assert_allclose(after.scale, before.scale, rtol=1e-9)
    np.testing.assert_allclose(after.R_camera_view, R @ before.R_camera_view, atol=1e-9)


def test_neither_lens_nor_crop_matters():
    X = points()
    views = []
    for K, distortion in (
        ([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], ()),
        ([[900.0, 0, 100], [0, 880, 300], [0, 0, 1]], (-0.1, 0.02, 0.001, 0.002, 0.0)),
    ):
        camera = Camera(
            640,
            480,
            np.array(K),
            distortion_model="plumb_bob",
            D=np.array(distortion or (0.0,) * 5),
        )
        views.append(view_landmarks(np.stack([camera.rays(camera.project(x)) for x in X])))
    np.testing.assert_allclose(views[0].xy, views[1].xy, atol=1e-5)


def test_palm_points_up_and_size_is_one():
    views = view_landmarks(rays_of(points()))
    palm = views.xy[:, [5, 9, 13, 17]].mean(1) - views.xy[:, 0]
    assert np.abs(palm[:, 0]).max() < 1e-9
    assert (palm[:, 1] < 0.0).all()
    np.testing.assert_allclose((views.xy**2).sum(2).mean(1), 1.0)


def test_the_view_says_where_the_landmarks_are():
    X = points()
    views = view_landmarks(rays_of(X))
    np.testing.assert_allclose(np.linalg.det(views.R_camera_view), 1.0)
    seen = np.einsum("nkc,ncd->nkd", X, views.R_camera_view)
    again = views.xy * views.scale[:, None, None] + views.mean[:, None]
    np.testing.assert_allclose(again, rays_of(seen), atol=1e-12)


def test_missing_landmarks_are_left_out_and_change_no_others_frame():
    rays = rays_of(points())
    gaps = rays.copy()
    gaps[:, [3, 17]] = np.nan
    views = view_landmarks(gaps)
    assert not views.present[:, [3, 17]].any()
    assert (views.xy[:, [3, 17]] == 0.0).all()
    np.testing.assert_allclose((views.xy**2).sum((1, 2)) / 19, 1.0)
    other = rays.copy()
    other[:, [3, 17]] = 7.0
    usable = np.ones((len(rays), 21), bool)
    usable[:, [3, 17]] = False
    np.testing.assert_array_equal(view_landmarks(other, usable).xy, views.xy)


@pytest.mark.parametrize("kept", [[], [0], [4, 8], [5, 9, 13, 17]])
def test_few_landmarks_give_finite_numbers(kept):
    rays = rays_of(points())
    usable = np.isin(np.arange(21), kept)[None].repeat(len(rays), 0)
    views = view_landmarks(rays, usable)
    assert all(np.isfinite(v).all() for v in (views.xy, views.scale, views.R_camera_view))
