"""`hand-mesh camera`: publish images as a camera does, without one."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.ros.camera_node import CameraNode
from hand_mesh_ros.ros.graph import Graph
from hand_mesh_ros.sources.base import Source, SourceError
from hand_mesh_ros.sources.files import open_source
from hand_mesh_ros.sources.synthetic import SyntheticCamera

DRAIN_S = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_source_arguments(parser)
    parser.add_argument(
        "--wait", action="store_true", help="send nothing until someone subscribes to the images"
    )
    parser.add_argument(
        "--depth-encoding",
        choices=("16UC1", "32FC1"),
        default="16UC1",
        help="of the synthetic camera's depth: millimetres or metres (default: 16UC1)",
    )
    parser.add_argument("--loop", action="store_true", help="start --input again when it ends")


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose and shape a source of images."""
    group = parser.add_argument_group("camera")
    group.add_argument(
        "--input",
        metavar="WHAT",
        help="image, folder of images, video, or webcam:0 (default: a synthetic hand)",
    )
    group.add_argument("--camera-info", metavar="YAML", help="calibration of --input")
    group.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    group.add_argument("--rate", type=float, metavar="HZ", help="frames per second")
    group.add_argument("--hold", type=int, default=1, metavar="N", help="send each frame N times")
    group.add_argument("--width", type=int, default=640, help="px, synthetic (default: 640)")
    group.add_argument("--height", type=int, default=480, help="px, synthetic (default: 480)")
    group.add_argument("--hands", type=int, default=1, help="1 or 2, synthetic (default: 1)")
    group.add_argument("--seed", type=int, default=0, help="what is drawn, synthetic (default: 0)")
    group.add_argument("--fov", type=float, default=60.0, metavar="DEG", help="horizontal view")


def make_source(args: argparse.Namespace) -> Source | SyntheticCamera:
    """The source that the options describe; raises UsageError."""
    for name in ("frames", "hold"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}, expected 1 or more")
    try:
        if args.input is None:
            return SyntheticCamera(
                args.width,
                args.height,
                fov_deg=args.fov,
                hands=args.hands,
                seed=args.seed,
                rate_hz=args.rate or 30.0,
            )
        return open_source(
            args.input, fov_deg=args.fov, camera_info_path=args.camera_info, rate_hz=args.rate
        )
    except (SourceError, ValueError) as error:
        raise UsageError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    """Publish over Cyclone DDS."""
    from hand_mesh_ros.ros.dds_graph import DdsGraph  # here, as ROS brings its own DDS

    return publish(args, DdsGraph)


def publish(args: argparse.Namespace, graph_type: Callable[..., Graph]) -> int:
    """Publish until the source ends, --frames are sent, or SIGINT or SIGTERM comes."""
    source = make_source(args)
    try:
        graph = graph_type("camera", arguments=args.ros_arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    camera = CameraNode(graph, source, depth_encoding=args.depth_encoding)
    failure: list[str] = []

    def play() -> None:
        try:
            sent = camera.play(
                max_frames=args.frames,
                hold=args.hold,
                loop=args.loop,
                wait_for_subscriber=args.wait,
            )
            print(f"frames sent: {sent}", flush=True)
            threading.Event().wait(DRAIN_S)  # the last frame is still on its way
        except SourceError as error:
            failure.append(str(error))
        finally:
            graph.shutdown()

    player = threading.Thread(target=play, name="camera", daemon=True)
    player.start()
    graph.spin()
    camera.stop()
    player.join(timeout=5.0)
    source.close()
    if failure:
        raise UsageError(failure[0])
    return 0
