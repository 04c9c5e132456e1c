"""A detector without a camera: landmarks of two synthetic hands that come and go."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.detection.base import LANDMARK_STDDEV
from hand_mesh_ros.sources.base import NS_PER_S
from hand_mesh_ros.sources.synthetic import SyntheticCamera
from hand_mesh_ros.types import Detection

RATE_HZ = 30.0
SEEN_S, AWAY_S = (0.5, 8.0), (0.1, 2.0)
"""Shortest and longest time that a hand is in the image, and out of it."""


class RecordedHands:
    """Implements `Detector`: true landmarks with MediaPipe's noise; the image is not looked at.

    The right hand keeps to the left half of the image and the left one to the other, so whoever
    reads what is published knows which hand it was.
    """

    def __init__(self, *, width: int, height: int, start_ns: int, seed: int = 0, period_s=60.0):
        synthetic = SyntheticCamera(width, height, hands=2, seed=seed)
        self.camera = synthetic.camera
        self._start_ns = start_ns
        self._rng = np.random.default_rng(seed)
        times_s = np.arange(0.0, period_s, 1.0 / RATE_HZ)
        self._paths_px = [
            np.array([p.at(t, self.camera, 0).keypoints_px for t in times_s])
            for p in synthetic._performers
        ]
        self._until_ns = [start_ns, start_ns]
        self._is_seen = [False, False]
        self.seen = (False, False)
        """Right and left hand in the last image."""

    def detect(self, image_rgb, stamp_ns):
        """Landmarks at the image's time; the recording goes forth and back."""
        index = round((stamp_ns - self._start_ns) * RATE_HZ / NS_PER_S)
        detections = []
        for i, (path, side) in enumerate(zip(self._paths_px, (Side.RIGHT, Side.LEFT), strict=True)):
            self._come_and_go(i, stamp_ns)
            if self._is_seen[i]:
                rounds, at = divmod(index, len(path))
                detections.append(self._detection(path[-1 - at if rounds % 2 else at], side))
        self.seen = tuple(self._is_seen)
        return detections

    def reset(self):
        """Nothing to forget."""

    def close(self):
        """Nothing to free."""

    def _come_and_go(self, hand, stamp_ns):
        while stamp_ns >= self._until_ns[hand]:
            self._is_seen[hand] = not self._is_seen[hand]
            stay_s = self._rng.uniform(*(SEEN_S if self._is_seen[hand] else AWAY_S))
            self._until_ns[hand] += round(stay_s * NS_PER_S)

    def _detection(self, keypoints_px, side):
        stddev_px = LANDMARK_STDDEV * float(np.ptp(keypoints_px, axis=0).max())
        noisy = keypoints_px + self._rng.normal(0.0, stddev_px, (21, 2))
        return Detection(
            side=side,
            side_score=0.95,
            score=0.9,
            keypoints_px=noisy,
            keypoints_rel_m=None,
            box_px=np.concatenate([noisy.min(0), noisy.max(0)]),
        )
