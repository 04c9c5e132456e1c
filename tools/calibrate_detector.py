"""Measure where MediaPipe marks the open hand, and store it as the model's "detector" keypoints.

Hands of many shapes, poses, skins and views are drawn and detected, and one constant offset a
keypoint (in the frame of a bone, growing with the hand) is fitted to the landmarks. Run it after
`tools/make_open_hand.py`; both write `hand_mesh_ros/hand_models/data/open_hand.npz`.

    python tools/calibrate_detector.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import JOINT_PARENTS, Side
from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.open_hand import DATA, load_open_hand
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.sources.background import Background
from hand_mesh_ros.sources.hand_look import HandLook, Light
from hand_mesh_ros.sources.hand_motion import R_CAMERA_UPRIGHT, HandMotion
from hand_mesh_ros.sources.rendering import draw, rasterize
from hand_mesh_ros.sources.skin import drawn_skin_rgb

# Far from any seed that the demo, the tests or an evaluation uses.
FIRST_SEED = 1_000_000
POSES_PER_HAND = 5


@dataclass(frozen=True)
class Sample:
    """One detected hand and its truth."""

    joints_m: np.ndarray
    R_joints: np.ndarray
    rays: np.ndarray
    """(21, 2) landmarks as x/z, y/z."""
    size: float
    """Hand length over the template's."""
    extent: float
    """Size in the image, x/z units."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hands", type=int, default=120, help="shapes and skins to draw")
    args = parser.parse_args()
    model = load_open_hand()
    samples = collect(model, args.hands)
    print(f"{len(samples)} of {args.hands * POSES_PER_HAND} hands detected")
    fit, check = samples[::2], samples[1::2]

    anatomical = model.keypoint_regressors["anatomical"]
    own = anatomical.joint
    joint, offset = own.copy(), np.zeros((21, 3))
    for k in range(21):
        candidates = {int(own[k]), max(JOINT_PARENTS[own[k]], 0)}
        fits = [fit_offset(fit, k, j) for j in candidates]
        _, joint[k], offset[k] = min(fits, key=lambda f: f[0])
    length = model.hand_length_m(np.zeros(10))
    step = 1e-3 * np.eye(10)
    growth = [(model.hand_length_m(s) - model.hand_length_m(-s)) / (2e-3 * length) for s in step]

    before = landmark_errors(check, own, anatomical.offset_m)
    after = landmark_errors(check, joint, offset)
    print("median distance of landmark and keypoint on the other half, share of the hand's size:")
    print(f"  anatomical {np.median(before):.4f}, detector {np.median(after):.4f}")
    print("  by keypoint:", np.median(after, axis=0).round(3).tolist())
    axis_std = np.median(after) / np.sqrt(np.log(4.0))
    print(f"  standard deviation of one axis (robust): {axis_std:.4f}")
    with np.load(DATA / "open_hand.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    data["detector_joint"] = joint
    data["detector_offset_m"] = offset.astype(np.float32)
    data["detector_offset_dirs_m"] = (offset[:, :, None] * np.array(growth)).astype(np.float32)
    np.savez_compressed(DATA / "open_hand.npz", **data)
    print("offsets, mm:\n", (1e3 * offset).round(1))


def collect(model: HandModel, num_hands: int) -> list[Sample]:
    """Draw and detect hands in all views: palm, back and both edges."""
    camera = Camera.from_fov(640, 480, 60.0)
    prior = PosePrior(model)
    anatomy = prior.anatomy
    detector = MediaPipeHands(max_hands=1)
    region = np.array([0.0, 0.0, 639.0, 479.0])
    template_length = model.hand_length_m(np.zeros(10))
    samples = []
    for seed in range(FIRST_SEED, FIRST_SEED + num_hands):
        rng = np.random.default_rng(seed)
        motion = HandMotion(prior, Side.RIGHT, camera, region, seed)
        look, light = HandLook(model, drawn_skin_rgb(rng)), Light.drawn(rng)
        background = Background(640, 480, rng)
        for _ in range(POSES_PER_HAND):
            angles = motion.angles_rad(rng.uniform(0.0, 300.0))
            R = random_view(rng)
            posed = model.pose_hand(anatomy.pose(angles, R), motion.shape)
            middle = R @ np.array([-0.09, 0.0, 0.0])
            spot = np.array([rng.uniform(-0.12, 0.12), rng.uniform(-0.08, 0.08), 0.0])
            t = spot - middle + np.array([0.0, 0.0, rng.uniform(0.35, 0.7)])
            image = background.at(rng.uniform(0.0, 30.0))
            mesh = look.dress(posed.vertices_m + t, R, motion.elbow, light)
            visible = rasterize(mesh, camera)
            if visible is not None:
                draw(image, visible, float(camera.K[0, 0]))
            detector.reset()
            truth_px = camera.project(posed.joints_m + t)
            for detection in detector.detect(image, 0):
                size_px = np.ptp(truth_px, axis=0).max()
                off_px = detection.keypoints_px[[0, 5, 17]] - truth_px[[0, 1, 7]]
                off = np.linalg.norm(off_px, axis=1)
                # A hand found elsewhere, or taken for a left one, says nothing about its keypoints.
                if detection.side is Side.RIGHT and np.median(off) < 0.3 * size_px:
                    samples.append(
                        Sample(
                            posed.joints_m + t,
                            posed.R_joints,
                            camera.rays(detection.keypoints_px),
                            model.hand_length_m(motion.shape) / template_length,
                            float(np.ptp(camera.rays(detection.keypoints_px), axis=0).max()),
                        )
                    )
    detector.close()
    return samples


def random_view(rng: np.random.Generator) -> np.ndarray:
    """Upright hands seen from all around, tilted by up to some 50 degrees."""
    around = rotation_from_axis_angle(np.array([0.0, rng.uniform(-np.pi, np.pi), 0.0]))
    tilt = rotation_from_axis_angle(rng.normal(0.0, 0.45, 3) * [1.0, 0.2, 1.0])
    return tilt @ around @ R_CAMERA_UPRIGHT


def fit_offset(samples: list[Sample], keypoint: int, joint: int) -> tuple[float, int, np.ndarray]:
    """Robust least squares of a keypoint's offset in a joint's frame: cost, joint, offset (3,)."""
    R = np.array([s.R_joints[joint] * s.size for s in samples])
    p = np.array([s.joints_m[joint] for s in samples])
    rays = np.array([s.rays[keypoint] for s in samples])
    extent = np.array([s.extent for s in samples])[:, None]
    offset, weight = np.zeros(3), np.ones(len(samples))
    distance = np.zeros(len(samples))
    for _ in range(20):
        X = p + R @ offset
        seen = X[:, :2] / X[:, 2:]
        residual = (rays - seen) / extent
        J = (R[:, :2] - seen[:, :, None] * R[:, 2:]) / X[:, 2:, None] / extent[:, :, None]
        distance = np.linalg.norm(residual, axis=1)
        scale = max(float(np.median(distance)), 1e-6)
        weight = 1.0 / (1.0 + (distance / (1.5 * scale)) ** 2)
        JW = (J * weight[:, None, None]).reshape(-1, 3)
        # A weak pull to the joint itself: views that never show an axis must not invent it.
        normal = JW.T @ J.reshape(-1, 3) + 1.0 * np.eye(3)
        offset = offset + np.linalg.solve(normal, JW.T @ residual.reshape(-1) - 1.0 * offset)
    return float(np.mean(np.minimum(distance, 0.1))), joint, offset


def landmark_errors(samples: list[Sample], joint: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(N, 21) distances of landmark and projected keypoint, as a share of the hand's size."""
    errors = []
    for s in samples:
        X = s.joints_m[joint] + np.einsum("kab,kb->ka", s.R_joints[joint] * s.size, offset)
        errors.append(np.linalg.norm(X[:, :2] / X[:, 2:] - s.rays, axis=1) / s.extent)
    return np.array(errors)


if __name__ == "__main__":
    main()
