"""Crops by an imagined camera: what it sees, where, and that nothing of the image is left out."""

from dataclasses import replace

import numpy as np
import pytest

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.cropping import CropView, aim_crop, crop_image
from hand_mesh_ros.hand_models.open_hand import load_open_hand

K = np.array([[520.0, 0.0, 322.0], [0.0, 510.0, 236.0], [0.0, 0.0, 1.0]])
LENSES = {
    "pinhole": Camera(640, 480, K),
    "plumb_bob": Camera(640, 480, K, "plumb_bob", np.array([-0.25, 0.08, 1e-3, -2e-3, 0.0])),
    "rational": Camera(
        640, 480, K, "rational_polynomial", np.array([0.2, 0.1, 0, 0, 0.02, 0.4, 0.1, 0.01])
    ),
    "fisheye": Camera(640, 480, K, "equidistant", np.array([0.02, -0.01, 0.0, 0.0])),
}
lenses = pytest.mark.parametrize("camera", LENSES.values(), ids=LENSES)
sides = pytest.mark.parametrize("side", Side)


def hand_rays(at=(0.3, -0.2), depth_m=0.5, seed=0):
    """(21, 2) landmarks of a random right hand whose wrist is in that direction."""
    model, rng = load_open_hand(), np.random.default_rng(seed)
    pose = np.concatenate([rng.normal(0, 1.5, 3), rng.normal(0, 0.2, 45)])
    points = model.keypoints(model.pose_hand(pose, np.zeros(10)), np.zeros(10), "detector")
    points = points + depth_m * np.array([*at, 1.0])
    return points[:, :2] / points[:, 2:]


@sides
@lenses
def test_pixels_go_to_the_crop_and_back(camera, side):
    view = aim_crop(hand_rays(), side, size_px=96)
    crop_px = np.random.default_rng(0).uniform(0, 95, (50, 2))
    image_px = view.to_image_px(crop_px, camera)
    seen = np.isfinite(image_px[:, 0])
    assert seen.all()
    np.testing.assert_allclose(view.from_image_px(image_px, camera), crop_px, atol=1e-6)
    # The same by the crop's own axes and matrix: a point on the line of sight through a pixel.
    rays = camera.rays(image_px)
    points = view.from_camera(0.7 * np.column_stack([rays, np.ones(50)]))
    projected = points @ view.K_crop.T
    np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], crop_px, atol=1e-6)
    np.testing.assert_allclose(
        view.to_camera(points), 0.7 * np.column_stack([rays, np.ones(50)]), atol=1e-9
    )


@sides
def test_the_view_is_centred_upright_and_as_large_as_asked_for(side):
    for seed in range(20):
        rays = hand_rays(seed=seed)
        view = aim_crop(rays, side, size_px=128, box_factor=1.6)
        np.testing.assert_allclose(np.linalg.det(view.R_camera_view), 1.0, atol=1e-9)
        px = view.from_rays(rays)
        low, high = px.min(0), px.max(0)
        np.testing.assert_allclose(0.5 * (low + high), 63.5, atol=0.1)
        assert (high - low).max() == pytest.approx(128 / 1.6, rel=2e-3)
        along = px[[5, 9, 13, 17]].mean(0) - px[0]
        # A palm that points into the camera has no direction to speak of.
        if np.linalg.norm(along) > 10.0:
            assert abs(along[0]) < 0.05 * np.linalg.norm(along)
            assert along[1] < 0.0


def test_where_the_hand_is_does_not_matter():
    """A camera that turns where it stands sees another image, and gives the same crop."""
    rays = hand_rays(at=(0.0, 0.0), seed=3)
    points = np.column_stack([rays, np.ones(21)])
    a, b = np.radians([25.0, 40.0])
    pan = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    roll = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1.0]])
    turned = points @ (roll @ pan).T
    first = aim_crop(rays, Side.RIGHT, size_px=128)
    second = aim_crop(turned[:, :2] / turned[:, 2:], Side.RIGHT, size_px=128)
    np.testing.assert_allclose(
        second.from_rays(turned[:, :2] / turned[:, 2:]), first.from_rays(rays), atol=0.05
    )
    assert second.focal_px == pytest.approx(first.focal_px, rel=1e-3)
    np.testing.assert_allclose(second.R_camera_view, roll @ pan @ first.R_camera_view, atol=1e-3)


def pattern(rays):
    """(..., 3) smooth uint8-like colours of directions, NaN-free."""
    x, y = rays[..., 0], rays[..., 1]
    waves = [np.sin(9 * x + 4 * y), np.cos(6 * x - 11 * y), np.sin(13 * y)]
    return 128.0 + 100.0 * np.stack(waves, axis=-1)


@sides
@lenses
def test_the_crop_shows_what_lies_in_its_directions(camera, side):
    y, x = np.mgrid[:480, :640]
    image = np.rint(np.nan_to_num(pattern(camera.rays(np.stack([x, y], -1))))).astype(np.uint8)
    view = aim_crop(hand_rays(at=(0.1, 0.05), depth_m=1.0), side, size_px=80)
    crop = crop_image(image, camera, view).astype(float)
    v, u = np.mgrid[:80, :80]
    points = view.to_camera(
        np.stack([u - 39.5, v - 39.5, np.full_like(u, view.focal_px)], -1) / view.focal_px
    )
    expected = pattern(points[..., :2] / points[..., 2:])
    assert np.abs(crop - expected).max() < 4.0
    # Half a pixel beside it the same pattern is farther off, so the bound tells.
    assert np.abs(np.roll(crop, 1, 1) - expected)[:, 1:].max() > 4.0


def test_a_left_hand_is_a_right_one_in_the_mirror():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    camera = replace(LENSES["pinhole"], K=np.array([[520.0, 0, 319.5], [0, 520, 239.5], [0, 0, 1]]))
    rays = hand_rays(at=(0.1, 0.05), depth_m=1.0)
    right = aim_crop(rays, Side.RIGHT, size_px=64)
    left = aim_crop(rays * [-1.0, 1.0], Side.LEFT, size_px=64)
    np.testing.assert_allclose(left.from_rays(rays * [-1.0, 1.0]), right.from_rays(rays), atol=1e-9)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    seen = crop_image(mirrored, camera, left).astype(int)
    # OpenCV samples at 1/32 of a pixel, which rounds the other way in a mirror.
    assert np.abs(seen - crop_image(image, camera, right)).mean() < 2.0
    assert np.abs(seen - crop_image(mirrored, camera, right)).mean() > 20.0
    point = np.array([0.02, 0.03, 0.5])
    np.testing.assert_allclose(left.to_camera(point), right.to_camera(point) * [-1, 1, 1])


def looking_at(camera, extent):
    """A view straight ahead that many x/z wide."""
    return CropView(64, 64 / extent, np.eye(3), mirrored=False)


@pytest.mark.parametrize("pixels_a_step", [1.3, 2.6, 5.2])
def test_a_crop_much_larger_than_its_pixels_does_not_alias(pixels_a_step):
    camera = Camera(640, 480, np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]))
    view = looking_at(camera, 64 * pixels_a_step / 500)
    checks = np.indices((480, 640)).sum(0) % 2 * 255
    checks = np.repeat(checks[..., None], 3, 2).astype(np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    # The mean over each crop pixel's area, by 8 x 8 points.
    fine = (np.arange(512) + 0.5) / 8 - 0.5
    at = np.stack(np.meshgrid(fine, fine), -1)
    place = np.rint(view.to_image_px(at, camera)).astype(int)
    expected = noise[place[..., 1], place[..., 0]].reshape(64, 8, 64, 8, 3).mean((1, 3))
    seen = crop_image(noise, camera, view)
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.6  # without means: 0.5 and less
    assert seen.std() < 1.1 * expected.std()
    if pixels_a_step > 2.0:
        assert crop_image(checks, camera, view).std() < 20.0  # sampled without means: 127


def test_beyond_the_image_and_the_lens_it_is_black():
    camera = LENSES["fisheye"]
    image = np.full((480, 640, 3), 200, np.uint8)
    beside = np.array([0.75, 0.0])  # the image ends near x/z = 0.7
    rays = beside + 0.4 * (hand_rays(at=(0.0, 0.0)))
    crop = crop_image(image, camera, aim_crop(rays, Side.RIGHT, size_px=64))
    assert (crop == 0).any()
    assert (crop == 200).any()
    away = crop_image(image, camera, aim_crop(rays * 0.1 + [3.0, 0.0], Side.RIGHT, size_px=64))
    assert away.shape == (64, 64, 3)
    assert not away.any()


def test_too_few_landmarks_make_no_crop():
    rays = hand_rays()
    rays[5:] = np.nan
    assert aim_crop(rays, Side.RIGHT, size_px=64) is None
    assert aim_crop(np.zeros((21, 2)), Side.RIGHT, size_px=64) is None
    rays = hand_rays()
    rays[[3, 9, 13]] = np.nan
    assert np.isfinite(aim_crop(rays, Side.RIGHT, size_px=64).R_camera_view).all()
    for wrong in ({"size_px": 0}, {"size_px": 64, "box_factor": 0.5}):
        with pytest.raises(ValueError, match="expected at least 1"):
            aim_crop(hand_rays(), Side.RIGHT, **wrong)


def test_the_image_engine_makes_the_same_crops():
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    from hand_mesh_ros.training.synthetic import SyntheticImages
    from hand_mesh_ros.training.synthetic_config import SyntheticConfig

    config = SyntheticConfig(size_px=64, bank_size=20, skin_detail=0, chunk=8).plain()
    config = replace(config, box_rotation_deg=0.0, box_shift=0.0, box_scale=(1.7, 1.7))
    batch = SyntheticImages(load_open_hand(), config).batch(8, 4)
    assert torch.isfinite(batch.image).all()
    for points, K_crop in zip(batch.keypoints_m["detector"].numpy(), batch.K_crop, strict=True):
        view = aim_crop(points[:, :2] / points[:, 2:], Side.RIGHT, size_px=64)
        np.testing.assert_allclose(view.R_camera_view, np.eye(3), atol=2e-3)
        np.testing.assert_allclose(view.K_crop, K_crop, rtol=2e-3)
