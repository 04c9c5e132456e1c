"""Whether predicted deviations mean anything: do they rank the errors, are they as large?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

GAUSSIAN_SHARE = 0.6827
"""Share of errors within one deviation if they are Gaussian and the deviation is right."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Keypoints whose predicted deviations are alike."""

    samples: int
    predicted_mm: float
    """Root mean square of the predicted deviations."""
    actual_mm: float
    """Root mean square of the errors, per coordinate: equal to `predicted_mm` if calibrated."""
    within_one_stddev: float
    """Share of the bin's coordinates."""


@dataclass(frozen=True)
class CalibrationReport:
    """Predicted deviations against true errors."""

    samples: int
    """Keypoints."""
    rank_correlation: float | None
    """Spearman, of predicted deviation and length of the error; None if one of them is constant."""
    within_one_stddev: float
    """Share of coordinates; `GAUSSIAN_SHARE` if calibrated."""
    reliability: tuple[ReliabilityBin, ...]
    """By rising predicted deviation, equally many in each."""

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def calibration(error_m: np.ndarray, stddev_m: np.ndarray, *, bins: int = 10) -> CalibrationReport:
    """Compare predicted deviations with what they predict.

    Args:
        error_m: (..., 3) predicted minus true, m, in the frame that the deviations are meant in.
        stddev_m: (...) of each point's every coordinate, or (..., 3) of each coordinate, m.
        bins: rows of the reliability table; fewer where there are fewer points.
    """
    if stddev_m.shape not in (error_m.shape[:-1], error_m.shape) or error_m.shape[-1] != 3:
        raise ValueError(
            f"error_m has shape {error_m.shape}, stddev_m {stddev_m.shape}; expected (..., 3) and "
            "one deviation for each point or each coordinate"
        )
    if error_m.size == 0:
        raise ValueError("no points to compare; expected at least one")
    if not (np.isfinite(error_m).all() and np.isfinite(stddev_m).all() and (stddev_m > 0.0).all()):
        raise ValueError("errors must be finite and deviations above 0; leave out unestimated ones")
    if stddev_m.shape != error_m.shape:
        stddev_m = np.broadcast_to(stddev_m[..., None], error_m.shape)
    error, stddev = error_m.reshape(-1, 3), stddev_m.reshape(-1, 3)  # (P, 3)
    within = np.abs(error) <= stddev  # (P, 3)
    spread = np.sqrt((stddev**2).mean(1))  # (P,)
    order = np.argsort(spread, kind="stable")
    table = tuple(
        ReliabilityBin(
            samples=len(rows),
            predicted_mm=1e3 * float(np.sqrt((stddev[rows] ** 2).mean())),
            actual_mm=1e3 * float(np.sqrt((error[rows] ** 2).mean())),
            within_one_stddev=float(within[rows].mean()),
        )
        for rows in np.array_split(order, min(bins, len(order)))
    )
    return CalibrationReport(
        samples=len(error),
        rank_correlation=rank_correlation(spread, np.linalg.norm(error, axis=1)),
        within_one_stddev=float(within.mean()),
        reliability=table,
    )


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's: correlation of the ranks of (N,) a and b, -1 to 1; None if one is constant."""
    ranks = _ranks(a), _ranks(b)
    if any(np.ptp(r) == 0.0 for r in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """(N,) ranks from 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[group]
