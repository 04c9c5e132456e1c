"""Files that commands are asked to write: refused before anything long begins, in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hand_mesh_ros.cli.main import UsageError


def check_writable(path: Path | None, option: str = "--report") -> None:
    """Make the file, empty where there is none yet; raises UsageError. None is nothing to write."""
    if path is not None:
        try:
            path.touch()
        except OSError as error:
            raise UsageError(f"{option} {path}: {error.strerror}") from error


def write_text(path: Path | None, text: str, option: str = "--report") -> None:
    """Write it, or raise UsageError; None is nothing to write."""
    if path is not None:
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{option} {path}: {error.strerror}") from error


def write_report(path: Path | None, report: dict[str, Any]) -> None:
    """`write_text` of it as JSON."""
    if path is not None:
        write_text(path, json.dumps(report, indent=2) + "\n")
