"""Errors of hands against their truth, by the definitions of the benchmarks (numpy)."""

from __future__ import annotations

import numpy as np


def procrustes_aligned(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N, 3) points moved onto (N, 3) target by the best rotation (no mirror), scale and shift."""
    centred, goal = points - points.mean(0), target - target.mean(0)
    U, singular, Vt = np.linalg.svd(goal.T @ centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    spread = float((centred**2).sum())
    scale = float((singular * signs).sum()) / spread if spread > 0.0 else 0.0
    return scale * centred @ (U * signs @ Vt).T + target.mean(0)


def mean_distance_m(points: np.ndarray, target: np.ndarray) -> float:
    """Mean Euclidean distance of corresponding points, m."""
    return float(np.linalg.norm(points - target, axis=1).mean())


def pa_error_m(points: np.ndarray, target: np.ndarray) -> float:
    """Mean distance after Procrustes alignment: PA-MPJPE of joints, PA-MPVPE of vertices, m."""
    return mean_distance_m(procrustes_aligned(points, target), target)
