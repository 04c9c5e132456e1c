"""`hand-mesh bench`: how long networks, frames and messages take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.report_file import write_report, write_text

WARM_UP_FRAMES = 10
PERCENTS = (50, 90, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    what = parser.add_argument_group("what to measure (default: the pipeline, frame after frame)")
    what.add_argument("--models", metavar="A,B", help="networks by name, or checkpoints")
    what.add_argument("--rates", metavar="HZ,HZ", help="the pipeline at these rates, such as 30,60")
    what.add_argument(
        "--ros",
        action="store_true",
        help="everything after the pipeline: messages, publishing, a subscriber to each topic",
    )
    what.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A.json", "B.json"), help="two reports of bench"
    )
    networks = parser.add_argument_group("networks (in the pipeline: one back-end and precision)")
    networks.add_argument(
        "--backends", metavar="X,Y", help="such as torch,onnx,tensorrt (default: all there are)"
    )
    networks.add_argument(
        "--precision", default="fp32", metavar="P,Q", help="fp32, fp16, bf16 (default: fp32)"
    )
    networks.add_argument(
        "--batch", default="1", metavar="N,M", help="hands at a time (default: 1)"
    )
    networks.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    networks.add_argument("--runs", type=int, default=100, metavar="N", help="(default: 100)")
    networks.add_argument(
        "--threads", type=int, metavar="N", help="on a CPU (default: all, up to 8)"
    )
    networks.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="engines to use and to keep (default: all are built anew, to time that)",
    )
    pipeline = parser.add_argument_group("pipeline")
    pipeline.add_argument("--pipeline", default="lifter", metavar="MODEL", help="(default: lifter)")
    pipeline.add_argument("--frames", type=int, default=300, metavar="N", help="(default: 300)")
    pipeline.add_argument("--hands", type=int, default=2, help="1 or 2 (default: 2)")
    pipeline.add_argument("--width", type=int, default=640, help="px (default: 640)")
    pipeline.add_argument("--height", type=int, default=480, help="px (default: 480)")
    pipeline.add_argument("--depth", action="store_true", help="with depth images (not --ros)")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE.md", help="write it as a table")


def run(args: argparse.Namespace) -> int:
    """Measure, print, report; 1 when a network or back-end that was asked for is missing."""
    _check(args)
    # Each way of measuring has libraries of its own, some of them large.
    if args.compare is not None:
        from hand_mesh_ros.cli.bench_compare import compared

        report, text = compared(*args.compare)
    elif args.models is not None:
        from hand_mesh_ros.cli.bench_models import models_report

        report, text = models_report(args)
    elif args.rates is not None:
        from hand_mesh_ros.cli.bench_pipeline import rates_report

        report, text = rates_report(args, _numbers("--rates", args.rates, float))
    elif args.ros:
        from hand_mesh_ros.cli.bench_ros import ros_results

        report = {"results": ros_results(num_frames=args.frames, num_hands=args.hands)}
        text = stage_text(report["results"])
    else:
        from hand_mesh_ros.cli.bench_pipeline import pipeline_report

        report, text = pipeline_report(args)
    print(text, end="")
    write_report(args.report, report)
    write_text(args.markdown, text, "--markdown")
    return 1 if report.get("refused") else 0


def _check(args: argparse.Namespace) -> None:
    chosen = [n for n in ("models", "rates", "ros", "compare") if getattr(args, n)]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} are two measurements, ask for one")
    for name in ("frames", "runs"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} is {getattr(args, name)}, expected 1 or more")
    if args.hands not in (1, 2):
        raise UsageError(f"--hands is {args.hands}, expected 1 or 2")
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads is {args.threads}, expected 1 or more")
    for name in ("report", "markdown"):
        path = getattr(args, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"--{name} {path}: no such folder")


def _numbers(option: str, text: str, kind: type[int] | type[float]) -> list[Any]:
    """Positive numbers of a list such as "1,8"."""
    try:
        values = [kind(word) for word in words(text)]
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected numbers such as 1,8") from error
    if not values or any(value <= 0 for value in values):
        raise UsageError(f"{option} {text}: expected positive numbers such as 1,8")
    return values


def batches(text: str) -> list[int]:
    """Batch sizes of `--batch`, each once."""
    return sorted(set(_numbers("--batch", text, int)))


def words(text: str) -> list[str]:
    """Entries of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def spread_ms(times_s: list[float]) -> dict[str, float]:
    """Median, 90th and 99th percentile, ms."""
    return {f"p{n}": round(1e3 * float(np.percentile(times_s, n)), 3) for n in PERCENTS}


def stage_text(results: list[dict[str, Any]]) -> str:
    """For people: one line a result, and one for each of its parts."""
    lines = []
    for result in results:
        what = result.get("graph") or f"{result['model']} {result['width']}x{result['height']}"
        if "input_hz" in result:
            what += f" at {result['input_hz']:g} Hz: {result['output_hz']:.1f} Hz out"
        lines.append(
            f"{what}, {result['hands']} hands, {result['frames']} frames: ms p50 "
            f"{result['ms_p50']:.3f}  p90 {result['ms_p90']:.3f}  p99 {result['ms_p99']:.3f}"
        )
        for name, times in result["stage_ms"].items():
            lines.append(f"    {name:<16}" + " ".join(f"{times[f'p{n}']:7.3f}" for n in PERCENTS))
    return "".join(f"{line}\n" for line in lines)
