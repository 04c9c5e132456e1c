"""A suite's figures as Markdown tables, whose models are rows, and as JSON with stable keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hand_mesh_ros import __version__
from hand_mesh_ros.evaluation.groups import (
    MOST_WORST_OVER_BEST,
    OCCLUSION,
    SIDE,
    SIZE,
    SKIN,
    VIEW,
    GroupFigures,
    Grouping,
    answered_by_all,
    figures_of,
    grouped,
    worst_over_best,
)
from hand_mesh_ros.evaluation.photographs import (
    PhotographFigures,
    Photographs,
    photograph_figures,
)
from hand_mesh_ros.evaluation.report import cell, conventions, markdown_table, model_figures
from hand_mesh_ros.evaluation.suite import PARTS, PartResult, SuiteSettings
from hand_mesh_ros.evaluation.tally import ModelResult

UNFAIR_MARK = " (!)"
"""Behind a ratio above `MOST_WORST_OVER_BEST`."""
_MAIN_COLUMNS = {
    "samples": ("hands", "{:d}"),
    "missed": ("missed", "{:d}"),
    "wrong_side": ("wrong side", "{:d}"),
    "pa_mpjpe_mm": ("PA-MPJPE mm", "{:.2f}"),
    "common_pa_mpjpe_mm": ("on hands that all answered", "{:.2f}"),
    "pa_mpvpe_mm": ("PA-MPVPE mm", "{:.2f}"),
    "mpjpe_mm": ("MPJPE mm", "{:.2f}"),
    "f_at_5mm": ("F@5", "{:.3f}"),
    "f_at_15mm": ("F@15", "{:.3f}"),
    "root_error_mm": ("root mm", "{:.1f}"),
    "root_error_known_length_mm": ("root mm, length known", "{:.1f}"),
}


def suite_tables(parts: Sequence[PartResult]) -> str:
    """Markdown of all parts, with a line for everything that is not in it."""
    return "\n".join([*(_TABLES[part.name](part) for part in parts), *_left_out(parts)])


def _left_out(parts: Sequence[PartResult]) -> list[str]:
    """A line for each model and reason."""
    missing: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        for model, why in part.left_out.items():
            missing.setdefault((model, why), []).append(part.name)
    return [
        f"- {model} not in {', '.join(names)}: {why}" for (model, why), names in missing.items()
    ]


def suite_json(name: str, settings: SuiteSettings, parts: Sequence[PartResult]) -> dict[str, Any]:
    """The whole report: under `models.NAME` the figures of `synthetic`, then the other parts'."""
    return {
        "suite": name,
        "version": __version__,
        "seed": settings.seed,
        "samples": settings.samples,
        "photographs": None if settings.photographs is None else str(settings.photographs),
        "parts": {part.name: _about(part) for part in parts},
        "models": {model: _of_model(model, parts) for model in settings.models},
    }


def _about(part: PartResult) -> dict[str, Any]:
    about: dict[str, Any] = {"skipped": part.skipped, "left_out": part.left_out}
    evaluation = part.evaluation
    if evaluation is None:
        return about
    if isinstance(part.samples, Photographs):
        return about | {
            "photographs": part.samples.photographs,
            "photographs_with_hands": part.samples.with_hands,
            "corrupt_images": len(part.samples.damaged),
            "corrupt_image_errors": part.samples.damaged,
        }
    return about | {
        "hands": evaluation.hands,
        "common_hands": len(answered_by_all(evaluation.results)),
        "most_worst_over_best": MOST_WORST_OVER_BEST,
    }


def _of_model(model: str, parts: Sequence[PartResult]) -> dict[str, Any]:
    figures: dict[str, Any] = {"model": model}
    for part in parts:
        result = part.result_of(model)
        if result is None or part.evaluation is None:
            continue
        if isinstance(part.samples, Photographs):
            own = photograph_figures(result, part.samples.hands).as_json()
            figures[part.name] = {"model": result.name} | own
        elif part.name == "synthetic":
            figures |= _drawn(part, result)
        else:
            figures[part.name] = _drawn(part, result)
    return figures


def _drawn(part: PartResult, result: ModelResult) -> dict[str, Any]:
    """Of hands with a truth: the whole and by groups."""
    groups = {}
    for grouping in PARTS[part.name].groupings:
        figures = _grouped(part, result, grouping)
        ratio = worst_over_best(figures)
        groups[grouping.name] = {
            "worst_over_best": ratio if ratio is None or math.isfinite(ratio) else None,
            "alike": None if ratio is None else ratio <= MOST_WORST_OVER_BEST,
            "groups": {name: group.as_json() for name, group in figures.items()},
        }
    return model_figures(result) | {"common_pa_mpjpe_mm": _common(part, result), "by": groups}


def _grouped(part: PartResult, result: ModelResult, grouping: Grouping) -> dict[str, GroupFigures]:
    assert part.evaluation is not None
    return grouped(result, part.evaluation.groups[grouping.name])


def _common(part: PartResult, result: ModelResult) -> float | None:
    """PA-MPJPE of the hands that every model answered: no model gains by missing the hard ones."""
    assert part.evaluation is not None
    common = answered_by_all(part.evaluation.results)
    return figures_of(result, common).summary.pa_mpjpe_mm


def _results(part: PartResult) -> tuple[ModelResult, ...]:
    return () if part.evaluation is None else part.evaluation.results


def _synthetic_tables(part: PartResult) -> str:
    rows = []
    for result in _results(part):
        figures = model_figures(result) | {"common_pa_mpjpe_mm": _common(part, result)}
        cells = [cell(figures[name], form) for name, (_, form) in _MAIN_COLUMNS.items()]
        rows.append([result.name, conventions(figures), *cells])
    headings = ["Model", "keypoints", *(heading for heading, _ in _MAIN_COLUMNS.values())]
    about = (
        "PA-MPJPE in mm by groups; behind it the share of hands found as what they are, if not all"
    )
    return _section(
        part,
        "Rendered hands",
        markdown_table(headings, rows, texts=2),
        _group_table(part, (SIDE, VIEW), about),
        _group_table(part, (SIZE, SKIN), about),
    )


def _occlusion_tables(part: PartResult) -> str:
    about = (
        "PA-MPJPE in mm by the share of keypoints that things hide (none, up to 25%, more); behind "
        "it the share of hands found as what they are, if not all"
    )
    return _section(part, "Occlusion", _group_table(part, (OCCLUSION,), about))


def _group_table(part: PartResult, groupings: Sequence[Grouping], about: str) -> str:
    rows: list[list[str]] = []
    headings = ["Model"]
    for result in _results(part):
        row, headings = [result.name], ["Model"]
        for grouping in groupings:
            figures = _grouped(part, result, grouping)
            for name, group in figures.items():
                headings.append(f"{grouping.name} {name} ({group.hands})")
                row.append(_of_group(group))
            headings.append(f"worst / best {grouping.name}")
            row.append(_ratio(worst_over_best(figures), marked=grouping is SKIN))
        rows.append(row)
    return f"{about}:\n\n{markdown_table(headings, rows)}"


def _of_group(group: GroupFigures) -> str:
    answered = group.answered_share
    if answered is None:
        return ""
    share = "" if answered == 1.0 else f", {answered:.0%}"
    return cell(group.summary.pa_mpjpe_mm, "{:.2f}") + share


def _ratio(ratio: float | None, *, marked: bool) -> str:
    if ratio is None:
        return ""
    text = f"{ratio:.2f}" if math.isfinite(ratio) else "a group without answer"
    return text + (UNFAIR_MARK if marked and ratio > MOST_WORST_OVER_BEST else "")


def _photograph_tables(part: PartResult) -> str:
    samples = part.samples
    if not isinstance(samples, Photographs):
        return _section(part, "Photographs")
    about = (
        f"{samples.with_hands} of {samples.photographs} photographs show {samples.hands} hands to "
        "the detector. Keypoints' distance from its landmarks in % of their box, and how much the "
        "hands of turned, smaller and darker copies differ in form:"
    )
    headings = ["Model", "found", "found in copies", "as the other hand", "offset %: median", "p90"]
    headings += ["copies differ mm: median", "p90"]
    rows = [
        [result.name, *_photograph_cells(photograph_figures(result, samples.hands), result)]
        for result in _results(part)
    ]
    return _section(part, "Photographs", f"{about}\n\n{markdown_table(headings, rows)}")


def _photograph_cells(figures: PhotographFigures, result: ModelResult) -> list[str]:
    # The detector's own landmarks are what everything is compared with.
    offset = None if result.name == "mediapipe" else figures.offset_share
    differ = figures.disagreement_mm
    return [
        f"{figures.found} of {figures.hands}",
        f"{figures.variants_found} of {figures.variants}",
        f"{figures.variants_other_side}",
        *("-" if offset is None else f"{100.0 * offset[key]:.1f}" for key in ("median", "p90")),
        *("-" if differ is None else f"{differ[key]:.1f}" for key in ("median", "p90")),
    ]


def _section(part: PartResult, title: str, *tables: str) -> str:
    body = tables if part.skipped is None else (f"Skipped: {part.skipped}.\n",)
    return "\n".join([f"**{title}**\n", *body])


_TABLES = {
    "synthetic": _synthetic_tables,
    "occlusion": _occlusion_tables,
    "photographs": _photograph_tables,
}
