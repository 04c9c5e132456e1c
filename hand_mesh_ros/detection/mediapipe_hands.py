"""Hands by MediaPipe: when to search, when to pad, and its output in this package's terms."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hand_mesh_ros.detection.duplicates import drop_duplicates, is_same_hand
from hand_mesh_ros.detection.mediapipe_graph import HandGraph, RawHand
from hand_mesh_ros.detection.mediapipe_task import HandTask
from hand_mesh_ros.detection.padded_view import PaddedView
from hand_mesh_ros.types import Detection

SEARCH_PERIOD_NS = 250_000_000
"""While a hand is tracked and more are allowed, how often the palm detector looks for another."""
PADDED_TRY_PERIOD = 5
"""While no hand is seen, every how many images the padded view is tried as well."""


class _Engine(Protocol):
    def process(self, image: np.ndarray, *, search: bool, forget: bool) -> list[RawHand]: ...

    def close(self) -> None: ...


class MediaPipeHands:
    """A `Detector`: palms are searched for only where tracked landmarks leave room for a hand."""

    def __init__(
        self,
        max_hands: int = 2,
        min_hand_detection_confidence: float = 0.5,
        min_tracking_confidence: float = 0.5,
        hand_landmarker_task: str = "",
    ) -> None:
        """Load the models (mediapipe is imported here, not before).

        Args:
            max_hands: 1 or more.
            min_hand_detection_confidence: 0 to 1, of the palm detector.
            min_tracking_confidence: 0 to 1, hand presence below which a hand is lost.
            hand_landmarker_task: path of MediaPipe's `hand_landmarker.task`; empty for the models
                in the wheel of mediapipe 0.10.21. With a file, `Detection.score` is the score of
                the side, for want of a better one, and the palm detector rests less.

        Raises:
            ImportError: no mediapipe, or one that brings no models and was given none.
            FileNotFoundError, ValueError: the file is missing or not what it should be.
        """
        if max_hands < 1:
            raise ValueError(f"max_hands is {max_hands}; expected 1 or more")
        for name, value in (
            ("min_hand_detection_confidence", min_hand_detection_confidence),
            ("min_tracking_confidence", min_tracking_confidence),
        ):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}; expected 0 to 1")
        self._max_hands = max_hands
        self._engine: _Engine | None
        if hand_landmarker_task:
            self._engine = HandTask(
                task_file=hand_landmarker_task,
                max_hands=max_hands,
                palm_threshold=min_hand_detection_confidence,
                presence_threshold=min_tracking_confidence,
            )
        else:
            self._engine = HandGraph(
                max_hands=max_hands,
                palm_threshold=min_hand_detection_confidence,
                presence_threshold=min_tracking_confidence,
            )
        self.searches = 0
        """How often the palm detector was allowed to run so far."""
        self.reset()

    def reset(self) -> None:
        """Forget earlier images."""
        self._hands: list[Detection] = []
        self._padded = False
        self._empty_images = 0
        self._searched_ns: int | None = None
        self._last: tuple[int, tuple[int, ...]] | None = None

    def close(self) -> None:
        """Free the models; safe to call twice."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def detect(self, image_rgb: np.ndarray, stamp_ns: int) -> list[Detection]:
        """Find the hands of one image (see `Detector`).

        Raises:
            ValueError: the image is not (H, W, 3) uint8.
            RuntimeError: the detector is closed.
        """
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
            raise ValueError(
                f"image is {image_rgb.shape} {image_rgb.dtype}; expected (H, W, 3) uint8 RGB"
            )
        # Landmarks are remembered as fractions of the image: useless in one of another size.
        if self._last and (stamp_ns < self._last[0] or image_rgb.shape != self._last[1]):
            self.reset()
        self._last = (stamp_ns, image_rgb.shape)
        image = np.ascontiguousarray(image_rgb)

        hands: list[Detection] = []
        if self._hands:
            hands = self._look(image, stamp_ns, self._padded, self._search_is_due(stamp_ns), False)
        if not hands:
            hands, self._padded = self._look(image, stamp_ns, False, True, True), False
            if not hands and self._empty_images % PADDED_TRY_PERIOD == 0:
                hands, self._padded = self._look(image, stamp_ns, True, True, True), True
        if len(hands) < len(self._hands):
            self._searched_ns = None  # one was lost: search at once, not after the period
        self._empty_images = 0 if hands else self._empty_images + 1
        self._hands = hands
        return hands

    def _search_is_due(self, stamp_ns: int) -> bool:
        if len(self._hands) >= self._max_hands:
            return False
        return self._searched_ns is None or stamp_ns - self._searched_ns >= SEARCH_PERIOD_NS

    def _look(
        self, image: np.ndarray, stamp_ns: int, padded: bool, search: bool, forget: bool
    ) -> list[Detection]:
        if self._engine is None:
            raise RuntimeError("the detector is closed")
        if search:
            self.searches += 1
            self._searched_ns = stamp_ns
        view = PaddedView.of(image) if padded else None
        pixels = view.image if view else image
        size_px = np.array([pixels.shape[1], pixels.shape[0]])
        found = []
        for hand in self._engine.process(pixels, search=search, forget=forget):
            # A fraction of 0 is the centre of the first pixel, not its edge: MediaPipe cuts its
            # crops so. An image and the same turned by 180 degrees agree to 0.02 px like this;
            # with the half pixel of other libraries they would be 1 px apart.
            points_px = hand.keypoints * size_px
            found.append(_detection(hand, view.to_source(points_px) if view else points_px))
        return self._at_most_max(drop_duplicates(d for d in found if d is not None))

    def _at_most_max(self, hands: list[Detection]) -> list[Detection]:
        """Hands of the last image first: a third hand must not push out one that is tracked."""
        hands = sorted(hands, key=lambda h: not any(is_same_hand(h, old) for old in self._hands))
        return hands[: self._max_hands]


def _detection(hand: RawHand, keypoints_px: np.ndarray) -> Detection | None:
    if not (np.isfinite(keypoints_px).all() and np.isfinite(hand.keypoints_rel_m).all()):
        return None
    return Detection(
        side=hand.side,
        side_score=hand.side_score,
        score=hand.score,
        keypoints_px=keypoints_px,
        keypoints_rel_m=hand.keypoints_rel_m,
        box_px=np.concatenate([keypoints_px.min(axis=0), keypoints_px.max(axis=0)]),
    )
