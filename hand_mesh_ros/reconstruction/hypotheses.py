"""Several plausible hands of one crop: which of them the landmarks allow, and how they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.camera_root import solve_root

USUAL_ERROR = 0.05
"""Of landmarks against a good hand, in units of the hand's root mean square size in the image."""
_WORST_RATIO = 2.0
"""A hand whose landmarks are off by more than so many times what the best hand's are is dropped."""
_LANDMARK_STDDEV_PX = 2.0


@dataclass(frozen=True, eq=False)
class PlausibleHands:
    """Which of several hands of one crop stay, the likeliest first."""

    rows: np.ndarray
    """(N,) their numbers among those that were given."""
    probability: np.ndarray
    """(N,) sum 1."""


def plausible_hands(
    score: np.ndarray, keypoints_m: np.ndarray, keypoints_px: np.ndarray, camera: Camera
) -> PlausibleHands:
    """Drop the hands that do not project onto the landmarks, and sort the others.

    Args:
        score: (H,) above 0, the network's probabilities.
        keypoints_m: (H, 21, 3) of the same hands, detector convention, camera axes, wrist at the
            origin.
        keypoints_px: (21, 2) landmarks in the raw image; NaN where one is missing.
        camera: that took it.

    Raises:
        ValueError: the numbers of hands differ, there is none, or a score is not above 0.
    """
    count = len(score)
    if count == 0 or len(keypoints_m) != count:
        raise ValueError(
            f"score, keypoints_m are of {count}, {len(keypoints_m)} hands, expected the same "
            "number from 1 on"
        )
    if not (np.isfinite(score).all() and (score > 0.0).all()):
        raise ValueError(f"score is {score}, expected numbers above 0")
    errors = [reprojection_error(points, keypoints_px, camera) for points in keypoints_m]
    rows = np.flatnonzero(reprojects_well(np.array(errors)))
    rows = rows[np.argsort(-score[rows], kind="stable")]
    return PlausibleHands(rows, score[rows] / score[rows].sum())


def reprojection_error(keypoints_m: np.ndarray, keypoints_px: np.ndarray, camera: Camera) -> float:
    """Median distance of a hand's keypoints from the landmarks, where it fits them best.

    Args:
        keypoints_m: (21, 3) camera axes, wrist at the origin.
        keypoints_px: (21, 2) landmarks in the raw image; NaN where one is missing.
        camera: that took it.

    Returns:
        In units of the landmarks' root mean square distance from their middle; infinite where no
        place of the hand fits.
    """
    root = solve_root(keypoints_m, keypoints_px, camera, stddev_px=_LANDMARK_STDDEV_PX)
    if root is None:
        return np.inf
    distance = np.linalg.norm(
        camera.project(keypoints_m + root.t_camera_wrist) - keypoints_px, axis=1
    )
    spread = keypoints_px - np.nanmean(keypoints_px, axis=0)
    size = np.sqrt(np.nanmean((spread**2).sum(1)))
    return float(np.nanmedian(distance) / size)


def reprojects_well(errors: np.ndarray) -> np.ndarray:
    """(H,) bool of (H,) errors: not much worse than the best, or as good as landmarks are.

    Where nothing fits, the landmarks are no evidence against any of them: all stay.
    """
    best = errors.min()
    if not np.isfinite(best):
        return np.ones(len(errors), bool)
    return errors <= max(_WORST_RATIO * best, USUAL_ERROR)


def scatter_m(vertices_m: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(V,) m: standard deviation of one coordinate among (H, V, 3) hands of (H,) probabilities.

    About the hands' centres: where a hand is has deviations of its own.
    """
    about = vertices_m - vertices_m.mean(axis=1, keepdims=True)
    mean = np.einsum("h,hvc->vc", probability, about)
    return np.sqrt(np.einsum("h,hvc->v", probability, (about - mean) ** 2) / 3.0)
