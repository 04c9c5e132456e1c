import dataclasses
import itertools

import numpy as np
import pytest

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import FINGERS, Side
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.gestures import GESTURES
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.sources.base import SourceError
from hand_mesh_ros.sources.hand_look import boundary_loop, split_faces
from hand_mesh_ros.sources.hand_motion import HandMotion, SmoothPath
from hand_mesh_ros.sources.rendering import Mesh, joined, rasterize
from hand_mesh_ros.sources.synthetic import WALL_M, SyntheticCamera

PINHOLE = Camera(64, 48, np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]))


def fisheye(width=480, height=480):
    K = np.array([[210.0, 0, 239.5], [0, 210.0, 239.5], [0, 0, 1]])
    return Camera(width, height, K, "equidistant", np.array([0.02, -0.01, 0.003, -0.001]))


def barrel(width=641, height=479):
    K = np.array([[420.0, 0, 300.0], [0, 425.0, 250.0], [0, 0, 1]])
    return Camera(width, height, K, "plumb_bob", np.array([-0.28, 0.09, 1e-3, -5e-4, -0.01]))


# Rasterizer, against a slow one that asks every pixel about every face.


def slow_nearest(mesh, camera):
    """Inverse depth and colour of each pixel by ray casting; 0 where nothing is hit."""
    inverse = np.zeros((camera.height, camera.width))
    color = np.zeros((camera.height, camera.width, 3))
    for face in mesh.faces:
        corners = mesh.vertices_m[face]
        for v in range(camera.height):
            for u in range(camera.width):
                ray = np.append(camera.rays(np.array([u, v])), 1.0)
                # ray * depth = corners.T @ share with shares adding up to 1
                share = np.linalg.solve(corners.T, ray)  # times 1 / depth
                normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
                if (share >= 0).all() and normal @ ray < 0 and share.sum() > inverse[v, u]:
                    inverse[v, u] = share.sum()
                    # Colours are linear in the image, not on the surface.
                    points = camera.project(corners)
                    flat = np.linalg.solve(np.vstack([points.T, np.ones(3)]), np.array([u, v, 1.0]))
                    color[v, u] = flat @ mesh.colors[face]
    return inverse, color


def two_crossing_triangles():
    vertices = np.array(
        [
            [-0.3, -0.2, 0.8], [-0.25, 0.22, 0.7], [0.31, 0.03, 0.5],
            [0.3, -0.21, 0.8], [-0.29, 0.01, 0.52], [0.2, 0.25, 0.66],
        ]
    )  # fmt: skip
    colors = np.array(
        [[250, 0, 0], [0, 250, 0], [0, 0, 250], [9, 99, 199], [50, 60, 70], [200, 100, 5.0]]
    )
    return Mesh(vertices, np.array([[0, 1, 2], [3, 4, 5]]), colors)


def test_rasterizer_agrees_with_ray_casting_where_triangles_cut_each_other():
    mesh = two_crossing_triangles()
    seen = rasterize(mesh, PINHOLE)
    inverse, color = slow_nearest(mesh, PINHOLE)
    assert (inverse > 0).sum() > 300
    ours = np.zeros_like(inverse)
    patch = np.zeros(seen.size)
    patch.reshape(-1)[seen.index] = seen.inverse_depth
    ours[seen.rows, seen.columns] = patch
    np.testing.assert_allclose(ours, inverse, atol=1e-4)
    painted = np.zeros((*seen.size, 3))
    painted.reshape(-1, 3)[seen.index] = seen.color.T
    np.testing.assert_allclose(painted, color[seen.rows, seen.columns], atol=0.05)


def test_back_faces_are_not_drawn():
    mesh = two_crossing_triangles()
    assert rasterize(Mesh(mesh.vertices_m, mesh.faces[:, ::-1], mesh.colors), PINHOLE) is None


def test_no_gap_and_no_overlap_between_faces_that_share_an_edge():
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 14), np.linspace(-0.4, 0.4, 12))
    points = np.stack([x, y, np.full_like(x, 0.6)], -1)
    points[1:-1, 1:-1, :2] += rng.uniform(-0.02, 0.02, (10, 12, 2))
    index = np.arange(14 * 12).reshape(12, 14)
    a, b, c, d = (
        i.ravel() for i in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:])
    )
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    faces = faces[:, ::-1]
    mesh = Mesh(points.reshape(-1, 3), faces, np.full((168, 3), 100.0))
    if rasterize(mesh, PINHOLE) is None:
        mesh = dataclasses.replace(mesh, faces=faces[:, ::-1])
    seen = rasterize(mesh, PINHOLE)
    assert seen.mask().all()
    assert seen.size == (48, 64)
    np.testing.assert_allclose(seen.inverse_depth, 1 / 0.6, rtol=1e-5)
    assert len(np.unique(seen.index)) == len(seen.index)


def test_faces_behind_or_beside_the_camera_are_left_out():
    mesh = two_crossing_triangles()
    assert rasterize(dataclasses.replace(mesh, vertices_m=-mesh.vertices_m), PINHOLE) is None
    aside = dataclasses.replace(mesh, vertices_m=mesh.vertices_m + np.array([5.0, 0, 0]))
    assert rasterize(aside, PINHOLE) is None


def test_joined_meshes_hide_each_other():
    mesh = two_crossing_triangles()
    first = Mesh(mesh.vertices_m[:3], np.array([[0, 1, 2]]), mesh.colors[:3])
    second = Mesh(mesh.vertices_m[3:], np.array([[0, 1, 2]]), mesh.colors[3:])
    one, two = rasterize(joined([first, second]), PINHOLE), rasterize(mesh, PINHOLE)
    np.testing.assert_array_equal(one.index, two.index)
    np.testing.assert_array_equal(one.color, two.color)


def test_splitting_keeps_the_surface():
    model = load_open_hand()
    edges, faces = split_faces(model.faces, len(model.template_m))
    v = model.template_m
    fine = np.concatenate([v, v[edges].mean(1)])

    def area_vectors(points, f):
        return 0.5 * np.cross(points[f[:, 1]] - points[f[:, 0]], points[f[:, 2]] - points[f[:, 0]])

    coarse_area = area_vectors(v, model.faces)
    fine_area = area_vectors(fine, faces).reshape(4, -1, 3)
    np.testing.assert_allclose(fine_area, np.tile(coarse_area / 4, (4, 1, 1)), atol=1e-12)


def test_boundary_loop_is_the_wrist():
    model = load_open_hand()
    loop = boundary_loop(model.faces)
    directed = {
        (int(a), int(b)) for f in model.faces for a, b in zip(f, np.roll(f, -1), strict=True)
    }
    assert len(loop) >= 8
    for a, b in itertools.pairwise([*loop, loop[0]]):
        assert (a, b) in directed
        assert (b, a) not in directed
    # Fingers are at -x: the open edge is at the other end.
    assert model.template_m[loop, 0].min() > np.quantile(model.template_m[:, 0], 0.8)
    closed = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    assert len(boundary_loop(closed)) == 0


# Motion.


def motion(seed, side=Side.RIGHT, camera=None):
    camera = camera or Camera.from_fov(640, 480, 60)
    region = np.array([0.0, 0.0, camera.width - 1, camera.height - 1])
    return HandMotion(PosePrior(load_open_hand()), side, camera, region, seed)


def test_smooth_path_stays_within_one():
    path = SmoothPath.drawn(np.random.default_rng(1), 4, 0.1, 0.5)
    values = np.array([path.at(t) for t in np.arange(0, 200, 0.05)])
    assert np.abs(values).max() <= 1.0
    assert np.abs(values).max(0).min() > 0.6
    assert np.abs(np.diff(values, axis=0)).max() < 2 * np.pi * 0.5 * 0.05


@pytest.mark.parametrize("seed", range(4))
def test_angles_stay_within_the_limits_and_move_smoothly(seed):
    anatomy = Anatomy.of(load_open_hand())
    hand = motion(seed)
    angles = np.array([hand.angles_rad(t) for t in np.arange(-5, 40, 1 / 30)])
    assert (angles >= anatomy.lower_rad).all()
    assert (angles <= anatomy.upper_rad).all()
    assert np.abs(np.diff(angles, axis=0)).max() * 30 < np.radians(400)
    # All fingers are used, from nearly straight to far bent.
    for finger in FINGERS[1:]:
        bend = angles[:, anatomy.angle(f"{finger}_pip_flexion")]
        assert bend.min() < np.radians(20)
        assert bend.max() > np.radians(60)


def test_bends_of_one_finger_go_together():
    anatomy = Anatomy.of(load_open_hand())
    motions = [motion(seed) for seed in range(3)]
    angles = np.array([hand.angles_rad(t) for hand in motions for t in np.arange(0, 60, 0.5)])
    for finger in FINGERS[1:]:
        base, tip = (angles[:, anatomy.angle(f"{finger}_{n}_flexion")] for n in ("mcp", "pip"))
        assert np.corrcoef(base, tip)[0, 1] > 0.5


def test_gestures_give_five_fingers_and_proper_bends():
    for gesture in GESTURES.values():
        assert len(gesture.base) == len(gesture.tip) == 5
        assert 0 <= min(gesture.base + gesture.tip) <= max(gesture.base + gesture.tip) <= 1


@pytest.mark.parametrize(
    "camera", [None, barrel(), fisheye()], ids=["pinhole", "barrel", "fisheye"]
)
@pytest.mark.parametrize("seed", [0, 2])
def test_wrist_moves_as_a_hand_may_and_fingers_stay_in_view(seed, camera):
    camera = camera or Camera.from_fov(640, 480, 60)
    model, hand = load_open_hand(), motion(seed, camera=camera)
    times = np.arange(0, 60, 0.1)
    states = [hand.at(t) for t in times]
    wrist = np.array([s.t_camera_wrist for s in states])
    assert np.linalg.norm(np.diff(wrist, axis=0), axis=1).max() / 0.1 < 1.0
    for state in states[::3]:
        posed = model.pose_hand(state.pose, hand.shape)
        middle = posed.joints_m[4] + state.t_camera_wrist
        assert 0.25 < np.linalg.norm(middle) < 1.1
        tips = model.keypoints(posed, hand.shape, "detector") + state.t_camera_wrist
        pixels = camera.project(tips)
        assert (pixels >= 0).all()
        assert (pixels <= [camera.width - 1, camera.height - 1]).all()


def test_a_left_hand_is_not_a_right_hand_turned():
    state = motion(3, Side.LEFT).at(1.0)
    R = rotation_from_axis_angle(state.pose[:3])
    np.testing.assert_allclose(R, state.R_camera_wrist, atol=1e-9)
    left = load_open_hand().mirrored()
    posed = left.pose_hand(state.pose, np.zeros(10))
    fingers = posed.joints_m[4] - posed.joints_m[0]
    # Fingers at +x of a left hand's own frame.
    assert fingers @ R[:, 0] > 0.05


# Camera.


@pytest.mark.parametrize(
    "camera",
    [None, Camera.from_fov(333, 211, 75), barrel(), fisheye()],
    ids=["pinhole", "odd size", "barrel", "fisheye"],
)
def test_truth_lies_on_the_rendered_hand(camera):
    source = SyntheticCamera(seed=4, camera=camera)
    for index in (0, 31, 77):
        shown = source.frame_at(index)
        (hand,) = shown.hands
        mask = source.mask_at(index)
        size = (source.camera.height, source.camera.width)
        assert shown.frame.image.shape == (*size, 3)
        assert shown.frame.image.dtype == np.uint8
        for points in (hand.keypoints_m, hand.vertices_m):
            column, row = np.rint(source.camera.project(points)).astype(int).T
            # Vertices on the outline may round to the pixel beside it.
            inside = np.array(
                [
                    mask[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].any()
                    for r, c in zip(row, column, strict=True)
                    if 0 <= r < size[0] and 0 <= c < size[1]
                ]
            )
            assert inside.all()
            assert len(inside) > 0.8 * len(points)
        # And the reverse: the mask ends where the fingers end (the forearm leaves downwards).
        top = source.camera.project(hand.vertices_m)[:, 1].min()
        assert abs(np.flatnonzero(mask.any(1)).min() - top) < 2


def test_hand_is_drawn_where_the_mask_says():
    source = SyntheticCamera(seed=1, noise=0)
    background = source._background.at(0.0)
    changed = np.abs(source.frame_at(0).frame.image.astype(int) - background).sum(2) > 60
    mask = source.mask_at(0)
    assert (changed & mask).sum() > 0.9 * mask.sum()
    assert (changed & ~mask).sum() < 0.05 * mask.sum()


def test_truth_agrees_with_itself():
    source = SyntheticCamera(seed=5, hands=2)
    right_model = load_open_hand()
    models = {Side.RIGHT: right_model, Side.LEFT: right_model.mirrored()}
    for hand in source.frame_at(40).hands:
        model = models[hand.side]
        posed = model.pose_hand(hand.pose, hand.shape)
        t = hand.T_camera_wrist[:3, 3]
        np.testing.assert_allclose(posed.vertices_m + t, hand.vertices_m, atol=1e-12)
        np.testing.assert_allclose(
            model.keypoints(posed, hand.shape, "detector") + t, hand.keypoints_m, atol=1e-12
        )
        np.testing.assert_allclose(
            rotation_from_axis_angle(hand.pose[:3]), hand.T_camera_wrist[:3, :3], atol=1e-9
        )
        np.testing.assert_allclose(
            source.camera.project(hand.keypoints_m), hand.keypoints_px, atol=1e-9
        )
        x0, y0, x1, y1 = hand.box_px
        assert ((hand.keypoints_px >= [x0, y0]) & (hand.keypoints_px <= [x1, y1])).all()
        pinch = np.linalg.norm(hand.keypoints_m[4] - hand.keypoints_m[8])
        assert hand.grasp_aperture_m == pytest.approx(pinch)
        assert hand.side_score == hand.score == 1.0
        assert hand.shape.shape == (10,)
        assert hand.pose.shape == (48,)


@pytest.mark.parametrize("seed", range(3))
def test_two_hands_have_two_sides_and_keep_apart(seed):
    source = SyntheticCamera(seed=seed, hands=2)
    for index in range(0, 300, 60):
        right, left = source.frame_at(index).hands
        assert (right.side, left.side) == (Side.RIGHT, Side.LEFT)
        assert right.track_id != left.track_id
        # Right hand of a person facing the camera: in the image's left half.
        assert right.keypoints_px[:, 0].max() <= 0.5 * source.camera.width
        assert left.keypoints_px[:, 0].min() >= 0.5 * source.camera.width - 1
        # Palms face the camera and turn by 60 degrees at most, so thumbs point to each other.
        assert right.T_camera_wrist[0, 2] > 0.2
        assert left.T_camera_wrist[0, 2] < -0.2


def test_same_seed_same_frame_in_any_order():
    one, two = SyntheticCamera(160, 120, seed=7), SyntheticCamera(160, 120, seed=7)
    last = list(itertools.islice(two, 12))[-1]
    direct = one.frame_at(11)
    np.testing.assert_array_equal(direct.frame.image, last.frame.image)
    np.testing.assert_array_equal(direct.hands[0].vertices_m, last.hands[0].vertices_m)
    other = SyntheticCamera(160, 120, seed=8).frame_at(11)
    assert np.abs(other.frame.image.astype(int) - direct.frame.image).mean() > 5
    assert np.abs(other.hands[0].vertices_m - direct.hands[0].vertices_m).max() > 0.01


def test_rate_changes_the_number_of_frames_not_the_motion():
    slow = SyntheticCamera(64, 48, seed=2, rate_hz=15).frame_at(10)
    fast = SyntheticCamera(64, 48, seed=2, rate_hz=60).frame_at(40)
    np.testing.assert_array_equal(slow.hands[0].vertices_m, fast.hands[0].vertices_m)


def test_stamps_are_exact_and_can_be_replaced():
    source = SyntheticCamera(64, 48, rate_hz=30, start_ns=5_000_000_000, num_frames=91)
    stamps = [shown.frame.stamp_ns for shown in source]
    assert len(stamps) == 91
    assert stamps[:2] == [5_000_000_000, 5_033_333_333]
    assert stamps[90] == 8_000_000_000
    shown = source.frame_at(3).stamped(123)
    assert shown.frame.stamp_ns == 123
    assert shown.frame.frame_id == "camera_optical_frame"
    np.testing.assert_array_equal(shown.frame.image, source.frame_at(3).frame.image)


def test_depth_is_that_of_the_truth_and_of_the_wall():
    source = SyntheticCamera(seed=3, hands=2)
    for index in (0, 50):
        shown = source.frame_at(index)
        assert shown.index == index
        depth, mask = source.depth_at(index), source.mask_at(index)
        assert (depth.shape, depth.dtype) == ((480, 640), np.float32)
        assert (depth[~mask] == WALL_M).all()
        assert depth[mask].max() < 1.6  # the forearm too is nearer than the wall
        for hand in shown.hands:
            points = hand.vertices_m
            column, row = np.rint(source.camera.project(points)).astype(int).T
            behind_m = points[:, 2] - depth[row, column]
            # Nothing of the hand is in front of what the camera sees, but for the outline, where
            # half a pixel aside is the wall ...
            assert (behind_m < -0.004).mean() < 0.12
            # ... and about half of its skin is what the camera sees.
            assert 0.3 < (np.abs(behind_m) < 0.003).mean() < 0.7


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (320, 31)])
def test_any_size_renders(size):
    image = SyntheticCamera(*size, hands=1).frame_at(5).frame.image
    assert image.shape == (size[1], size[0], 3)


def test_synthetic_camera_is_calibrated():
    assert SyntheticCamera(64, 48).camera.assumed is False


@pytest.mark.parametrize("wrong", [{"hands": 0}, {"hands": 3}, {"rate_hz": 0.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SourceError, match=r"\d"):
        SyntheticCamera(64, 48, **wrong)
