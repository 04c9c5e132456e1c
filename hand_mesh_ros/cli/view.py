"""`hand-mesh view`: live hands, or those of a recording, in 3D in the browser."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import sys
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.processing.settings import ProcessingError
from hand_mesh_ros.ros.graph import Graph
from hand_mesh_ros.ros.signals import wait_until_stopped
from hand_mesh_ros.viewer.feed import Feed
from hand_mesh_ros.viewer.live_feed import LiveFeed
from hand_mesh_ros.viewer.page import Page
from hand_mesh_ros.viewer.recording_feed import RecordingFeed

EPILOG = """\
Live topics are named as the node's, so the node's own namespace and remaps fit:
  hand-mesh view --ros-args -r camera_info:=/camera/camera_info

The page is for this machine alone. With --host 0.0.0.0 everybody who can reach the machine
sees it, and may use its controls: there is no password.
"""
URL_LINE = "the view is at "
_NICENESS = 10
"""A tenth of the others' share of a core that all of them want."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "recording",
        nargs="?",
        type=Path,
        metavar="RECORDING",
        help="folder that `hand-mesh process` wrote, or a bag with hands (default: what is live)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=8080, help="first port to try (default: 8080)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--topic", default="", metavar="T", help="of a bag with several topics of hands"
    )


def run(args: argparse.Namespace) -> int:
    """Serve the page until SIGINT or SIGTERM."""
    _let_others_go_first()  # before there are threads, which keep what they were born with
    stop = threading.Event()
    failures: list[str] = []

    def serve() -> None:
        try:
            page.serve(stop)
        except ProcessingError as error:
            failures.append(str(error))
        finally:
            stop.set()

    with _feed(args) as feed:
        try:
            page = Page(feed, host=args.host, port=args.port)
        except (ImportError, RuntimeError) as error:
            raise UsageError(str(error)) from error
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on {args.host}:{args.port}: {error}") from error
        print(f"{URL_LINE}{page.url}", flush=True)
        if not _is_loopback(args.host):
            print("hand-mesh view: other machines can see it too (--host)", file=sys.stderr)
        if args.open and _has_screen():
            webbrowser.open(page.url)
        worker = threading.Thread(target=serve, name="view", daemon=True)
        worker.start()
        wait_until_stopped(stop)
        stop.set()
        worker.join(timeout=5.0)
        page.close()
    if failures:
        print(f"hand-mesh view: {failures[0]}", file=sys.stderr)
        return 1
    return 0


def _let_others_go_first() -> None:
    """A page can wait for a core; a node that shares the machine with it cannot."""
    if sys.platform == "win32":
        return
    os.nice(_NICENESS)
    # Linux may share cores among sessions first, and niceness counts within one alone.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(_NICENESS))


@contextlib.contextmanager
def _feed(args: argparse.Namespace) -> Iterator[Feed]:
    """What is to be shown; raises UsageError."""
    if args.recording is not None:
        try:
            feed = RecordingFeed(args.recording, topic=args.topic)
        except ProcessingError as error:
            raise UsageError(str(error)) from error
        with contextlib.closing(feed):
            yield feed
        return
    if args.topic:
        raise UsageError(
            "--topic is for recordings; live, use: --ros-args -r hand_meshes:=" + args.topic
        )
    from hand_mesh_ros.ros.dds_graph import DdsGraph  # a recording is shown without a network

    try:
        graph: Graph = DdsGraph("hand_mesh_view", arguments=args.ros_arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        with contextlib.closing(LiveFeed(graph)) as live:
            yield live
    finally:
        graph.shutdown()


def _has_screen() -> bool:
    """Whether a browser has a place to open; without one a text browser would."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
