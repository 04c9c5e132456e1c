"""Finds files that lie beside the package: in a checkout, a pip install, or a ROS install."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def places(name: str) -> tuple[Path, ...]:
    """Where a file or folder may be, the likeliest first.

    pip puts it inside the package, a checkout has it beside the package, and ROS in share/ of the
    prefix under which the package lies.
    """
    in_share = (prefix / "share" / _PACKAGE.name / name for prefix in _PACKAGE.parents)
    return (_PACKAGE / name, _PACKAGE.parent / name, *in_share)
