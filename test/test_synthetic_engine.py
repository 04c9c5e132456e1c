"""The synthetic images: labels that fit the pixels, and switches that do what they say."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402  # torch may be absent
from hand_mesh_ros.hand_models.torch_hand import TorchHand  # noqa: E402
from hand_mesh_ros.training.rasterizer import rasterize  # noqa: E402
from hand_mesh_ros.training.synthetic import SyntheticImages  # noqa: E402
from hand_mesh_ros.training.synthetic_camera import compress  # noqa: E402
from hand_mesh_ros.training.synthetic_config import SyntheticConfig  # noqa: E402
from hand_mesh_ros.training.synthetic_dice import Dice  # noqa: E402
from hand_mesh_ros.training.synthetic_forearm import Forearm  # noqa: E402
from hand_mesh_ros.training.synthetic_mesh import Texels, texel_lookup  # noqa: E402
from hand_mesh_ros.training.synthetic_visibility import (  # noqa: E402
    keypoint_visibility,
    project,
    skin_over_keypoints,
    vertex_visibility,
)

SMALL = SyntheticConfig(size_px=64, bank_size=40, skin_detail=1, chunk=8)
PLAIN = replace(SMALL.plain(), box_rotation_deg=0.0, box_shift=0.0, box_scale=(1.5, 1.5))


@cache
def engine(config):
    return SyntheticImages(load_open_hand(), config)


def same(a, b):
    for x, y in zip(a, b, strict=True):
        pairs = [(x[k], y[k]) for k in x] if isinstance(x, dict) else [(x, y)]
        if not all(torch.equal(p, q) for p, q in pairs):
            return False
    return True


def silhouette(batch, index):
    """Hand pixels by OpenCV, all faces filled one by one."""
    size = batch.image.shape[-1]
    points = batch.vertices_m[index].double().numpy() @ batch.K_crop[index].double().numpy().T
    px = points[:, :2] / points[:, 2:]
    image = np.zeros((size, size), np.uint8)
    for face in load_open_hand().faces:
        cv2.fillConvexPoly(image, np.rint(px[face] * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return image > 0


@pytest.mark.parametrize("supersampling", [1, 2])
def test_the_camera_of_the_crop_projects_the_mesh_onto_the_mask(supersampling):
    batch = engine(
        replace(PLAIN, box_rotation_deg=40.0, box_shift=0.1, supersampling=supersampling)
    ).batch(12, 0)
    overlaps = []
    for i in range(12):
        filled, mask = silhouette(batch, i), batch.mask[i].numpy()
        grown = cv2.dilate(filled.astype(np.uint8), np.ones((3, 3))) > 0
        assert mask.sum() > 100
        assert not (mask & ~grown).any()
        overlaps.append((mask & filled).sum() / (mask | filled).sum())
        seen = batch.visibility[i]
        px = project(batch.vertices_m[i : i + 1], batch.K_crop[i : i + 1])[0][seen].round().long()
        near = torch.tensor(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))))
        assert near[px[:, 1], px[:, 0]].float().mean() > 0.97
    # OpenCV draws the outline half a pixel outwards; some hands lie behind their forearm.
    assert np.median(overlaps) > 0.85


def test_finer_points_show_the_same_view():
    at = torch.arange(64.0)
    middles = []
    for supersampling in (1, 4):
        mask = engine(replace(PLAIN, supersampling=supersampling)).batch(8, 0).mask.float()
        weight = mask / mask.sum((1, 2), keepdim=True)
        middles.append(torch.stack([(weight.sum(1) * at).sum(1), (weight.sum(2) * at).sum(1)], 1))
    assert (middles[0] - middles[1]).abs().max() < 0.2  # half a point off would be 0.375 px


def test_labels_agree_with_the_hand_model_and_each_other():
    batch, model = engine(SMALL).batch(6, 1), load_open_hand()
    hand = TorchHand(model)
    posed = hand(batch.rotations, batch.shape)
    placed = posed.vertices_m + batch.root_m[:, None]
    assert torch.allclose(placed, batch.vertices_m, atol=1e-5)
    eye = torch.eye(3).expand(6, 16, 3, 3)
    assert torch.allclose(batch.rotations @ batch.rotations.transpose(2, 3), eye, atol=1e-5)
    assert set(batch.keypoints_m) == {"anatomical", "detector"}
    for name, points in batch.keypoints_m.items():
        expected = hand.keypoints(posed, batch.shape, name) + batch.root_m[:, None]
        assert torch.allclose(points, expected, atol=1e-5)
        px = torch.einsum("nab,nkb->nka", batch.K_crop, points)
        assert torch.allclose(px[..., :2] / px[..., 2:], batch.keypoints_px[name], atol=1e-3)


def test_the_box_is_square_around_the_keypoints():
    px = engine(PLAIN).batch(8, 2).keypoints_px["detector"]
    low, high = px.amin(1), px.amax(1)
    assert torch.allclose(0.5 * (low + high), torch.full((8, 2), 31.5), atol=1e-2)
    assert torch.allclose((high - low).amax(1), torch.full((8,), 64 / 1.5), atol=1e-2)
    moved = engine(replace(PLAIN, box_shift=0.2)).batch(8, 2).keypoints_px["detector"]
    assert ((moved - px).abs().amax((1, 2)) > 0.5).any()
    assert ((moved - px).abs() <= 0.2 * 64 + 1e-2).all()


def test_a_crop_looks_straight_at_its_middle_and_holds_the_hand_up():
    batch = engine(replace(SMALL, truncation=0.3)).batch(16, 3)
    assert torch.equal(batch.K_crop[:, :2, 2], torch.full((16, 2), 31.5))
    assert torch.equal(batch.K_crop[:, 0, 0], batch.K_crop[:, 1, 1])
    px = engine(PLAIN).batch(16, 3).keypoints_px["detector"]
    palm = px[:, [5, 9, 13, 17]].mean(1) - px[:, 0]
    assert (palm[:, 0].abs() < 1e-2 * palm.norm(dim=1)).all()
    assert (palm[:, 1] < 0).all()


def test_a_turned_crop_is_the_same_view_turned():
    plain = engine(PLAIN).batch(8, 3)
    turned = engine(replace(PLAIN, box_rotation_deg=90.0)).batch(8, 3)
    # The camera turned where it stands: nothing is nearer or farther, and the box fits again.
    away = [b.vertices_m.norm(dim=-1) for b in (plain, turned)]
    assert torch.allclose(away[0], away[1], atol=1e-5)
    R = turned.rotations[:, 0] @ plain.rotations[:, 0].transpose(1, 2)
    assert torch.allclose(turned.root_m, torch.einsum("nab,nb->na", R, plain.root_m), atol=1e-5)
    assert (R[:, 2, 2] > 0.98).all()
    angle = torch.atan2(R[:, 1, 0], R[:, 0, 0]).abs().rad2deg()
    assert angle.max() > 30
    px = turned.keypoints_px["detector"]
    extent = (px.amax(1) - px.amin(1)).amax(1)
    assert torch.allclose(extent, torch.full((8,), 64 / 1.5), atol=1e-2)


def test_the_seed_decides():
    first = engine(SMALL).batch(16, 5)
    assert same(first, engine(SMALL).batch(16, 5))
    other = engine(SMALL).batch(16, 6)
    assert not torch.allclose(first.vertices_m, other.vertices_m, atol=1e-2)
    assert (first.image[0] - other.image[0]).abs().mean() > 0.02
    # The second chunk is not the first once more.
    assert not torch.allclose(first.vertices_m[8], first.vertices_m[0], atol=1e-2)
    assert (first.image[8] - first.image[0]).abs().mean() > 0.02


def test_images_are_finite_and_in_range():
    images = torch.cat([engine(SMALL).batch(16, seed).image for seed in (7, 8)])
    assert images.shape == (32, 3, 64, 64)
    assert torch.isfinite(images).all()
    assert images.min() >= 0
    assert images.max() <= 1
    # And no sample is blank.
    assert images.flatten(1).std(1).min() > 0.02


def test_plain_images_have_grey_around_a_hand():
    batch = engine(replace(PLAIN, truncation=0.0)).batch(8, 9)
    outside = ~(batch.image - 0.5).abs().sum(1).gt(1e-6)
    corner_share = outside.float().mean((1, 2))
    assert corner_share.median() > 0.3
    assert not (outside & batch.mask).any()


SWITCHES = {
    **dict.fromkeys(("skin_texture", "shadow", "ambient_occlusion", "specular", "subsurface"), 1.0),
    **dict.fromkeys(("lamp_variety", "ground_shadow", "low_resolution", "color_jitter"), 1.0),
    **dict.fromkeys(("sleeve", "wristband", "held_object", "passing_object"), 1.0),
    **dict.fromkeys(("second_hand", "textured_background", "motion_blur", "jpeg"), 1.0),
    **{"truncation": 1.0, "defocus_px": 1.0, "noise": 0.03, "box_rotation_deg": 30.0},
    **{"box_shift": 0.1, "box_scale": (1.9, 1.9), "skin_detail": 2},
}
NEEDS_TEXTURE = {"wristband", "skin_detail"}
MOVES_THE_CROP = {"truncation", "box_rotation_deg", "box_shift", "box_scale"}


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_changes_the_picture_and_nothing_else(name):
    base = replace(PLAIN, skin_texture=1.0) if name in NEEDS_TEXTURE else PLAIN
    if name == "low_resolution":  # it is of crops that are enlarged
        base = replace(PLAIN, size_px=256)
    off = engine(base).batch(8, 10)
    on = engine(replace(base, **{name: SWITCHES[name]})).batch(8, 10)
    assert (off.image - on.image).abs().max() > 0.01
    if name not in MOVES_THE_CROP:
        assert torch.equal(off.vertices_m, on.vertices_m)
        assert torch.equal(off.K_crop, on.K_crop)


def test_every_effect_is_off_in_plain_images_and_tested_above():
    plain = SMALL.plain()
    named = [n for n in SWITCHES if n not in MOVES_THE_CROP and n != "skin_detail"]
    assert all(getattr(plain, name) == 0 for name in [*named, "truncation"])
    assert same(engine(PLAIN).batch(4, 11), engine(PLAIN).batch(4, 11))


def palm_view():
    """A flat right hand, its palm to the camera: vertices, normals, keypoints, faces and camera."""
    model = load_open_hand()
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # palm (-y) to -z
    move = np.array([0.09, 0.0, 0.5])
    rest = model.pose_rotations(np.broadcast_to(np.eye(3), (16, 3, 3)), np.zeros(10))
    faces = model.faces
    a, b, c = (rest.vertices_m[faces[:, k]] for k in range(3))
    normals = np.zeros_like(rest.vertices_m)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    keypoints = model.keypoints(rest, np.zeros(10), "anatomical")
    points, marks = (torch.tensor(p @ turn.T + move).float()[None] for p in
                     (rest.vertices_m, keypoints))  # fmt: skip
    K = torch.tensor([[300.0, 0.0, 63.5], [0.0, 300.0, 63.5], [0.0, 0.0, 1.0]])[None]
    return points, normals, turn, marks, torch.tensor(faces.astype(np.int64)), K


def test_the_palm_is_seen_and_the_back_is_not():
    points, normals, turn, _, faces, K = palm_view()
    px = project(points, K)
    raster = rasterize(torch.cat([px, points[..., 2:]], dim=-1), faces, (128, 128))
    inside = torch.ones(1, 128, 128, dtype=torch.bool)
    turned = torch.tensor(normals @ turn.T).float()[None]
    seen = vertex_visibility(points, turned, px, raster, inside)[0].numpy()
    palmar = -normals[:, 1]
    assert seen[palmar > 0.6].mean() > 0.93  # the thumb hides a few
    assert not seen[palmar < -0.2].any()
    inside[:, :, :64] = False
    half = vertex_visibility(points, turned, px, raster, inside)[0].numpy()
    assert not half[px[0, :, 0].numpy() < 63].any()
    assert half.any()


def test_a_keypoint_behind_something_is_not_seen():
    points, _, _, marks, faces, K = palm_view()
    shows = torch.tensor(skin_over_keypoints(load_open_hand(), 0, len(faces) + 2))
    inside = torch.ones(1, 128, 128, dtype=torch.bool)

    def seen_behind(left_px, right_px):
        """Which keypoints are seen with a board before those columns, 5 cm nearer."""
        x0, x1 = ((x - 63.5) / 300.0 * 0.42 for x in (left_px, right_px))
        board = torch.tensor([[[x0, -1, 0.42], [x1, -1, 0.42], [x1, 1, 0.42], [x0, 1, 0.42]]])
        scene = torch.cat([points, board], dim=1)
        n = points.shape[1]
        both = torch.cat([faces, torch.tensor([[n, n + 2, n + 1], [n, n + 3, n + 2]])])
        px_depth = torch.cat([project(scene, K), scene[..., 2:]], dim=-1)
        raster = rasterize(px_depth, both, (128, 128))
        return keypoint_visibility(marks, project(marks, K), raster, shows, inside)[0]

    assert seen_behind(-10.0, -5.0).all()
    assert not seen_behind(-10.0, 140.0).any()
    x = project(marks, K)[0, :, 0]
    half = seen_behind(-10.0, 60.0)
    assert not half[x < 58].any()
    assert half[x > 62].all()


def test_things_before_the_hand_hide_it_and_are_not_labelled_as_hand():
    free = engine(PLAIN).batch(16, 12)
    for name in ("held_object", "passing_object", "second_hand", "sleeve"):
        hidden = engine(replace(PLAIN, **{name: 1.0})).batch(16, 12)
        assert not (hidden.mask & ~free.mask).any(), name
        assert not (hidden.visibility & ~free.visibility).any(), name
        assert not (hidden.covered & hidden.visibility).any(), name
        if name == "sleeve":  # the hand's own
            assert not hidden.covered.any()
        else:  # but for those at the edges of things
            gone = free.visibility & ~hidden.visibility
            assert hidden.covered[gone].float().mean() > 0.9, name
        if name == "passing_object":
            assert hidden.mask.sum() < 0.95 * free.mask.sum()
            assert hidden.keypoint_visible.sum() < free.keypoint_visible.sum()
            # A keypoint in the middle of a hidden patch is hidden.
            gone = (free.mask & ~hidden.mask).float()[:, None]
            deep = torch.nn.functional.avg_pool2d(gone, 5, 1, 2)[:, 0] > 0.99
            x, y = free.keypoints_px["anatomical"].round().long().clamp(0, 63).unbind(-1)
            under = deep.flatten(1).gather(1, y * 64 + x)
            assert under.any()
            assert not (under & hidden.keypoint_visible).any()


def test_what_lies_beyond_the_image_is_not_seen():
    cut = engine(replace(PLAIN, truncation=1.0)).batch(12, 13)
    whole = engine(PLAIN).batch(12, 13)
    assert cut.keypoint_visible.float().mean() < 0.9 * whole.keypoint_visible.float().mean()
    # Mostly black beyond: those pixels are of no hand.
    black = cut.image.amax(1) == 0
    assert black.flatten(1).any(1).sum() >= 4
    assert not (black & cut.mask).any()


def test_the_forearm_goes_on_outwards_from_the_wrist():
    model = load_open_hand()
    forearm = Forearm(model)
    rest = forearm.at_rest(model)
    rings = rest[len(model.template_m) :].reshape(-1, len(forearm.loop), 3)
    assert np.diff(rings.mean(1) @ forearm.axis_hand).min() > 0.005
    a, b, c = (rest[forearm.skin_faces[len(model.faces) :, k]] for k in range(3))
    middle = (a + b + c) / 3
    axis_point = (
        rings[0].mean(0)
        + ((middle - rings[0].mean(0)) @ forearm.axis_hand)[:, None] * forearm.axis_hand
    )
    assert ((np.cross(b - a, c - a) * (middle - axis_point)).sum(1) > 0).mean() > 0.98


def test_texels_carry_linear_functions_exactly():
    rng = np.random.default_rng(0)
    model = load_open_hand()
    faces = model.faces.astype(np.int64)
    for halvings in (0, 1, 2):
        texels = Texels.of(faces, halvings)
        at = torch.tensor(texels.spread(model.template_m))
        face = torch.tensor(rng.integers(len(faces), size=500))
        shares = torch.tensor(rng.dirichlet(np.ones(3), 500))
        shares[:3] = torch.eye(3).double()  # corners too
        which, parts = texel_lookup(torch.tensor(texels.grid), face, shares)
        found = (at[which] * parts[..., None]).sum(1)
        expected = (torch.tensor(model.template_m[faces])[face] * shares[..., None]).sum(1)
        assert (found - expected).abs().max() < 1e-9
        assert (parts >= 0).all()


def test_compression_keeps_flat_colour_and_loses_detail():
    flat = torch.full((4, 3, 32, 32), 0.4)
    dice = Dice(0, 4, torch.device("cpu"))
    assert (compress(flat, 1.0, dice) - 0.4).abs().max() < 0.05
    noisy = flat + 0.02 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    pressed = compress(noisy, 1.0, Dice(0, 4, torch.device("cpu")))
    assert pressed.std() < 0.95 * noisy.std()
    assert torch.equal(compress(noisy, 0.0, dice), noisy)


def test_backgrounds_from_a_folder(tmp_path):
    red = np.zeros((50, 80, 3), np.uint8)
    red[..., 2] = 250  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.png"), red)
    images = engine(replace(PLAIN, background_folder=tmp_path)).batch(16, 14).image
    reddish = ((images[:, 0] > 0.9) & (images[:, 1] < 0.1)).float().mean((1, 2)) > 0.2
    assert 2 <= reddish.sum() <= 14


def test_a_folder_without_images_is_refused_in_one_line(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match="background_folder") as error:
            SyntheticImages(load_open_hand(), replace(SMALL, background_folder=folder))
        assert str(folder) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("size_px", 60), ("size_px", 8), ("bank_size", 0), ("chunk", 0), ("sleeve", 1.5)),
        *(("shadow", -0.1), ("noise", 2.0), ("box_scale", (2.0, 1.0)), ("skin_detail", 7)),
        *(("supersampling", 0), ("jpeg", float("nan")), ("box_shift", -0.1)),
    ],
)
def test_impossible_settings_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=name) as error:
        replace(SMALL, **{name: value})
    assert str(value) in str(error.value)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch of 0"):
        engine(SMALL).batch(0, 0)


def test_a_sheet_shows_all_samples():
    sheet = engine(SMALL).sheet(7)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] % 64 == 0
    assert sheet.shape[1] % 96 == 0
    assert sheet.shape[0] * sheet.shape[1] >= 7 * 64 * 96
