"""Measure the landmark detector's errors on renders, and store them for training and evaluation.

Random hands of the pose prior are drawn from all sides, in many sizes, skins and lights, and the
detector is asked twice: the second answer is what it says of a hand that it follows.

    python tools/measure_detector_noise.py --hands 9000 --seed 5000001 --out a.npz
    python tools/measure_detector_noise.py --hands 9000 --seed 6000001 --out b.npz
    python tools/measure_detector_noise.py --hands 12000 --seed 7000001 --facing --out c.npz
    python tools/measure_detector_noise.py --hands 12000 --seed 8000001 --facing --out d.npz
    python tools/measure_detector_noise.py --hands 18000 --seed 9000001 --out e.npz
    python tools/measure_detector_noise.py --hands 12000 --seed 10000001 --facing --out f.npz
    python tools/measure_detector_noise.py --join a.npz b.npz c.npz d.npz e.npz f.npz
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hand_mesh_ros.numpy_threads import use_one_numpy_thread

# ruff: noqa: E402
use_one_numpy_thread()

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.hand_models.random_views import random_rotations
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle
from hand_mesh_ros.sources.background import Background
from hand_mesh_ros.sources.hand_look import HandLook, Light
from hand_mesh_ros.sources.rendering import draw, rasterize
from hand_mesh_ros.sources.skin import drawn_skin_rgb
from hand_mesh_ros.training.landmark_noise import DATA, MeasuredHands, seen_by_itself

WIDTH, HEIGHT = 640, 480
HANDS_PER_SKIN = 5
RADIUS_PX = 50.0, 210.0
NEAREST_M = 0.08
STEPS = {
    "angles_rad": 512.0,
    "shape": 128.0,
    "rotation_rad": 1024.0,
    "t_camera_wrist_m": 4096.0,
    "focal_px": 1.0,
    "xy_error": 512.0,
}
"""How finely each number is stored: so many steps to its unit."""
FACING = 0.5
"""Cosine between the palm's normal and the line of sight of hands that show palm or back."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hands", type=int, default=9000, help="hands to draw")
    parser.add_argument("--seed", type=int, default=5_000_001, help="far from any other seed")
    parser.add_argument(
        "--facing", action="store_true", help="only hands that show their palm or back"
    )
    parser.add_argument("--out", type=Path, help="file of detections to write")
    parser.add_argument("--join", type=Path, nargs="+", help="files to make the package's data of")
    args = parser.parse_args()
    if args.join:
        store([dict(np.load(path, allow_pickle=False)) for path in args.join])
    else:
        np.savez(args.out, **collect(args.hands, args.seed, facing=args.facing))


def collect(num_hands: int, seed: int, *, facing: bool) -> dict[str, np.ndarray]:
    """By the names of `MeasuredHands`."""
    model = load_open_hand()
    prior, rng = PosePrior(model), np.random.default_rng(seed)
    hands = prior.sample(num_hands, rng)
    detector = MediaPipeHands(max_hands=1)
    rows: list[tuple[np.ndarray, ...]] = []
    for i in tqdm(range(num_hands)):
        if i % HANDS_PER_SKIN == 0:
            look, light = HandLook(model, drawn_skin_rgb(rng)), Light.drawn(rng)
            background = Background(WIDTH, HEIGHT, rng)
        camera = Camera.from_fov(WIDTH, HEIGHT, float(rng.uniform(45.0, 85.0)))
        focal_px, R = float(camera.K[0, 0]), hands.R_camera_hand[i]
        while facing and abs(R[2, 1]) < FACING:  # palms look along -y of the hand's frame
            R = random_rotations(1, rng)[0]
        posed = model.pose_hand(prior.anatomy.pose(hands.angles_rad[i], R), hands.shape[i])
        keypoints = model.keypoints(posed, hands.shape[i], "detector")
        middle = 0.5 * (keypoints.min(0) + keypoints.max(0))
        radius_m = np.linalg.norm(keypoints - middle, axis=1).max()
        radius_px = np.exp(rng.uniform(*np.log(RADIUS_PX)))
        z = focal_px * radius_m / radius_px
        free = np.maximum([0.5 * WIDTH - radius_px, 0.5 * HEIGHT - radius_px], 0.0)
        t = np.append(rng.uniform(-1.0, 1.0, 2) * free / focal_px * z, z) - middle
        if (posed.vertices_m + t)[:, 2].min() < NEAREST_M:
            continue
        image = background.at(rng.uniform(0.0, 30.0))
        wrist_bend = rotation_from_axis_angle(rng.normal(0.0, 0.35, 3) * [0.3, 1.0, 1.0])
        elbow = R @ wrist_bend @ np.array([1.0, 0.0, 0.0])
        visible = rasterize(look.dress(posed.vertices_m + t, R, elbow, light), camera)
        if visible is None:
            continue
        draw(image, visible, focal_px)
        detector.reset()
        found = detector.detect(image, 0)
        found = detector.detect(image, 33_000_000) or found if found else []
        truth = keypoints + t
        truth_px = camera.project(truth)
        for detection in found:
            off = np.linalg.norm((detection.keypoints_px - truth_px)[[0, 5, 17]], axis=1)
            # A hand found elsewhere, or taken for a left one, says nothing about its landmarks.
            if (
                detection.side is Side.RIGHT
                and np.median(off) < 0.3 * np.ptp(truth_px, axis=0).max()
            ):
                error = error_in_view(truth, camera.rays(detection.keypoints_px))
                rows.append((hands.angles_rad[i], hands.shape[i], R, t, np.array(focal_px), error))
    detector.close()
    print(f"{len(rows)} of {num_hands} hands found")
    names = [field.name for field in fields(MeasuredHands)]
    return {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def store(parts: list[dict[str, np.ndarray]]) -> None:
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    error = data["xy_error"]
    print(f"{len(error)} hands; errors in units of the hand's root mean square size:")
    print(f"  median {np.median(np.abs(error)):.4f}, rms {np.sqrt((error**2).mean()):.4f} an axis")
    print("  median distance by keypoint:", np.median(np.linalg.norm(error, axis=2), 0).round(3))
    data["rotation_rad"] = axis_angle_from_rotation(data.pop("R_camera_hand"))
    DATA.parent.mkdir(exist_ok=True)
    # Rounded before they are stored: what is finer than the errors themselves only takes space.
    packed = {
        name: (np.round(values * STEPS[name]) / STEPS[name]).astype(np.float16)
        for name, values in data.items()
    }
    np.savez_compressed(DATA, **packed)
    print(f"{DATA}: {DATA.stat().st_size / 1e6:.1f} MB")


def error_in_view(truth_m: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """(21, 2) detected rays minus the true keypoints' in their own view, see `MeasuredHands`."""
    _, views = seen_by_itself(truth_m[None])
    towards = np.concatenate([rays, np.ones_like(rays[:, :1])], axis=1) @ views.R_camera_view[0]
    return (towards[:, :2] / towards[:, 2:] - views.mean[0]) / views.scale[0] - views.xy[0]


if __name__ == "__main__":
    main()
