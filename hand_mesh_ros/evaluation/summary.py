"""What an evaluation found: means over all hands, under stable names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hand_mesh_ros.evaluation.hand_errors import HandErrors


def joined(batches: Sequence[HandErrors]) -> HandErrors:
    """All batches of one evaluation as one; a metric that one of them lacks is None."""
    if not batches:
        raise ValueError("no hands were evaluated; expected at least one")
    columns = {}
    for name in (f.name for f in fields(HandErrors)):
        parts = [getattr(batch, name) for batch in batches]
        columns[name] = None if any(p is None for p in parts) else np.concatenate(parts)
    return HandErrors(**columns)


@dataclass(frozen=True)
class EvaluationSummary:
    """Means over all hands, under the names that reports keep; None: not measurable here."""

    samples: int
    """Hands that the means are over."""
    missed: int
    """Hands that got no answer; the means know nothing of them."""
    pa_mpjpe_mm: float | None
    pa_mpvpe_mm: float | None
    mpjpe_mm: float | None
    mpvpe_mm: float | None
    st_mpjpe_mm: float | None
    root_error_mm: float | None
    root_error_share: float | None
    root_error_known_length_mm: float | None
    cs_mpjpe_mm: float | None
    cs_mpvpe_mm: float | None
    f_at_5mm: float | None
    f_at_15mm: float | None
    auc: float | None
    auc_vertices: float | None
    cs_auc: float | None
    cs_auc_vertices: float | None
    distributions: dict[str, dict[str, float]]
    """Median, p90 and p99 over hands of every metric above that was measured."""

    def as_json(self) -> dict[str, Any]:
        """Plain numbers; a metric that was not measurable stays, as null."""
        return asdict(self)


METRIC_NAMES = tuple(
    f.name
    for f in fields(EvaluationSummary)
    if f.name not in ("samples", "missed", "distributions")
)


def summarised(errors: HandErrors, *, missed: int = 0) -> EvaluationSummary:
    """Means and distributions over all hands of an evaluation."""
    measured = {name: getattr(errors, name) for name in METRIC_NAMES}
    means = {n: None if v is None else float(v.mean()) for n, v in measured.items()}
    distributions = {
        name: {
            key: float(value)
            for key, value in zip(
                ("median", "p90", "p99"), np.percentile(values, (50, 90, 99)), strict=True
            )
        }
        for name, values in measured.items()
        if values is not None
    }
    return EvaluationSummary(
        samples=len(errors), missed=missed, distributions=distributions, **means
    )


def unmeasured(*, samples: int, missed: int) -> EvaluationSummary:
    """Of an evaluation without a 3D error: 2D labels alone, or no hand was answered."""
    return EvaluationSummary(
        samples=samples, missed=missed, distributions={}, **dict.fromkeys(METRIC_NAMES)
    )
