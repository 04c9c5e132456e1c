"""Two kinds of charts as SVG text: lines over time, and bars of when something was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WIDTH, _LEFT, _BOTTOM, _TOP = 900, 60, 30, 10
_MAX_POINTS = 1500
"""Of one line; more than there are pixels to show."""
_GREY = "#888"


@dataclass(frozen=True)
class Line:
    """A piece of a curve."""

    x: np.ndarray
    y: np.ndarray
    color: str


@dataclass(frozen=True)
class Bar:
    """A span of x in the row of a label."""

    label: str
    start: float
    end: float
    color: str


def line_chart(lines: Sequence[Line], *, x_end: float, y_name: str, height: int = 240) -> str:
    """Curves over time, s, from 0 to `x_end`."""
    values = np.concatenate([line.y for line in lines]) if lines else np.zeros(1)
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    scale_x, plot_height = _scale_x(x_end), height - _TOP - _BOTTOM
    parts = [_text(_LEFT - 6, _TOP + 4, f"{high:.3g}", "end"), _x_axis(x_end, height)]
    parts.append(_text(_LEFT - 6, height - _BOTTOM, f"{low:.3g}", "end"))
    parts.append(_text(_LEFT + 6, _TOP + 8, y_name, "start"))
    for line in lines:
        step = -(-len(line.x) // _MAX_POINTS)
        x = _LEFT + scale_x * line.x[::step]
        y = _TOP + plot_height * (high - line.y[::step]) / (high - low)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="1.5" '
            'stroke-linecap="round"/>'
        )
    return _svg(parts, height)


def bar_chart(bars: Sequence[Bar], *, x_end: float, labels: Sequence[str]) -> str:
    """A row for each label, with its bars over time, s, from 0 to `x_end`."""
    row_height = 22
    height = _TOP + row_height * len(labels) + _BOTTOM
    parts = [_x_axis(x_end, height)]
    for row, label in enumerate(labels):
        y = _TOP + row_height * row
        parts.append(_text(_LEFT - 6, y + 14, label, "end"))
        for bar in bars:
            if bar.label == label:
                x, width = _LEFT + _scale_x(x_end) * bar.start, bar.end - bar.start
                parts.append(
                    f'<rect x="{x:.1f}" y="{y + 3}" height="{row_height - 6}" '
                    f'width="{max(_scale_x(x_end) * width, 1.0):.1f}" fill="{bar.color}"/>'
                )
    return _svg(parts, height)


def _scale_x(x_end: float) -> float:
    return (_WIDTH - _LEFT - 10) / max(x_end, 1e-9)


def _x_axis(x_end: float, height: int) -> str:
    y, right = height - _BOTTOM, _WIDTH - 10
    line = f'<path d="M{_LEFT},{_TOP}V{y}H{right}" fill="none" stroke="{_GREY}"/>'
    ticks = [
        _text(_LEFT + share * (right - _LEFT), y + 18, f"{share * x_end:.4g} s", "middle")
        for share in (0.0, 0.25, 0.5, 0.75, 0.98)
    ]
    return line + "".join(ticks)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{text}</text>'


def _svg(parts: Sequence[str], height: int) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        + "".join(parts)
        + "</svg>"
    )
