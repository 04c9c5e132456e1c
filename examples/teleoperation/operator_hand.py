"""Which of the seen hands leads the robot, and its keypoints as dex-retargeting wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIDES = {"left": 0, "right": 1}
"""Values of `HandMesh.side`."""


def leading_hand(
    hands: Sequence[Any], side: str, min_score: float, track_id: int | None
) -> Any | None:
    """The hand to follow: the one that is followed already, else the surest; None if there is none.

    Args:
        hands: `HandMesh` messages of one image.
        side: "left" or "right"; a robot's right hand follows a right one.
        min_score: hands below it do not lead.
        track_id: of the hand that is followed, if any.
    """
    able = [hand for hand in hands if hand.side == SIDES[side] and hand.score >= min_score]
    return max(able, key=lambda hand: (hand.track_id == track_id, hand.score), default=None)


def operator_keypoints(hand: Any) -> np.ndarray:
    """(21, 3) m: keypoints of a `HandMesh`, in MediaPipe's order, seen from the operator's frame.

    Origin at the wrist, z to the middle finger's knuckle, x out of the palm, y in the palm's plane:
    towards the thumb of a right hand, away from that of a left one. dex-retargeting's examples
    estimate this frame from wrist, index and middle knuckle, and its configs are tuned to it.
    """
    keypoints = np.asarray(hand.keypoints, np.float64).reshape(21, 3)
    wrist, index, middle = keypoints[[0, 5, 9]]
    z = _unit(middle - wrist)
    towards_thumb = index - middle
    y = _unit(towards_thumb - (towards_thumb @ z) * z) * (1 if hand.side == SIDES["right"] else -1)
    R_camera_operator = np.stack([np.cross(y, z), y, z], axis=1)
    return (keypoints - wrist) @ R_camera_operator


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
