"""An evaluation as JSON with stable keys, as Markdown for people, and as a folder of plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hand_mesh_ros.evaluation.plots import (
    plot_error_by_joint,
    plot_error_by_view,
    plot_pck,
    plot_reliability,
    plot_worst_cases,
)
from hand_mesh_ros.evaluation.published import Comparison, compared
from hand_mesh_ros.evaluation.runner import Evaluation
from hand_mesh_ros.evaluation.samples import EvaluationSet
from hand_mesh_ros.evaluation.tally import ModelResult, Pck2d
from hand_mesh_ros.evaluation.worst_cases import case_pictures, worst

WORST_CASES = 12
_OF_CALIBRATION = ("rank_correlation", "within_one_stddev")
_COLUMNS = {
    "samples": ("hands", "{:d}"),
    "missed": ("missed", "{:d}"),
    "wrong_side": ("wrong side", "{:d}"),
    "pa_mpjpe_mm": ("PA-MPJPE mm", "{:.2f}"),
    "pa_mpvpe_mm": ("PA-MPVPE mm", "{:.2f}"),
    "mpjpe_mm": ("MPJPE mm", "{:.2f}"),
    "root_error_mm": ("root mm", "{:.1f}"),
    "root_error_share": ("root, of distance", "{:.1%}"),
    "f_at_5mm": ("F@5", "{:.3f}"),
    "f_at_15mm": ("F@15", "{:.3f}"),
    "auc": ("AUC", "{:.3f}"),
    "pck_all": ("PCK@0.05", "{:.3f}"),
    "pck_visible": ("PCK@0.05 visible", "{:.3f}"),
    "pck_occluded": ("PCK@0.05 occluded", "{:.3f}"),
    "rank_correlation": ("deviation's rank corr.", "{:.2f}"),
    "within_one_stddev": ("within 1 deviation", "{:.1%}"),
}
"""Heading and format of each figure in the table, in order; empty columns are left out."""


def model_figures(result: ModelResult) -> dict[str, Any]:
    """One model's part of the report; what could not be measured is null."""
    return {
        "model": result.name,
        **result.summary.as_json(),
        "wrong_side": result.wrong_side,
        "keypoint_convention": result.keypoint_convention,
        "true_keypoint_convention": result.true_keypoint_convention,
        **asdict(result.pck or Pck2d(None, None, None)),
        "calibration": None if result.calibration is None else result.calibration.as_json(),
    }


def comparison(result: ModelResult, benchmark: str | None) -> Comparison | None:
    """The result in the table of its benchmark; None where there is none or nothing to compare."""
    if benchmark is None or not result.summary.samples:
        return None
    source = f"measured here, {result.summary.samples} hands"
    if result.keypoint_convention != result.true_keypoint_convention:
        source += f", {result.keypoint_convention} keypoints"
    figures = model_figures(result)
    try:
        return compared(benchmark, result.name, figures, source=source)
    except ValueError:  # a benchmark whose papers print nothing that was measured here
        return None


def report_json(
    evaluation: Evaluation, *, about: dict[str, Any], benchmark: str | None
) -> dict[str, Any]:
    """The whole report: one model's figures at the top, those of several under `models.NAME`.

    Args:
        evaluation: what was measured.
        about: what was asked for: data set, seed and so on.
        benchmark: of `benchmark_of`.
    """
    figures = {}
    for result in evaluation.results:
        beside = comparison(result, benchmark)
        figures[result.name] = model_figures(result) | {
            "published": None if beside is None else beside.as_json()
        }
    losses = evaluation.losses
    top = {
        **about,
        "hands": evaluation.hands,
        "unlabelled": evaluation.unlabelled,
        "without_hand": losses.without_hand,
        "corrupt_images": len(losses.corrupt_images),
        "corrupt_image_errors": losses.corrupt_images,
    }
    if len(figures) == 1:
        return top | next(iter(figures.values()))
    return top | {"models": figures}


def table(evaluation: Evaluation) -> str:
    """Markdown: a row for each model."""
    rows = {}
    for result in evaluation.results:
        figures = model_figures(result)
        calibration = figures["calibration"] or {}
        rows[result.name] = figures | {name: calibration.get(name) for name in _OF_CALIBRATION}
    measured = [n for n in _COLUMNS if any(row.get(n) is not None for row in rows.values())]
    return markdown_table(
        ["Model", "keypoints", *(_COLUMNS[name][0] for name in measured)],
        [
            [
                name,
                conventions(row),
                *(cell(row.get(column), _COLUMNS[column][1]) for column in measured),
            ]
            for name, row in rows.items()
        ],
        texts=2,
    )


def markdown_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1
) -> str:
    """The first columns hold so many texts, the others numbers."""
    rule = ["---" if i < texts else "---:" for i in range(len(headings))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [headings, rule, *rows]) + "\n"


def cell(value: float | None, form: str) -> str:
    """A figure of a table; empty where there is none."""
    return "" if value is None else form.format(value)


def conventions(row: dict[str, Any]) -> str:
    """Which 21 points were compared with which, of a row of `model_figures`."""
    own, true = row["keypoint_convention"], row["true_keypoint_convention"]
    return own if own == true else f"{own}, truth {true}"


def write_plots(folder: Path, evaluation: Evaluation, samples: EvaluationSet) -> list[Path]:
    """PCK of all models in one picture; errors by joint and view, calibration and worst of each.

    Returns:
        The files written; a model without errors in 3D has none but its worst cases.
    """
    written = []
    measured = {r.name: r.errors for r in evaluation.results if r.errors is not None}
    if measured:
        curves = {name: 1e-3 * errors.pa_keypoints_mm for name, errors in measured.items()}
        written.append(folder / "pck.png")
        plot_pck(written[-1], curves)
    for result in evaluation.results:
        own = folder / result.name.replace(":", "_").replace("/", "_")
        if result.errors is not None and result.view_angles_deg is not None:
            written.append(own / "error_by_joint.png")
            plot_error_by_joint(written[-1], result.errors.pa_keypoints_mm)
            written.append(own / "error_by_view.png")
            plot_error_by_view(written[-1], result.view_angles_deg, result.errors.pa_mpjpe_mm)
        if result.calibration is not None:
            written.append(own / "calibration.png")
            plot_reliability(written[-1], result.calibration)
        cases = worst(result.cases, WORST_CASES)
        if cases:
            pictures, captions = case_pictures(cases, samples, result.keypoint_convention)
            written.append(own / "worst_cases.png")
            plot_worst_cases(written[-1], pictures, captions)
    return written
