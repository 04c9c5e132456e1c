"""Names, orders and handedness: the only copy of every convention that two files share.

Keypoints are the 21 of MediaPipe = OpenPose = FreiHAND: wrist, then thumb to little, root to tip.
Joints are the 16 of MANO: wrist, then index, middle, little, ring, thumb, three each.
A left hand is a right hand mirrored at the plane x = 0 of its own frame.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

FINGERS = ("thumb", "index", "middle", "ring", "little")

KEYPOINT_NAMES = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *("index_mcp", "index_pip", "index_dip", "index_tip"),
    *("middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
    *("ring_mcp", "ring_pip", "ring_dip", "ring_tip"),
    *("little_mcp", "little_pip", "little_dip", "little_tip"),
)
KEYPOINT_PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
BONES = tuple((parent, child) for child, parent in enumerate(KEYPOINT_PARENTS) if parent >= 0)

JOINT_NAMES = (
    "wrist",
    *("index_mcp", "index_pip", "index_dip"),
    *("middle_mcp", "middle_pip", "middle_dip"),
    *("little_mcp", "little_pip", "little_dip"),
    *("ring_mcp", "ring_pip", "ring_dip"),
    *("thumb_cmc", "thumb_mcp", "thumb_ip"),
)
JOINT_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
FINGER_JOINTS = {
    "thumb": (13, 14, 15),
    "index": (1, 2, 3),
    "middle": (4, 5, 6),
    "ring": (10, 11, 12),
    "little": (7, 8, 9),
}
REGION_NAMES = ("palm", *FINGERS)

# dst = src[idx_src_to_dst]. MANO-21 is the 16 joints, then the tips from thumb to little.
idx_mano21_to_keypoints = np.array(
    [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
)
idx_keypoints_to_mano21 = np.argsort(idx_mano21_to_keypoints)
idx_keypoints_to_freihand = np.arange(21)
idx_freihand_to_keypoints = np.arange(21)
# HO3D: wrist, index, middle, little, ring, thumb (three each), then tips from thumb to little.
idx_keypoints_to_ho3d = np.array(
    [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
)
idx_ho3d_to_keypoints = np.argsort(idx_keypoints_to_ho3d)
# InterHand2.6M, one hand: every finger tip to base, thumb first, the wrist last.
idx_keypoints_to_interhand = np.array(
    [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0]
)
idx_interhand_to_keypoints = np.argsort(idx_keypoints_to_interhand)


class Side(IntEnum):
    """Which hand; the values are those of `HandMesh.side`."""

    LEFT = 0
    RIGHT = 1

    @property
    def opposite(self) -> Side:
        """The other hand."""
        return Side.LEFT if self is Side.RIGHT else Side.RIGHT


class RootSource(IntEnum):
    """What the root was computed from; the values are those of `HandMesh.root_source`."""

    REPROJECTION = 0
    DEPTH = 1
    ASSUMED_CAMERA = 2


# Columns: x out of the palm, y little to thumb, z wrist to fingertips, seen in the model frame of a
# right hand (MANO's: fingers -x, palm -y, thumb +z). Axes of dex-retargeting's operator frame mean
# the same, but follow keypoints 0, 5 and 9: about 11 degrees from these.
R_RIGHT_MODEL_ROOT = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
# A left hand has fingers at +x; x and z keep their meaning, so y runs from thumb to little.
R_LEFT_MODEL_ROOT = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def R_model_root(side: Side) -> np.ndarray:
    """(3, 3) rotation from the published root frame to the hand model's own frame."""
    return R_RIGHT_MODEL_ROOT if side is Side.RIGHT else R_LEFT_MODEL_ROOT


def mirror_points(points: np.ndarray) -> np.ndarray:
    """(..., 3) points mirrored at x = 0."""
    return points * np.array([-1.0, 1.0, 1.0])


def mirror_rotation(R: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations seen in the mirror x = 0: M R M with M = diag(-1, 1, 1)."""
    flip = np.array([-1.0, 1.0, 1.0])
    return R * flip[:, None] * flip


def mirror_axis_angle(pose: np.ndarray) -> np.ndarray:
    """(..., 3 n) axis-angle joint rotations of the mirrored hand: (x, y, z) -> (x, -y, -z)."""
    signs = np.tile([1.0, -1.0, -1.0], pose.shape[-1] // 3)
    return pose * signs
