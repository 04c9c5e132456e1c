"""Errors of hands against their truth, by the definitions of the benchmarks (numpy).

Points are (..., N, 3), m: one hand, or any batch of hands. Keypoints are in the order of
`conventions`, so 0 is the wrist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.conventions import FINGERS

AUC_THRESHOLDS_M = np.linspace(0.0, 0.05, 100)
"""Of FreiHAND, HO3D and DexYCB."""
HINT_THRESHOLD = 0.05
"""Of the side of the hand's box: the threshold that papers quote for HInt."""
_MIDDLE_MCP = 9
_MIDDLE_CHAIN = [0, *(4 * FINGERS.index("middle") + k for k in (1, 2, 3, 4))]


@dataclass(frozen=True, slots=True)
class Similarity:
    """x -> scale R x + offset, for every hand of a batch."""

    scale: np.ndarray
    """(...), above 0 unless the points had no extent."""
    R: np.ndarray
    """(..., 3, 3), never a mirror."""
    offset: np.ndarray
    """(..., 3), m."""

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., N, 3) points moved."""
        turned = points @ np.swapaxes(self.R, -1, -2)
        return self.scale[..., None, None] * turned + self.offset[..., None, :]


def procrustes(points: np.ndarray, target: np.ndarray) -> Similarity:
    """Best rotation (no mirror), scale and shift of (..., N, 3) points onto their targets.

    FreiHAND's script lets its rotation be a mirror; only a hand that is better mirrored differs.
    """
    mean, goal_mean = points.mean(-2), target.mean(-2)
    centred, goal = points - mean[..., None, :], target - goal_mean[..., None, :]
    U, singular, Vt = np.linalg.svd(np.swapaxes(goal, -1, -2) @ centred)
    signs = np.ones_like(singular)
    signs[..., 2] = np.sign(np.linalg.det(U @ Vt))
    R = U * signs[..., None, :] @ Vt  # (..., 3, 3)
    spread = (centred**2).sum((-2, -1))
    scale = np.where(spread > 0.0, (singular * signs).sum(-1) / np.where(spread > 0, spread, 1), 0)
    offset = goal_mean - scale[..., None] * (R @ mean[..., None])[..., 0]
    return Similarity(scale, R, offset)


def procrustes_aligned(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(..., N, 3) points moved onto target by the best rotation (no mirror), scale and shift."""
    return procrustes(points, target).apply(points)


def scale_translation_aligned(keypoints: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(..., 21, 3) keypoints with the target's palm length and wrist; nothing is turned.

    HO3D's second alignment; the palm is the bone from the wrist to the root of the middle finger.
    """
    wrist, true_wrist = keypoints[..., :1, :], target[..., :1, :]
    palm = np.linalg.norm(keypoints[..., _MIDDLE_MCP, :] - wrist[..., 0, :], axis=-1)
    true_palm = np.linalg.norm(target[..., _MIDDLE_MCP, :] - true_wrist[..., 0, :], axis=-1)
    # HO3D's script does not divide by a palm of length 0 either.
    scale = np.where(palm > 0.0, true_palm / np.where(palm > 0.0, palm, 1.0), true_palm)
    return scale[..., None, None] * (keypoints - wrist) + true_wrist


def distances_m(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(..., N) Euclidean distances of corresponding points, m."""
    return np.linalg.norm(points - target, axis=-1)


def hand_length_m(keypoints: np.ndarray) -> np.ndarray:
    """(...) m, from the wrist along the middle finger of (..., 21, 3): the flat hand's length."""
    bones = np.diff(keypoints[..., _MIDDLE_CHAIN, :], axis=-2)  # (..., 4, 3)
    return np.linalg.norm(bones, axis=-1).sum(-1)


def mean_distance_m(points: np.ndarray, target: np.ndarray) -> float:
    """Mean Euclidean distance of corresponding points, m."""
    return float(distances_m(points, target).mean())


def pa_error_m(points: np.ndarray, target: np.ndarray) -> float:
    """Mean distance after Procrustes alignment: PA-MPJPE of joints, PA-MPVPE of vertices, m."""
    return mean_distance_m(procrustes_aligned(points, target), target)


def nearest_distances_m(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) from each point to the nearest target; (M,) from each target to the nearest point."""
    squared = np.zeros((len(points), len(target)))
    for axis in range(3):  # an (N, M, 3) array is slower, and |a|^2 - 2ab + |b|^2 loses digits
        squared += (points[:, None, axis] - target[None, :, axis]) ** 2
    return np.sqrt(squared.min(1)), np.sqrt(squared.min(0))


def f_scores(points: np.ndarray, target: np.ndarray, thresholds_m: tuple[float, ...]) -> np.ndarray:
    """(T,) harmonic means of precision and recall of (N, 3) points at each threshold.

    Precision is the share of points nearer to a target than the threshold, recall the share of
    targets nearer to a point; at exactly the threshold is not nearer.
    """
    to_target, to_point = nearest_distances_m(points, target)
    scores = []
    for threshold_m in thresholds_m:
        precision, recall = (to_target < threshold_m).mean(), (to_point < threshold_m).mean()
        both = precision + recall
        scores.append(2.0 * precision * recall / both if both > 0.0 else 0.0)
    return np.array(scores)


def pck_curve(distances: np.ndarray) -> np.ndarray:
    """(..., 100) share of (..., K) distances (m) at or below each of `AUC_THRESHOLDS_M`."""
    return np.stack([(distances <= t).mean(-1) for t in AUC_THRESHOLDS_M], axis=-1)


def auc(distances: np.ndarray) -> np.ndarray:
    """(...) area under the PCK curve of (..., K) distances (m) as a share of the whole, 0 to 1.

    The mean over hands equals the benchmarks' mean over keypoints, as every hand has all of them.
    """
    curve = pck_curve(distances)
    steps = np.diff(AUC_THRESHOLDS_M)
    area = (0.5 * (curve[..., 1:] + curve[..., :-1]) * steps).sum(-1)
    return area / (AUC_THRESHOLDS_M[-1] - AUC_THRESHOLDS_M[0])


def hint_pck(
    keypoints_px: np.ndarray,
    target_px: np.ndarray,
    *,
    box_side_px: np.ndarray,
    confidence: np.ndarray,
    threshold: float = HINT_THRESHOLD,
) -> float | None:
    """Share of labelled 2D keypoints within `threshold` box sides, as HInt counts it.

    The rate of each keypoint over the hands that have it, then the mean over keypoints.

    Args:
        keypoints_px: (B, 21, 2) predicted, px.
        target_px: (B, 21, 2) labelled, px.
        box_side_px: (B,) side of the square box around each hand, before any padding of the crop.
        confidence: (B, 21); labels at or below 0.5 do not count. Choose visible or occluded ones
            by setting the others to 0.
        threshold: share of the box side.

    Returns:
        0 to 1; None where no keypoint is labelled.
    """
    shares = distances_m(keypoints_px, target_px) / box_side_px[:, None]  # (B, 21)
    counts = confidence > 0.5
    labelled = counts.sum(0)  # (21,)
    hits = ((shares <= threshold) & counts).sum(0)
    seen = labelled > 0
    return float((hits[seen] / labelled[seen]).mean()) if seen.any() else None
