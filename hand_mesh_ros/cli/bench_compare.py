"""Two reports of `hand-mesh bench`, one against the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hand_mesh_ros.cli.main import UsageError

_SAME = ("model", "graph", "backend", "precision", "batch", "width", "height", "input_hz")
"""Results with equal values of these measure the same."""


def compared(before: Path, after: Path) -> tuple[dict[str, Any], str]:
    """How many times faster `after` is, for each result that both have.

    Raises:
        UsageError: a file is no report, or they have nothing in common.
    """
    old, new = _results(before), _results(after)
    common = [key for key in new if key in old]
    if not common:
        raise UsageError(f"--compare: {before} and {after} have no result in common")
    rows = [
        {
            **dict(zip(_SAME, key, strict=True)),
            "ms_p50_before": old[key]["ms_p50"],
            "ms_p50_after": new[key]["ms_p50"],
            "ms_p99_before": old[key]["ms_p99"],
            "ms_p99_after": new[key]["ms_p99"],
            "speed_up": round(old[key]["ms_p50"] / new[key]["ms_p50"], 3),
        }
        for key in common
    ]
    lines = [
        "| What | ms p50 before | after | ms p99 before | after | times faster |",
        "|" + "---|" * 6,
    ]
    for row in rows:
        what = " ".join(str(row[name]) for name in _SAME if row[name] is not None)
        values = (row[f"ms_{p}_{when}"] for p in ("p50", "p99") for when in ("before", "after"))
        numbers = " | ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {what} | {numbers} | {row['speed_up']:.2f} |")
    for path, mine, other in ((before, old, new), (after, new, old)):
        alone = sum(key not in other for key in mine)
        if alone:
            lines.append(f"\n{alone} results are in {path} alone.")
    return {"before": str(before), "after": str(after), "compared": rows}, "\n".join(lines) + "\n"


def _results(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    try:
        results = json.loads(path.read_text())["results"]
        return {
            tuple(result.get(name) for name in _SAME): {
                name: float(result[name]) for name in ("ms_p50", "ms_p99")
            }
            for result in results
        }
    except OSError as error:
        raise UsageError(f"--compare {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"--compare {path}: no report of hand-mesh bench") from error
