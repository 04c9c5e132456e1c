"""Colours of hands and fingers, the same in every view; Okabe and Ito's colour-blind safe set."""

from __future__ import annotations

import cv2
import numpy as np

from hand_mesh_ros.conventions import KEYPOINT_NAMES, Side

SIDE_RGB = {Side.LEFT: (86, 180, 233), Side.RIGHT: (230, 159, 0)}
WRIST_RGB = (240, 240, 240)
FINGER_RGB = ((213, 94, 0), (240, 228, 66), (0, 158, 115), (0, 114, 178), (204, 121, 167))
"""Thumb to little."""

KEYPOINT_RGB = (WRIST_RGB, *(FINGER_RGB[(k - 1) // 4] for k in range(1, len(KEYPOINT_NAMES))))
"""21, by the finger that a keypoint belongs to."""
UNCERTAIN_M = 0.02
"""Deviation that has the last colour of the scale; larger ones have it too."""


def uncertainty_rgb(stddev_m: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 of (N,) deviations: dark blue is certain, yellow `UNCERTAIN_M` or more."""
    levels = np.clip(255.0 * np.asarray(stddev_m, np.float64) / UNCERTAIN_M, 0, 255)
    bgr = cv2.applyColorMap(levels.astype(np.uint8).reshape(-1, 1), cv2.COLORMAP_CIVIDIS)
    return bgr[:, 0, ::-1].copy()
