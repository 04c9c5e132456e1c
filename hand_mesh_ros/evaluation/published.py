"""A result beside the published ones of its data set, as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hand_mesh_ros.evaluation import published_tables as tables
from hand_mesh_ros.evaluation.published_tables import SECOND_HAND

_HEADINGS = {
    "pa_mpjpe_mm": "PA-MPJPE mm",
    "pa_mpvpe_mm": "PA-MPVPE mm",
    "mpjpe_mm": "MPJPE mm",
    "mpvpe_mm": "MPVPE mm",
    "st_mpjpe_mm": "MPJPE (scale, shift) mm",
    "cs_mpjpe_mm": "CS-MPJPE mm",
    "f_at_5mm": "F@5",
    "f_at_15mm": "F@15",
    "auc": "AUC",
    "auc_vertices": "AUC mesh",
    "cs_auc": "AUC unaligned",
    "cs_auc_vertices": "AUC mesh unaligned",
    "pck_all": "PCK@0.05",
    "pck_visible": "PCK@0.05 visible",
    "pck_occluded": "PCK@0.05 occluded",
}
"""Report keys that papers print, in the order of the table's columns."""


@dataclass(frozen=True)
class Result:
    """What one method reached on one data set."""

    method: str
    dataset: str
    metrics: dict[str, float]
    """By report key; only what was printed."""
    source: str
    """Where it was read; `SECOND_HAND` if not in a paper."""


def _collect() -> tuple[Result, ...]:
    results = []
    for dataset, blocks in (
        ("freihand", (tables.FREIHAND, tables.FREIHAND_AUC, tables.FREIHAND_CAMERA)),
        ("ho3d_v2", (tables.HO3D_V2, tables.HO3D_V2_SCALE_TRANSLATION, tables.HO3D_CAMERA)),
        ("ho3d_v3", (tables.HO3D_V3,)),
        ("dexycb", (tables.DEXYCB,)),
    ):
        for names, rows in blocks:
            for method, source, *values in rows:
                pairs = zip(names, values, strict=True)
                metrics = {name: value for name, value in pairs if value is not None}
                results.append(Result(method, dataset, metrics, source))
    for column, dataset in enumerate(tables.HINT_PARTS):
        by_method: dict[tuple[str, str], dict[str, float]] = {}
        for name, rows in tables.HINT.items():
            for method, source, *values in rows:
                if values[column] is not None:
                    by_method.setdefault((method, source), {})[name] = values[column]
        results += [Result(m, dataset, metrics, s) for (m, s), metrics in by_method.items()]
    return tuple(results)


PUBLISHED = _collect()
PUBLISHED_DATASETS = tuple(dict.fromkeys(result.dataset for result in PUBLISHED))


@dataclass(frozen=True)
class Comparison:
    """Own and published results on one data set, best first."""

    dataset: str
    columns: tuple[str, ...]
    """Report keys that both sides have."""
    rows: tuple[Result, ...]
    own: Result

    def as_json(self) -> dict[str, Any]:
        """Rows as objects; `own` marks ours, a metric that was not printed is null."""
        return {
            "dataset": self.dataset,
            "rows": [
                {
                    "method": row.method,
                    "source": row.source,
                    "own": row is self.own,
                    **{name: row.metrics.get(name) for name in self.columns},
                }
                for row in self.rows
            ],
        }

    def as_markdown(self) -> str:
        """A table with our row in bold."""
        headings = ("Method", *(_HEADINGS[name] for name in self.columns), "Source")
        alignment = ("---", *("---:" for _ in self.columns), "---")
        lines = [_line(headings), _line(alignment)]
        for row in self.rows:
            mark = "**" if row is self.own else ""
            cells = (row.method, *(self._cell(row, name) for name in self.columns), row.source)
            lines.append(_line(tuple(f"{mark}{cell}{mark}" if cell else "" for cell in cells)))
        text = "\n".join(lines) + "\n"
        if any(row.source == SECOND_HAND for row in self.rows):
            text += f"\n{SECOND_HAND}: not read in the paper itself, check before quoting.\n"
        return text

    def _cell(self, row: Result, name: str) -> str:
        value = row.metrics.get(name)
        if value is None:
            return ""
        if name.endswith("_mm"):  # papers' figures with the digits they have
            return f"{value:.2f}" if row is self.own else str(value)
        return f"{value:.3f}"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def compared(
    dataset: str, method: str, metrics: Mapping[str, Any], *, source: str = "measured here"
) -> Comparison:
    """Put a result into the table of its data set.

    Args:
        dataset: one of `PUBLISHED_DATASETS`.
        method: what to call the result.
        metrics: a report, such as `EvaluationSummary.as_json()`; keys that no paper prints and
            those that are None are left out.
        source: stands in the table's last column.

    Raises:
        ValueError: unknown data set, or nothing that could be compared.
    """
    if dataset not in PUBLISHED_DATASETS:
        raise ValueError(
            f"no published results for {dataset!r}; there are some for "
            f"{', '.join(PUBLISHED_DATASETS)}"
        )
    published = [result for result in PUBLISHED if result.dataset == dataset]
    printed = {name for result in published for name in result.metrics}
    own_metrics = {n: float(metrics[n]) for n in printed if metrics.get(n) is not None}
    if not own_metrics:
        raise ValueError(
            f"nothing to compare: papers print {', '.join(sorted(printed))} for {dataset}, the "
            f"result has {', '.join(sorted(metrics)) or 'nothing'}"
        )
    columns = tuple(name for name in _HEADINGS if name in own_metrics)
    own = Result(method, dataset, own_metrics, source)
    rows = [r for r in published if any(name in r.metrics for name in columns)]
    return Comparison(
        dataset, columns, tuple(sorted([*rows, own], key=lambda r: _rank(r, columns))), own
    )


def _rank(result: Result, columns: tuple[str, ...]) -> tuple[int, float]:
    """Sorts by the first column that a result has, the best first."""
    for i, name in enumerate(columns):
        if name in result.metrics:
            value = result.metrics[name]
            return i, value if name.endswith("_mm") else -value
    return len(columns), 0.0
