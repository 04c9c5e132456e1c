"""Hands as skeletons, as seen and from the side, for people who watch a training without images."""

from __future__ import annotations

import cv2
import numpy as np

from hand_mesh_ros.conventions import BONES

_SEEN, _TRUE, _FOUND = (150, 150, 150), (30, 160, 30), (220, 50, 40)
_BACKGROUND = 245
_CELL_PX = 192
_SPAN = 1.2
"""What a cell shows, in lengths of the hand."""
_FINE = 16
"""OpenCV draws at sixteenths of a pixel."""


def draw_skeletons(
    seen_xy: np.ndarray, true: np.ndarray, found: np.ndarray | None = None
) -> np.ndarray:
    """(H, W, 3) uint8, above as seen, below from the side; grey: seen, green: true, red: found.

    Args:
        seen_xy: (N, 21, 2) landmarks about their mean, rms distance 1 from it; (0, 0): missing.
        true: (N, 21, 3) keypoints about their mean, in lengths of the hand, axes of the view.
        found: (N, 21, 3) likewise.
    """
    columns = []
    for i in range(len(true)):
        width = np.sqrt((true[i, :, :2] ** 2).sum(1).mean())
        front, side = (np.full((_CELL_PX, _CELL_PX, 3), _BACKGROUND, np.uint8) for _ in range(2))
        present = seen_xy[i].any(axis=1)
        _draw(front, width * seen_xy[i], _SEEN, present)
        for points, color in ((true[i], _TRUE), (None if found is None else found[i], _FOUND)):
            if points is not None:
                _draw(front, points[:, :2], color)
                _draw(side, points[:, [2, 1]], color)
        columns.append(np.concatenate([front, side]))
    return np.concatenate(columns, axis=1)


def _draw(
    cell: np.ndarray, xy: np.ndarray, color: tuple[int, int, int], present: np.ndarray | None = None
) -> None:
    bounded = np.clip(np.nan_to_num(xy), -2.0, 2.0)
    place = np.rint((bounded / _SPAN + 0.5) * _CELL_PX * _FINE).astype(int)
    for a, b in BONES:
        if present is None or (present[a] and present[b]):
            cv2.line(cell, place[a].tolist(), place[b].tolist(), color, 1, cv2.LINE_AA, 4)
    for index, point in enumerate(place.tolist()):
        if present is None or present[index]:
            cv2.circle(cell, point, 2 * _FINE, color, -1, cv2.LINE_AA, 4)
