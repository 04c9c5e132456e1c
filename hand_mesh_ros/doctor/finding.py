"""What a check answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "failure", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    """What was looked at, in a word or two."""
    verdict: Verdict
    """failure: it cannot work so; warning: it works worse, or may fail; skipped: not looked at."""
    text: str
    """What was found."""
    mend: str = ""
    """What to do, in one line; empty where nothing has to be done."""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, mend: str) -> Finding:
    """It works worse than it could, or may fail."""
    return Finding(check, "warning", text, mend)


def failure(check: str, text: str, mend: str) -> Finding:
    """It cannot work so."""
    return Finding(check, "failure", text, mend)


def skipped(check: str, text: str, mend: str = "") -> Finding:
    """Not looked at, for that reason."""
    return Finding(check, "skipped", text, mend)
