"""`hand-mesh doctor`: what is wrong with this machine, and what mends it."""

from __future__ import annotations

import argparse
import os
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.report_file import check_writable, write_report
from hand_mesh_ros.doctor.examination import examine
from hand_mesh_ros.doctor.finding import Finding
from hand_mesh_ros.doctor.listening import HeardTopic, listen
from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.parameters import NodeParameters

EPILOG = """\
Parameters are given as to the node, and are looked at too:
  hand-mesh doctor --ros-args -p model:=m3dhmr -p checkpoint:=best.safetensors

Exit code: 0, or 1 where something cannot work. Warnings are no failures.
"""
_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red", "skipped": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--listen",
        type=float,
        default=3.0,
        metavar="S",
        help="seconds to listen to cameras; 0: not at all (default: 3)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all findings")


def run(args: argparse.Namespace) -> int:
    """Look, and say; 1 where something cannot work."""
    if not 0.0 <= args.listen <= 600.0:
        raise UsageError(f"--listen is {args.listen:g}, expected 0 to 600 seconds")
    check_writable(args.report)
    try:
        given = parse_ros_arguments(args.ros_arguments, "hand_mesh_doctor", "")
        parameters = NodeParameters.from_overrides(given.parameters)
    except ValueError as error:
        raise UsageError(str(error)) from error

    def listen_here() -> list[HeardTopic]:
        from hand_mesh_ros.ros.dds_graph import DdsGraph  # its absence is a finding too

        graph = DdsGraph("hand_mesh_doctor", arguments=args.ros_arguments)
        try:
            return listen(graph, seconds=args.listen, reliability=parameters.image_reliability)
        finally:
            graph.shutdown()

    width = max(shutil.get_terminal_size().columns, 60)
    console, findings = Console(width=width, highlight=False), []
    for finding in examine(parameters, os.environ, listen_here if args.listen else None):
        findings.append(finding)
        _show(console, finding)
    counts = Counter(finding.verdict for finding in findings)
    console.print(", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES))
    report = {
        "findings": [asdict(finding) for finding in findings],
        "counts": {verdict: counts[verdict] for verdict in _STYLES},
    }
    write_report(args.report, report)
    return 1 if counts["failure"] else 0


def _show(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.verdict:8}", style=_STYLES[finding.verdict])
    line.append(f" {finding.check}: ", style="bold")
    line.append(finding.text, style="not bold default")
    console.print(line, soft_wrap=True)
    if finding.mend:
        console.print(Text(f"         mend: {finding.mend}", style="cyan"), soft_wrap=True)
