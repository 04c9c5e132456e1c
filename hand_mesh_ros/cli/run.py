"""`hand-mesh run`: the node alone, until it is told to stop."""

from __future__ import annotations

import argparse
import gc

from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.ros.dds_graph import DdsGraph
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters

EPILOG = """\
Topics, parameters and the node's name are set as for every ROS 2 node:
  hand-mesh run --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info \\
                           -p known_hand_length_m:=0.19 --params-file my.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--distro", default="jazzy", help="ROS distribution to be compatible with (default: jazzy)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    try:
        graph = DdsGraph("hand_mesh", arguments=args.ros_arguments, distro=args.distro)
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        try:
            parameters = NodeParameters.from_overrides(graph.parameter_overrides())
            pipeline = build_pipeline(parameters, log=graph.log.info)
        except (ValueError, OSError, ImportError) as error:
            raise UsageError(str(error)) from error
        node = HandMeshNode(graph, parameters, pipeline)
        try:
            node.activate()
            gc.freeze()  # what was loaded stays: no collection has to look at it again
            graph.spin()
        finally:
            node.close()
    finally:
        graph.shutdown()
    return 0
