"""`hand-mesh demo`: a camera, the node, and a table of what comes out, each in its own process."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.live import Live

from hand_mesh_ros.assembly import build_reconstructor, build_smoother
from hand_mesh_ros.cli.camera import add_source_arguments, make_source
from hand_mesh_ros.cli.demo_monitor import DemoMonitor
from hand_mesh_ros.cli.demo_table import table
from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.overlay_files import OverlayFiles
from hand_mesh_ros.cli.report_file import check_writable, write_report
from hand_mesh_ros.cli.view import URL_LINE
from hand_mesh_ros.evaluation.jitter import still_hand_jitter
from hand_mesh_ros.ros.camera_node import (
    CAMERA_INFO_TOPIC,
    DEPTH_INFO_TOPIC,
    DEPTH_TOPIC,
    IMAGE_TOPIC,
)
from hand_mesh_ros.ros.dds_config import stay_on_this_machine
from hand_mesh_ros.ros.dds_graph import DdsGraph
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.sources.synthetic import SyntheticCamera

TABLE_PERIOD_S = 0.2
LAST_ANSWER_S = 1.5
"""How long to wait for answers after the camera's last frame."""
NO_ANSWER_S = 60.0
"""How long a node may neither answer its first image nor say anything: while it builds an engine,
it says so."""
MOST_BUILD_S = 1200.0
"""How long it may take to its first answer, whatever it says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_source_arguments(parser)
    parser.add_argument(
        "--headless", action="store_true", help="no table, no view; a summary at the end"
    )
    parser.add_argument(
        "--network",
        action="store_true",
        help="let ROS on other machines see it too (default: this machine alone)",
    )
    parser.add_argument("--no-view", action="store_true", help="no page with the hands in 3D")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was measured")
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="write images with the mesh")
    parser.add_argument(
        "--depth", action="store_true", help="let the node use the synthetic camera's depth image"
    )
    parser.add_argument(
        "--known-hand-length",
        metavar="M|true",
        help="m, wrist joint to middle fingertip; true: the synthetic hand's own",
    )


def run(args: argparse.Namespace) -> int:
    """Run until the frames are through, or for ever; the node's failure is the demo's."""
    check_writable(args.report)
    if args.depth and args.input is not None:
        raise UsageError("--depth needs the synthetic camera (no --input)")
    if not args.network:
        stay_on_this_machine(os.environ)  # the other processes inherit it
    source = make_source(args)
    parameters = _node_parameters(args, source)
    source.close()
    try:
        graph = DdsGraph("hand_mesh_demo", arguments=args.ros_arguments)
        chosen = NodeParameters.from_overrides(graph.parameter_overrides())
    except ValueError as error:
        raise UsageError(str(error)) from error
    overlays = None
    try:
        monitor = DemoMonitor(graph)
        if args.overlay is not None:
            overlays = OverlayFiles(graph, args.overlay, hold=args.hold)
        with _node(args, parameters) as node, _view(args) as view, _camera(args) as camera:
            _watch(monitor, node, camera, view, headless=args.headless)
            peak_mb = node.peak_memory_mb()
        report: dict[str, Any] = {"frames": camera.frames_sent(), **monitor.report()}
        if peak_mb is not None:
            report["node_peak_memory_mb"] = round(peak_mb, 1)
        if overlays is not None:
            report["overlays"] = overlays.close()
        report["still_hand_jitter_mps2"] = _jitter(chosen)
    finally:
        graph.shutdown()
    if not report["frames_answered"]:
        print("hand-mesh demo: the node answered no image; it said:", file=sys.stderr)
        print(node.last_words(), file=sys.stderr)
        return 1
    if args.headless:
        print(json.dumps(report, indent=2))
    write_report(args.report, report)
    return 0


def _jitter(parameters: NodeParameters) -> dict[str, float]:
    """How much a still hand trembles, m/s^2, before and after smoothing."""
    reconstructor = build_reconstructor(parameters)
    smoother = build_smoother(parameters, reconstructor.hand_model)
    jitter = still_hand_jitter(reconstructor, smoother)
    return {
        "before_smoothing": round(jitter.before_mps2, 2),
        "after_smoothing": round(jitter.after_mps2, 2),
    }


def _node_parameters(args: argparse.Namespace, source: object) -> list[str]:
    """Node parameters that the demo's own options stand for."""
    if args.known_hand_length is None:
        return []
    if args.known_hand_length == "true":
        if not isinstance(source, SyntheticCamera):
            raise UsageError("--known-hand-length true needs the synthetic camera (no --input)")
        return ["-p", f"known_hand_length_m:={source.hand_length_m():.5f}"]
    try:
        length_m = float(args.known_hand_length)
        NodeParameters(known_hand_length_m=length_m)
    except ValueError as error:
        raise UsageError(f"--known-hand-length {args.known_hand_length}: {error}") from error
    return ["-p", f"known_hand_length_m:={length_m}"]


class _Process:
    """A sub-command in a process of its own; what it says is kept in a file."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as we do
        # A group of its own: Ctrl-C is for the demo, which then ends the others in order.
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "hand_mesh_ros.cli", *arguments],
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def peak_memory_mb(self) -> float | None:
        """Largest resident size so far; None where the system doesn't tell, or it has ended."""
        try:
            status = Path(f"/proc/{self._popen.pid}/status").read_text()
        except OSError:
            return None
        kb = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return float(kb[0]) / 1024 if kb else None

    def frames_sent(self) -> int:
        """What a camera process said that it sent."""
        said = [line for line in self.all_words().splitlines() if line.startswith("frames sent: ")]
        return int(said[-1].split(": ")[1]) if said else 0

    def amount_said(self) -> int:
        """Bytes so far."""
        return os.fstat(self._said.fileno()).st_size

    def all_words(self) -> str:
        # The process writes where the file's position is: it must stay where it is.
        said = os.pread(self._said.fileno(), self.amount_said(), 0)
        return said.decode("utf-8", errors="replace")

    def last_words(self) -> str:
        return "\n".join(self.all_words().splitlines()[-20:])

    def stop(self) -> None:
        """Ask, wait, insist."""
        for sign, patience_s in (
            (signal.SIGINT, 5.0),
            (signal.SIGTERM, 3.0),
            (signal.SIGKILL, 3.0),
        ):
            if self._popen.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(patience_s)


@contextlib.contextmanager
def _node(args: argparse.Namespace, parameters: list[str]) -> Iterator[_Process]:
    topics = {"image": IMAGE_TOPIC, "camera_info": CAMERA_INFO_TOPIC}
    if args.depth:
        topics |= {"depth": DEPTH_TOPIC, "depth/camera_info": DEPTH_INFO_TOPIC}
    remaps = [word for ours, its in topics.items() for word in ("-r", f"{ours}:={its}")]
    # Stock kernels lose large best-effort messages even on one host: their buffers are too small.
    transport = ["-p", "image_reliability:=reliable"]
    ours = ["--ros-args", *remaps, *transport, *parameters]
    theirs = args.ros_arguments[1:] if args.ros_arguments else []
    process = _Process("node", ["run", *ours, *theirs])
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def _view(args: argparse.Namespace) -> Iterator[_Process | None]:
    """The page in the browser; None where it is not wanted, or cannot be."""
    if args.headless or args.no_view:
        yield None
        return
    remaps = ["-r", f"camera_info:={CAMERA_INFO_TOPIC}"]
    theirs = args.ros_arguments[1:] if args.ros_arguments else []
    process = _Process("view", ["view", "--open", "--ros-args", *remaps, *theirs])
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def _camera(args: argparse.Namespace) -> Iterator[_Process]:
    arguments = ["camera", "--wait", "--hold", str(args.hold), "--seed", str(args.seed)]
    arguments += ["--width", str(args.width), "--height", str(args.height)]
    arguments += ["--hands", str(args.hands), "--fov", str(args.fov)]
    for name in ("input", "camera_info", "frames", "rate"):
        value = getattr(args, name)
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    process = _Process("camera", [*arguments, *args.ros_arguments])
    try:
        yield process
    finally:
        process.stop()


def _view_note(view: _Process | None) -> str:
    """Where the page is, or why there is none."""
    lines = [] if view is None else view.all_words().splitlines()
    return next((line for line in lines if line.startswith(URL_LINE)), lines[-1] if lines else "")


def _watch(
    monitor: DemoMonitor,
    node: _Process,
    camera: _Process,
    view: _Process | None,
    *,
    headless: bool,
) -> None:
    """Show what comes until the camera has ended and been answered, or the user ends it."""
    started_s = heard_s = time.monotonic()
    heard = 0
    ended_s = None
    screen = contextlib.nullcontext() if headless else Live(table(monitor), refresh_per_second=10)
    with contextlib.suppress(KeyboardInterrupt), screen as live:
        while ended_s is None or time.monotonic() < ended_s + LAST_ANSWER_S:
            time.sleep(TABLE_PERIOD_S)
            if live is not None:
                live.update(table(monitor, note=_view_note(view)))
            if camera.exit_code is not None and ended_s is None:
                ended_s = time.monotonic()
            said = node.amount_said()
            if said > heard:
                heard, heard_s = said, time.monotonic()
            patient_until_s = min(heard_s + NO_ANSWER_S, started_s + MOST_BUILD_S)
            silent = not monitor.num_results and time.monotonic() > patient_until_s
            if node.exit_code is not None or silent:
                return
    if camera.exit_code:
        raise UsageError(camera.last_words().removeprefix("hand-mesh camera: "))
