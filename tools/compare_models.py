"""A sheet of photographs with the hands of several models, each also turned by 90 degrees.

Depth mistakes hide in the view that they were made from; they show from the side.

    python tools/compare_models.py FOLDER landmark_fit lifter --out sheet.png
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.camera import Camera
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.sources.files import open_source
from hand_mesh_ros.types import Frame, Hand
from hand_mesh_ros.viewer.overlay import draw_overlay

PANEL_PX = 260
BACKDROP_RGB = (236, 236, 232)
MARGIN = 1.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="of photographs")
    parser.add_argument("models", nargs="+", help="values of the node's parameter model")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    parser.add_argument("--columns", type=int, default=2, help="photographs in a row")
    args = parser.parse_args()
    pipelines = [build_pipeline(NodeParameters(model=model)) for model in args.models]
    cells = []
    for frame in open_source(args.folder):
        panels: list[np.ndarray] = []
        for pipeline in pipelines:
            pipeline.reset()
            hands = pipeline.process(frame).hands
            if not hands:
                panels += [np.full((PANEL_PX, PANEL_PX, 3), BACKDROP_RGB, np.uint8)] * 2
                continue
            faces = pipeline.hand_model.faces
            panels += [as_seen(frame, hands[0], faces), from_the_side(hands[0], faces)]
        cells.append(np.hstack(panels))
    blank = np.full_like(cells[0], BACKDROP_RGB)
    cells += [blank] * (-len(cells) % args.columns)
    rows = [np.hstack(cells[i : i + args.columns]) for i in range(0, len(cells), args.columns)]
    cv2.imwrite(str(args.out), np.vstack(rows)[:, :, ::-1])
    print(f"{args.out}: each photograph with {', '.join(args.models)}, as seen and from its right")


def as_seen(frame: Frame, hand: Hand, faces: np.ndarray) -> np.ndarray:
    picture = draw_overlay(frame.image, [hand], frame.camera, faces)
    low, high = hand.keypoints_px.min(0), hand.keypoints_px.max(0)
    side, middle = MARGIN * float((high - low).max()), 0.5 * (low + high)
    A = np.column_stack([PANEL_PX / side * np.eye(2), PANEL_PX * (0.5 - middle / side)])
    return cv2.warpAffine(
        picture, A, (PANEL_PX, PANEL_PX), flags=cv2.INTER_AREA, borderValue=BACKDROP_RGB
    )


def from_the_side(hand: Hand, faces: np.ndarray) -> np.ndarray:
    """The camera walks around the hand to its own right: what was far is now on the left."""
    turn = rotation_from_axis_angle(np.array([0.0, np.pi / 2, 0.0]))
    centre = hand.keypoints_m.mean(0)
    reach = 1.15 * np.linalg.norm(hand.keypoints_m - centre, axis=1).max()
    away = np.array([0.0, 0.0, 5.0 * reach])
    camera = Camera.from_fov(PANEL_PX, PANEL_PX, float(np.degrees(2.0 * np.arctan(1.0 / 5.0))))
    turned = replace(
        hand,
        vertices_m=(hand.vertices_m - centre) @ turn.T + away,
        keypoints_m=(hand.keypoints_m - centre) @ turn.T + away,
        box_px=np.array([0.0, 0.0, PANEL_PX, PANEL_PX]),
    )
    backdrop = np.full((PANEL_PX, PANEL_PX, 3), BACKDROP_RGB, np.uint8)
    return draw_overlay(backdrop, [turned], camera, faces)


if __name__ == "__main__":
    main()
