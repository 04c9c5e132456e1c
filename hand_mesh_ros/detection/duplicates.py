"""One hand reported twice: recognised by its keypoints, the better report kept."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hand_mesh_ros.types import Detection

SAME_HAND_DISTANCE = 0.15
"""Mean keypoint distance, in hand sizes, below which two reports are one hand: a judgement, about
the distance between neighbouring fingers."""

# A report of the wrong side has its fingers in reversed order, the thumb on the little finger.
_idx_reversed_fingers = np.array([0, *(4 * f + k for f in (4, 3, 2, 1, 0) for k in (1, 2, 3, 4))])


def hand_size_px(detection: Detection) -> float:
    """Longer side of the keypoints' box, px (at least 1)."""
    x0, y0, x1, y1 = detection.box_px
    return max(float(x1 - x0), float(y1 - y0), 1.0)


def is_same_hand(a: Detection, b: Detection) -> bool:
    """Whether two reports of one image show the same hand, whatever sides they name."""
    size_px = 0.5 * (hand_size_px(a) + hand_size_px(b))
    distance_px = min(
        np.linalg.norm(a.keypoints_px - b.keypoints_px[order], axis=1).mean()
        for order in (np.arange(21), _idx_reversed_fingers)
    )
    return bool(distance_px < SAME_HAND_DISTANCE * size_px)


def drop_duplicates(detections: Iterable[Detection]) -> list[Detection]:
    """Each hand once, by its best score; best first."""
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda d: d.score, reverse=True):
        if not any(is_same_hand(candidate, other) for other in kept):
            kept.append(candidate)
    return kept
