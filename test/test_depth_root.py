from dataclasses import replace

import numpy as np
import pytest

from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.depth_root import DepthRefiner, DepthRefusal, DepthRoot, _visible
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_size import HandSize
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle
from hand_mesh_ros.sources.synthetic import WALL_M, SyntheticCamera
from hand_mesh_ros.types import Frame, Reconstruction, Root

RIGHT = load_open_hand()
REFINER = DepthRefiner(RIGHT)
TURN = np.array([0.07, -0.08, 0.01])  # rad: mostly out of the image plane, as fits err


def believed(hand, *, size=1.0, turn=TURN, size_stddev=0.06):
    """The true hand as a reconstruction that errs in size and turn, and its root."""
    t = hand.T_camera_wrist[:3, 3]
    R = rotation_from_axis_angle(turn)
    R_hand = R @ hand.T_camera_wrist[:3, :3]
    reconstruction = Reconstruction(
        vertices_m=size * (hand.vertices_m - t) @ R.T,
        keypoints_m=size * (hand.keypoints_m - t) @ R.T,
        joints_m=np.zeros((16, 3)),
        R_camera_hand=R_hand,
        pose=np.concatenate([axis_angle_from_rotation(R_hand), hand.pose[3:]]),
        shape=HandSize(RIGHT).scaled(hand.shape, size),
        rotation_covariance=0.1**2 * np.eye(3),
        size_stddev=size_stddev,
    )
    # The image fixes where a hand of that size is, to a percent.
    return reconstruction, Root(
        size * 1.01 * t, np.diag([1e-3, 1e-3, 8e-3]) ** 2, RootSource.REPROJECTION
    )


def scene(seed=0, index=0, hands=1):
    source = SyntheticCamera(seed=seed, hands=hands, noise=0)
    shown = source.frame_at(index)
    return replace(shown.frame, depth_m=source.depth_at(index)), shown.hands


def refine(frame, hand, **error):
    reconstruction, root = believed(hand, **error)
    return REFINER.refine(reconstruction, root, frame, hand.side, hand.keypoints_px, stddev_px=4.0)


def error_mm(placed, hand):
    return 1e3 * np.linalg.norm(placed.root.t_camera_wrist - hand.T_camera_wrist[:3, 3])


@pytest.mark.parametrize("size", [0.9, 1.0, 1.1])
def test_true_depth_finds_place_size_and_turn(size):
    errors, lengths, turns = [], [], []
    for seed in range(4):
        for index in (0, 40):
            frame, hands = scene(seed, index, hands=2)
            for hand in hands:
                placed = refine(frame, hand, size=size)
                if isinstance(placed, DepthRefusal):
                    continue
                assert placed.root.source is RootSource.DEPTH
                errors.append(error_mm(placed, hand))
                length = RIGHT.hand_length_m(placed.reconstruction.shape)
                lengths.append(length / RIGHT.hand_length_m(hand.shape))
                R = placed.reconstruction.R_camera_hand @ hand.T_camera_wrist[:3, :3].T
                turns.append(np.linalg.norm(axis_angle_from_rotation(R)))
    # A reprojected root of a hand 10% too large is 50 to 80 mm too far away.
    assert len(errors) >= 14
    assert np.median(errors) < 3.0
    assert max(errors) < 12.0
    assert abs(np.median(lengths) - 1.0) < 0.04
    assert np.median(turns) < 0.5 * np.linalg.norm(TURN)


def test_what_comes_back_agrees_with_itself():
    frame, (_, left) = scene(seed=3, hands=2)
    reconstruction, root = believed(left, size=1.08)
    placed = REFINER.refine(
        reconstruction, root, frame, Side.LEFT, left.keypoints_px, stddev_px=4.0
    )
    after = placed.reconstruction
    model = RIGHT.mirrored()
    posed = model.pose_hand(after.pose, after.shape)
    # The shape basis holds sizes: the mesh that pose and shape give is the mesh given.
    np.testing.assert_allclose(posed.vertices_m, after.vertices_m, atol=2e-4)
    np.testing.assert_allclose(
        model.keypoints(posed, after.shape, "detector"), after.keypoints_m, atol=3e-4
    )
    np.testing.assert_allclose(posed.R_joints[0], after.R_camera_hand, atol=1e-9)
    assert placed.size_ratio == pytest.approx(1 / 1.08, rel=0.03)
    assert after.size_stddev < 0.06
    eigenvalues = np.linalg.eigvalsh(placed.root.covariance)
    assert np.sqrt(eigenvalues[0]) > 0.003
    assert np.sqrt(eigenvalues[2]) < 0.015  # without depth: 6% of 0.6 m = 36 mm


def test_the_hand_stays_where_it_is_in_the_image():
    for seed in range(4):
        frame, (hand,) = scene(seed)
        placed = refine(frame, hand, size=1.1)
        seen = frame.camera.project(placed.reconstruction.keypoints_m + placed.root.t_camera_wrist)
        extent = np.ptp(hand.keypoints_px, axis=0).max()
        assert np.linalg.norm(seen - hand.keypoints_px, axis=1).mean() < 0.05 * extent


def test_a_known_size_is_kept():
    frame, (hand,) = scene()
    placed = refine(frame, hand, size=1.0, size_stddev=0.002)
    assert placed.size_ratio == pytest.approx(1.0, abs=0.005)
    assert error_mm(placed, hand) < 8.0


@pytest.mark.parametrize("background", ["unknown", "wall just behind", "zero"])
def test_the_background_does_not_matter(background):
    frame, (hand,) = scene(seed=1)
    depth = frame.depth_m.copy()
    value = {"unknown": np.nan, "zero": 0.0}.get(background, hand.vertices_m[:, 2].max() + 0.1)
    depth[depth == WALL_M] = value
    placed = refine(replace(frame, depth_m=depth), hand, size=1.05)
    assert error_mm(placed, hand) < 8.0


def test_holes_and_noise_are_survived():
    rng = np.random.default_rng(0)
    errors = []
    for seed in range(4):
        frame, (hand,) = scene(seed)
        depth = frame.depth_m + rng.normal(0.0, 0.004, frame.depth_m.shape).astype(np.float32)
        depth[rng.random(depth.shape) < 0.5] = np.nan
        placed = refine(replace(frame, depth_m=depth), hand, size=1.06)
        errors.append(error_mm(placed, hand))
    assert max(errors) < 10.0


@pytest.mark.parametrize("seed", [0, 2, 6])
def test_an_object_in_front_of_some_fingers_is_left_out(seed):
    frame, (hand,) = scene(seed)
    depth = frame.depth_m.copy()
    tips = hand.keypoints_px[[8, 12]]
    (x0, y0), (x1, y1) = tips.min(0).astype(int) - 15, tips.max(0).astype(int) + 15
    depth[y0:y1, x0:x1] = hand.vertices_m[:, 2].min() - 0.05
    placed = refine(replace(frame, depth_m=depth), hand, size=1.05)
    assert isinstance(placed, DepthRoot)
    assert error_mm(placed, hand) < 10.0


def test_depth_that_cannot_be_the_hands_is_refused_with_a_reason():
    frame, (hand,) = scene()

    def reason(**changes):
        refusal = refine(replace(frame, **changes), hand)
        assert isinstance(refusal, DepthRefusal)
        return refusal.reason

    assert reason(depth_m=None) == "no depth image"
    assert "off the expected distance" in reason(depth_m=np.full_like(frame.depth_m, WALL_M))
    assert "depth at 0 of" in reason(depth_m=np.zeros_like(frame.depth_m))
    few = frame.depth_m.copy()
    few[np.random.default_rng(0).random(few.shape) < 0.9] = np.nan
    assert "depth at" in reason(depth_m=few)
    assumed = Camera.from_fov(frame.camera.width, frame.camera.height, 60)
    assert "not calibrated" in reason(camera=assumed)
    rough = frame.depth_m + np.random.default_rng(0).uniform(-0.05, 0.05, frame.depth_m.shape)
    assert "fits the mesh at" in reason(depth_m=rough.astype(np.float32))


def test_visible_faces_are_those_that_the_depth_image_shows():
    """Against the renderer: nearly all that is called visible is on the first surface."""
    share = []
    for seed in range(5):
        frame, (hand,) = scene(seed)
        points, normals = _visible(hand.vertices_m, RIGHT.faces)
        column, row = np.rint(frame.camera.project(points)).astype(int).T
        behind_m = points[:, 2] - frame.depth_m[row, column]
        share.append((np.abs(behind_m) < 0.008).mean())
        assert len(points) > 200
        assert (np.einsum("nc,nc->n", normals, points) < 0).all()
    assert min(share) > 0.9
    assert np.median(share) > 0.95


def test_nothing_visible_is_refused():
    frame, (hand,) = scene()
    reconstruction, root = believed(hand)
    inside_out = replace(reconstruction, vertices_m=np.zeros_like(reconstruction.vertices_m))
    refusal = REFINER.refine(inside_out, root, frame, hand.side, hand.keypoints_px, stddev_px=4.0)
    assert isinstance(refusal, DepthRefusal)


def test_a_frame_without_depth_is_the_default():
    assert Frame(np.zeros((2, 2, 3), np.uint8), Camera.from_fov(2, 2, 60), 1, "c").depth_m is None


def test_with_the_synthetic_cameras_depth_the_root_is_right_to_a_centimetre():
    """The whole pipeline on rendered images, the hand's length unknown."""
    errors = {True: [], False: []}
    placed_by_depth = []
    for seed in (20, 23, 26):
        source = SyntheticCamera(seed=seed)
        for has_depth in (True, False):
            pipeline = build_pipeline(NodeParameters())
            for index in range(0, 60, 2):
                frame, truth = source.with_depth(index), source.frame_at(index).hands[0]
                frame = frame if has_depth else replace(frame, depth_m=None)
                for hand in pipeline.process(frame).hands:
                    off = hand.T_camera_wrist[:3, 3] - truth.T_camera_wrist[:3, 3]
                    errors[has_depth].append(1e3 * np.linalg.norm(off))
                    if has_depth:
                        placed_by_depth.append(hand.root_source is RootSource.DEPTH)
            pipeline.close()
    assert len(errors[True]) > 80
    assert np.median(errors[True]) < 10.0
    assert np.median(errors[True]) < 0.6 * np.median(errors[False])
    assert np.mean(placed_by_depth) > 0.85


def test_without_depth_size_is_in_the_covariance_and_with_it_no_more():
    source = SyntheticCamera(seed=20)
    pipeline = build_pipeline(NodeParameters(smoothing_enabled=False))
    frame = source.with_depth(0)
    (with_depth,) = pipeline.process(frame).hands
    pipeline.reset()
    (without,) = pipeline.process(replace(frame, depth_m=None, stamp_ns=10**9)).hands
    pipeline.close()
    stddev = [np.sqrt(h.root_covariance[2, 2]) for h in (with_depth, without)]
    assert stddev[0] < 0.012
    assert stddev[1] > 0.06 * without.T_camera_wrist[2, 3]
    assert (with_depth.root_source, without.root_source) == (
        RootSource.DEPTH,
        RootSource.REPROJECTION,
    )
