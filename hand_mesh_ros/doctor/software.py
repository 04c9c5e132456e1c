"""Python, and libraries whose versions clash."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata

from hand_mesh_ros.doctor.finding import Finding, failure, ok, skipped, warning

OLDEST, NEWEST = (3, 10), (3, 12)
"""That mediapipe and ROS both have wheels for."""
OPENCVS = (
    *("opencv-python", "opencv-python-headless"),
    *("opencv-contrib-python", "opencv-contrib-python-headless"),
)


def python(version: tuple[int, ...], environment: Mapping[str, str]) -> Finding:
    """Whether this Python is one that everything has wheels for, and not mixed with another's.

    Args:
        version: as `sys.version_info`.
        environment: whose PYTHONPATH is looked at: a sourced ROS puts its own packages there.
    """
    text = ".".join(map(str, version[:3]))
    if not OLDEST <= version[:2] <= NEWEST:
        wanted = "3.10, 3.11 or 3.12"
        return failure("python", f"{text}, expected {wanted}", f"make a venv of Python {wanted}")
    here = f"python{version[0]}.{version[1]}"
    others = {
        found
        for folder in environment.get("PYTHONPATH", "").split(os.pathsep)
        for found in re.findall(r"python3\.\d+", folder)
        if found != here
    }
    if others:
        names = ", ".join(sorted(others))
        return warning(
            "python",
            f"{text}, but PYTHONPATH has packages of {names} (a sourced ROS)",
            "unset PYTHONPATH in this terminal, or use the Python of that ROS",
        )
    return ok("python", f"{text}, {sys.prefix}")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Version by name, of those distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def has_module(name: str) -> bool:
    """Whether it could be imported; it is not."""
    return importlib.util.find_spec(name) is not None


def numpy(version: str, *, has_cv_bridge: bool) -> Finding:
    """NumPy 2 breaks what was built for NumPy 1: ROS's cv_bridge, and mediapipe 0.10.21."""
    if int(version.split(".")[0]) < 2:
        return ok("numpy", version)
    if has_cv_bridge:
        return failure(
            "numpy",
            f"{version}, but ROS's cv_bridge was built for NumPy 1 (_ARRAY_API not found)",
            "pip install 'numpy<2'",
        )
    return warning("numpy", f"{version}, tested is 1.26", "pip install 'numpy<2'")


def opencv(found: Mapping[str, str]) -> Finding:
    """Several OpenCV wheels share one folder: what is imported is a mixture.

    Args:
        found: version by name of those that are installed, of `OPENCVS`.
    """
    names = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) > 1:
        kept = "opencv-contrib-python"
        return failure(
            "opencv",
            f"{len(found)} in one folder: {names}",
            f"pip uninstall -y {' '.join(found)} && pip install -c constraints.txt {kept}",
        )
    if found:
        return ok("opencv", names)
    if has_module("cv2"):
        return ok("opencv", "the system's own")
    return failure(
        "opencv", "not installed", "pip install -c constraints.txt opencv-contrib-python"
    )


def detector(found: Mapping[str, str]) -> Finding:
    """Whether the hand detector is there."""
    if "mediapipe" not in found:
        return failure("detector", "mediapipe is not installed", "pip install 'mediapipe<0.11'")
    return ok("detector", f"mediapipe {found['mediapipe']}")


def without_ros(found: Mapping[str, str]) -> Finding:
    """Whether the node can run without ROS."""
    if "cyclonedds" not in found:
        return skipped("dds", "cyclonedds is not installed: ROS alone", "pip install cyclonedds")
    return ok("dds", f"cyclonedds {found['cyclonedds']}, rosbags {found.get('rosbags', 'missing')}")
