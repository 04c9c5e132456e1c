"""Entry of the `hand-mesh` command: one sub-command a file, loaded when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from hand_mesh_ros import __version__
from hand_mesh_ros.numpy_threads import use_one_numpy_thread
from hand_mesh_ros.ros.signals import ended_as_by_ctrl_c

COMMANDS = {
    "demo": "camera, node and a live table in one command",
    "run": "the node alone, on the topics of your camera",
    "camera": "publish a synthetic hand, images, a video or a webcam as a camera",
    "process": "bags, videos, pictures in; bags, overlays, tables, meshes, summaries out",
    "view": "live hands, or those of a recording, in 3D in the browser",
    "evaluate": "how far models are from the truth, on data sets or on rendered hands",
    "train": "train a network from the hand model and the data sets",
    "export": "write a network as ONNX or as a TensorRT engine",
    "doctor": "what is wrong with this machine and its cameras, and what mends it",
    "bench": "how long networks (--models), frames and messages (--ros) take",
}


class UsageError(Exception):
    """The user asked for something that cannot be: one clear line, exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; 0 when it worked, 1 when it failed, 2 when it was called wrongly."""
    use_one_numpy_thread()
    parser = argparse.ArgumentParser(
        prog="hand-mesh", description="Live metric 3D hand meshes over ROS 2 topics."
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    argv = list(sys.argv[1:] if argv is None else argv)
    # Only the command that is called is imported: one's `--help` must not load another's libraries.
    called = next((word for word in argv if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text)
        if name == called:
            module = importlib.import_module(f"hand_mesh_ros.cli.{name}")
            module.add_arguments(sub)
            sub.set_defaults(function=module.run)
    ours, ros = split_ros_arguments(argv)
    args = parser.parse_args(ours)
    args.ros_arguments = ros
    try:
        with ended_as_by_ctrl_c():
            return args.function(args)
    except UsageError as error:
        print(f"hand-mesh {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def split_ros_arguments(argv: list[str]) -> tuple[list[str], list[str]]:
    """Our arguments, and those between `--ros-args` and `--` (or the end), flag included."""
    if "--ros-args" not in argv:
        return argv, []
    start = argv.index("--ros-args")
    end = argv.index("--", start) + 1 if "--" in argv[start:] else len(argv)
    return argv[:start] + argv[end:], argv[start:end]
