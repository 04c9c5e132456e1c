"""What a detector might say of a hand that is known: for models that see landmarks, no image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hand_mesh_ros.training.landmark_noise import LandmarkNoise


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Of one hand."""

    rays: np.ndarray
    """(21, 2) x/z, y/z in the camera; NaN where missing."""
    confidence: np.ndarray
    """(21,) from 0 (missing) to 1 (exact)."""


class LandmarkSource(Protocol):
    """Observes right hands; a left one is observed in a mirror."""

    def __call__(
        self, keypoints_camera_m: np.ndarray, focal_px: float, rng: np.random.Generator
    ) -> Landmarks:
        """Landmarks of (21, 3) true keypoints, m, "detector" convention, camera frame."""
        ...


def exact_landmarks(
    keypoints_camera_m: np.ndarray, focal_px: float, rng: np.random.Generator
) -> Landmarks:
    """A detector that makes no errors."""
    return Landmarks(keypoints_camera_m[:, :2] / keypoints_camera_m[:, 2:], np.ones(21))


class MeasuredLandmarks:
    """A detector with the errors that were measured, of the hands that training never sees."""

    def __init__(self) -> None:
        """Read them; raises OSError where the package is not complete."""
        self._noise = LandmarkNoise.load(held_out=True)

    def __call__(
        self, keypoints_camera_m: np.ndarray, focal_px: float, rng: np.random.Generator
    ) -> Landmarks:
        """See `LandmarkSource`."""
        seen = self._noise.observe(keypoints_camera_m[None], np.array([focal_px]), rng)
        return Landmarks(seen.rays[0], seen.confidence[0])
