"""What the executables in lib/hand_mesh_ros do; a library that is missing gets its install line."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hand_mesh_ros.numpy_threads import use_one_numpy_thread
from hand_mesh_ros.shared_files import places

_REQUIREMENTS = "requirements-ros.txt"


def hand_mesh_node(argv: Sequence[str]) -> int:
    """Run the lifecycle node until it is told to stop."""
    use_one_numpy_thread()
    if _libraries_are_missing():
        return 1
    from hand_mesh_ros.ros.rclpy_node import main

    return main(list(argv))


def camera(name: str, argv: Sequence[str], *, shows_files: bool) -> int:
    """Publish images until they end or SIGINT or SIGTERM comes.

    Args:
        name: of the executable.
        argv: its arguments, those for ROS included.
        shows_files: whether --input is needed, or else impossible.
    """
    use_one_numpy_thread()
    if _libraries_are_missing():
        return 1
    from hand_mesh_ros.cli import camera as camera_command
    from hand_mesh_ros.cli.main import UsageError, split_ros_arguments
    from hand_mesh_ros.ros.rclpy_graph import RclpyGraph

    parser = argparse.ArgumentParser(prog=name, description="Publish images as a camera does.")
    camera_command.add_arguments(parser)
    ours, ros = split_ros_arguments(list(argv))
    args = parser.parse_args(ours)
    args.ros_arguments = ros
    if shows_files != (args.input is not None):
        parser.error("--input WHAT is needed" if shows_files else "--input is for video_camera")
    try:
        return camera_command.publish(args, RclpyGraph)
    except UsageError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def missing_requirements(requirements: Path) -> list[str]:
    """Names in a requirements file that are not installed, in whatever version."""
    missing = []
    for line in requirements.read_text("utf-8").splitlines():
        name = re.match(r"[A-Za-z0-9][\w.-]*", line)
        if name and name[0] not in missing and not _is_installed(name[0]):
            missing.append(name[0])
    return missing


def _libraries_are_missing() -> bool:
    """Say which, and how to get them."""
    requirements = next((place for place in places(_REQUIREMENTS) if place.is_file()), None)
    missing = missing_requirements(requirements) if requirements else []
    if missing:
        # An environment variable, as Ubuntu 22.04's pip does not know the option of that name.
        pip = f"PIP_BREAK_SYSTEM_PACKAGES=1 {sys.executable} -m pip"
        print(
            f"hand_mesh_ros needs {', '.join(missing)}, not installed for {sys.executable}:\n"
            f"  {pip} install --no-deps -r {requirements}",
            file=sys.stderr,
        )
    return bool(missing)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
