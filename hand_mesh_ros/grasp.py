"""What a gripper needs of a hand: how far thumb and index are open, and where they meet."""

from __future__ import annotations

import math

import numpy as np

from hand_mesh_ros.conventions import KEYPOINT_NAMES

_THUMB_TIP = KEYPOINT_NAMES.index("thumb_tip")
_INDEX_TIP = KEYPOINT_NAMES.index("index_tip")
_THUMB_BASE = KEYPOINT_NAMES.index("thumb_mcp")
_INDEX_BASE = KEYPOINT_NAMES.index("index_mcp")

CLOSED_BELOW_M = 0.02
"""Tips closer than this no longer tell well in which direction the grasp closes."""
_TOO_SHORT_M = 1e-3


def grasp_aperture_m(keypoints_m: np.ndarray) -> float:
    """Distance between thumb tip and index tip of (21, 3) keypoints, m."""
    return math.dist(keypoints_m[_INDEX_TIP].tolist(), keypoints_m[_THUMB_TIP].tolist())


def T_camera_grasp(keypoints_m: np.ndarray) -> np.ndarray | None:
    """(4, 4) grasp frame of (21, 3) m keypoints, in their frame; None where it has no direction.

    Origin midway between the tips of thumb and index; z is the approach (from the fingers' bases
    to their tips), y closes from thumb to index, as in a parallel gripper's hand frame.
    """
    thumb_tip, index_tip = keypoints_m[_THUMB_TIP], keypoints_m[_INDEX_TIP]
    thumb_base, index_base = keypoints_m[_THUMB_BASE], keypoints_m[_INDEX_BASE]
    across_bases = index_base - thumb_base
    closing = index_tip - thumb_tip
    # As the tips meet, the bases take over gradually: y must not spin about a closed pinch.
    weight = max(0.0, 1.0 - float(np.linalg.norm(closing)) / CLOSED_BELOW_M)
    y = closing + weight * across_bases
    middle = 0.5 * (thumb_tip + index_tip)
    approach = middle - 0.5 * (thumb_base + index_base)
    y_length = np.linalg.norm(y)
    if y_length < _TOO_SHORT_M:
        return None
    y = y / y_length
    z = approach - (approach @ y) * y
    z_length = np.linalg.norm(z)
    if z_length < _TOO_SHORT_M:
        return None
    z = z / z_length
    T = np.eye(4)
    T[:3, 0], T[:3, 1], T[:3, 2], T[:3, 3] = np.cross(y, z), y, z, middle
    return T
