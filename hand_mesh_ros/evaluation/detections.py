"""One detector for all models of an evaluation, and which of its hands is the labelled one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.detection.base import Detector
from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands
from hand_mesh_ros.training.datasets.base import HandSample
from hand_mesh_ros.types import Detection

MAX_HANDS = 4
"""Pictures of data sets show several people; the labelled hand is picked from what is found."""
REMEMBERED = 64
"""Images whose detections are kept for the next model: at least a batch."""
MIN_OVERLAP = 0.5
"""Of the smaller box: labelled boxes are tight in one data set, and whole images in another."""

_Hand = TypeVar("_Hand")


class SharedDetector:
    """A `Detector` to which every image is the first of its stream, and that looks at it once."""

    def __init__(self, make: Callable[[], Detector] | None = None) -> None:
        """Choose the detector that `make` gives; it is made when first needed."""
        self._make = make or (lambda: MediaPipeHands(max_hands=MAX_HANDS))
        self._detector: Detector | None = None
        self._seen: deque[tuple[np.ndarray, list[Detection]]] = deque(maxlen=REMEMBERED)

    def open(self) -> Detector:
        """Make the detector, if it is not there yet; raises what its constructor raises."""
        if self._detector is None:
            self._detector = self._make()
        return self._detector

    def detect(self, image_rgb: np.ndarray, stamp_ns: int) -> list[Detection]:
        """All hands; asked again about the same array, the same ones."""
        for image, found in self._seen:
            if image is image_rgb:
                return found
        detector = self.open()
        detector.reset()
        found = detector.detect(image_rgb, stamp_ns)
        self._seen.append((image_rgb, found))
        return found

    def reset(self) -> None:
        """Nothing to forget: no image has a predecessor here."""

    def close(self) -> None:
        """Free the detector."""
        if self._detector is not None:
            self._detector.close()
            self._detector = None


def labelled_one(
    hands: Iterable[_Hand],
    labels: HandSample,
    *,
    box_px: Callable[[_Hand], np.ndarray],
    side: Callable[[_Hand], Side],
) -> _Hand | None:
    """The hand that lies on the labelled one; of two, the one of the right side, then the nearer.

    Args:
        hands: found in the image.
        labels: whose box and side count.
        box_px: (4,) x0 y0 x1 y1 of a hand.
        side: of a hand; it may be the wrong one where nothing better is there.
    """
    box = labels.box_px
    known = labels.keypoints_px[labels.keypoints_valid]
    if len(known):  # some data sets' boxes are wide
        box = np.concatenate([known.min(0), known.max(0)])
    found = [hand for hand in hands if overlap(box_px(hand), box) >= MIN_OVERLAP]
    middle = 0.5 * (box[:2] + box[2:])

    def rank(hand: _Hand) -> tuple[bool, float]:
        theirs = box_px(hand)
        distance = float(np.linalg.norm(0.5 * (theirs[:2] + theirs[2:]) - middle))
        return labels.side is not None and side(hand) is not labels.side, distance

    return min(found, key=rank, default=None)


def overlap(a_px: np.ndarray, b_px: np.ndarray) -> float:
    """Area common to two boxes as a share of the smaller one's, 0 to 1."""
    common = np.minimum(a_px[2:], b_px[2:]) - np.maximum(a_px[:2], b_px[:2])
    if (common <= 0.0).any():
        return 0.0
    return float(common.prod() / min((a_px[2:] - a_px[:2]).prod(), (b_px[2:] - b_px[:2]).prod()))
