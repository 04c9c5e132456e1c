"""Draw a sheet of hands from the pose prior: a row a family, each hand from its palm and its side.

python tools/show_pose_prior.py -o pose_prior.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_prior import FAMILY_NAMES, PosePrior, PoseSamples
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.sources.hand_look import HandLook, Light
from hand_mesh_ros.sources.hand_motion import R_CAMERA_UPRIGHT
from hand_mesh_ros.sources.rendering import draw, rasterize
from hand_mesh_ros.sources.skin import drawn_skin_rgb

TILE_PX = 160
LIGHT = Light(np.array([-0.4, -0.6, -0.7]), lamp=0.65, ambient=0.5, color=np.ones(3))
TURNS_RAD = {"palm": 0.0, "side": 0.5 * np.pi}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("pose_prior.png"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=6, help="hands a family, two views each")
    parser.add_argument("--families", nargs="*", choices=FAMILY_NAMES, default=FAMILY_NAMES)
    args = parser.parse_args()
    prior = PosePrior(load_open_hand())
    rng = np.random.default_rng(args.seed)
    look = HandLook(prior.model, drawn_skin_rgb(rng))
    samples = prior.sample(200 * args.columns, rng)
    rows = []
    for name in args.families:
        chosen = np.flatnonzero(samples.family == FAMILY_NAMES.index(name))[: args.columns]
        tiles = [tile(prior, look, samples, i, turn) for i in chosen for turn in TURNS_RAD.values()]
        tiles += [np.full((TILE_PX, TILE_PX, 3), 60, np.uint8)] * (2 * args.columns - len(tiles))
        row = np.concatenate(tiles, axis=1)
        cv2.putText(row, name, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        rows.append(row)
    sheet = np.concatenate(rows)[..., ::-1]
    if not cv2.imwrite(str(args.output), np.ascontiguousarray(sheet)):
        raise SystemExit(f"cannot write {args.output}: is it a .png in a folder that exists?")
    print(f"{args.output}: {len(rows)} families, {args.columns} hands each, palm and thumb side")


def tile(
    prior: PosePrior, look: HandLook, samples: PoseSamples, index: int, turn_rad: float
) -> np.ndarray:
    """(TILE_PX, TILE_PX, 3) RGB picture of one hand, upright, turned about the vertical."""
    camera = Camera.from_fov(TILE_PX, TILE_PX, 24.0)
    R = rotation_from_axis_angle(np.array([0.0, turn_rad, 0.0])) @ R_CAMERA_UPRIGHT
    pose = prior.anatomy.pose(samples.angles_rad[index], R)
    hand = prior.model.pose_hand(pose, samples.shape[index])
    # The middle of an open hand, so that the hands of a row have one scale and one place.
    wrist = np.array([0.0, 0.085, 0.62])
    mesh = look.dress(hand.vertices_m + wrist, R, np.array([0.0, 1.0, 0.0]), LIGHT)
    image = np.full((TILE_PX, TILE_PX, 3), 60, np.uint8)
    seen = rasterize(mesh, camera)
    if seen is not None:
        draw(image, seen, camera.K[0, 0])
    return image


if __name__ == "__main__":
    main()
