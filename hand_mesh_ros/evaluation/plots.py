"""Pictures of an evaluation, as PNG files.

Drawn with matplotlib, imported on first use: it comes with mediapipe and takes a second to load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hand_mesh_ros.conventions import FINGERS, KEYPOINT_NAMES
from hand_mesh_ros.evaluation.calibration import CalibrationReport
from hand_mesh_ros.evaluation.metrics import AUC_THRESHOLDS_M, auc, pck_curve
from hand_mesh_ros.viewer.palette import KEYPOINT_RGB

_SIZE_INCHES = (7.0, 4.5)
_DPI = 110
_BLUE, _GREY = "#0072b2", "#606060"


def plot_pck(path: Path, distances_m: Mapping[str, np.ndarray]) -> None:
    """Share of keypoints within each distance, a curve for each name with its AUC.

    Args:
        path: of the PNG.
        distances_m: (B, K) m by name; aligned or not is the caller's choice, and the name says it.
    """
    figure, axes = _figure()
    for name, values in distances_m.items():
        everything = np.asarray(values).reshape(-1)
        _refuse_empty(everything, name)
        label = f"{name}  (AUC {float(auc(everything)):.3f})"
        axes.plot(1e3 * AUC_THRESHOLDS_M, pck_curve(everything), label=label)
    axes.set(xlabel="error, mm", ylabel="share of keypoints within it", xlim=(0, 50))
    axes.set_ylim(0.0, 1.02)  # a curve at 1 is not hidden by the frame
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_error_by_joint(path: Path, errors_mm: np.ndarray, *, what: str = "PA error") -> None:
    """A bar for each keypoint's median, a whisker to its 90th percentile, in its finger's colour.

    Args:
        path: of the PNG.
        errors_mm: (B, 21) mm.
        what: kind of error, for the axis.
    """
    if errors_mm.ndim != 2 or errors_mm.shape[1] != len(KEYPOINT_NAMES):
        raise ValueError(f"errors_mm has shape {errors_mm.shape}; expected (B, 21)")
    _refuse_empty(errors_mm, "errors_mm")
    median, high = np.percentile(errors_mm, (50, 90), axis=0)  # (21,)
    figure, axes = _figure()
    colours = ["#808080", *(np.array(rgb) / 255.0 for rgb in KEYPOINT_RGB[1:])]
    whiskers = np.stack([np.zeros_like(median), high - median])  # (2, 21)
    x = np.arange(len(KEYPOINT_NAMES))
    axes.bar(x, median, yerr=whiskers, color=colours, ecolor=_GREY, capsize=3, edgecolor=_GREY)
    axes.set_xticks(x, [n.split("_")[-1] for n in KEYPOINT_NAMES], rotation=60)
    top = 1.15 * float(high.max())
    for f, name in enumerate(FINGERS):
        axes.text(2.5 + 4 * f, 0.97 * top, name, ha="center", va="top")
        axes.axvline(0.5 + 4 * f, color="#d0d0d0", linewidth=0.8)
    axes.set(ylabel=f"{what}, mm (median, 90% below)", ylim=(0, top), xlim=(-0.6, 20.6))
    _save(figure, path)


def plot_error_by_view(
    path: Path, angles_deg: np.ndarray, errors_mm: np.ndarray, *, what: str = "PA-MPJPE"
) -> None:
    """Median and middle half of the errors by the side that a hand is seen from.

    Args:
        path: of the PNG.
        angles_deg: (B,) of `view_angles_deg`.
        errors_mm: (B,) mm.
        what: kind of error, for the axis.
    """
    if angles_deg.shape != errors_mm.shape or angles_deg.ndim != 1:
        raise ValueError(
            f"angles_deg has shape {angles_deg.shape}, errors_mm {errors_mm.shape}; expected (B,)"
        )
    _refuse_empty(errors_mm, "errors_mm")
    edges = np.linspace(0.0, 180.0, 13)
    bins = np.clip(np.digitize(angles_deg, edges) - 1, 0, len(edges) - 2)
    filled = [b for b in range(len(edges) - 1) if (bins == b).any()]
    quartiles = np.array([np.percentile(errors_mm[bins == b], (25, 50, 75)) for b in filled])
    middles = np.array([edges[b : b + 2].mean() for b in filled])
    figure, axes = _figure()
    axes.scatter(angles_deg, errors_mm, s=4, color=_GREY, alpha=0.25, linewidths=0)
    axes.fill_between(middles, quartiles[:, 0], quartiles[:, 2], color=_BLUE, alpha=0.25)
    axes.plot(middles, quartiles[:, 1], color=_BLUE, marker="o", label="median, middle half")
    top = max(1.05 * float(np.percentile(errors_mm, 99)), 1.1 * float(quartiles.max()), 1e-3)
    for middle, b in zip(middles, filled, strict=True):
        axes.text(middle, 0.985 * top, f"{(bins == b).sum()}", ha="center", va="top", fontsize=8)
    axes.set(
        xlabel="palm (0°), edge (90°), back (180°) towards the camera; above: hands",
        ylabel=f"{what}, mm",
        xlim=(0, 180),
        ylim=(0, top),
    )
    axes.set_xticks(np.arange(0, 181, 30))
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_reliability(path: Path, report: CalibrationReport) -> None:
    """Actual errors over predicted deviations; on the diagonal they are equally large."""
    predicted = np.array([b.predicted_mm for b in report.reliability])
    actual = np.array([b.actual_mm for b in report.reliability])
    figure, axes = _figure()
    top = 1.1 * float(max(predicted.max(), actual.max()))
    axes.plot((0, top), (0, top), color=_GREY, linestyle="--", label="calibrated")
    correlation = report.rank_correlation
    ranks = "" if correlation is None else f", rank correlation {correlation:.2f}"
    within = f"{100 * report.within_one_stddev:.0f}% within one deviation{ranks}"
    axes.plot(predicted, actual, color=_BLUE, marker="o", label=within)
    axes.set(xlabel="predicted deviation, mm", ylabel="RMS error of a coordinate, mm")
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_worst_cases(
    path: Path, images: Sequence[np.ndarray], captions: Sequence[str], *, columns: int = 3
) -> None:
    """A sheet of pictures in the order given, each under its caption.

    Args:
        path: of the PNG.
        images: (H, W, 3) uint8 RGB, overlays of the worst hands; sizes may differ.
        captions: as many, short.
        columns: of the sheet.
    """
    if len(images) != len(captions) or not images:
        raise ValueError(
            f"{len(images)} images and {len(captions)} captions; expected as many, at least one"
        )
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    wide = max(image.shape[1] / image.shape[0] for image in images)
    figure, axes = _figure((2.3 * wide * columns, 2.55 * rows), rows, columns)
    for axis in np.ravel(axes):
        axis.set_axis_off()
    for axis, image, caption in zip(np.ravel(axes), images, captions, strict=False):
        axis.imshow(image)
        axis.set_title(caption, fontsize=9)
    _save(figure, path)


def _refuse_empty(values: np.ndarray, name: str) -> None:
    if values.size == 0:
        raise ValueError(f"{name} is empty; expected at least one hand")


def _figure(size: tuple[float, float] = _SIZE_INCHES, rows: int = 1, columns: int = 1) -> Any:
    """A figure and its axes, apart from pyplot: no window, no state shared with the caller's."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns)
    if rows == columns == 1 and size is _SIZE_INCHES:
        axes.grid(color="#e6e6e6")
        axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
