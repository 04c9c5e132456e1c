"""`hand-mesh bench`: how long a frame takes, and what publishing its hands adds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from hand_mesh_ros.cli.main import UsageError

WARM_UP_FRAMES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "--ros",
        action="store_true",
        help="everything after the pipeline: messages, publishing, a subscriber to each topic",
    )
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="(default: 300)")
    parser.add_argument("--hands", type=int, default=2, help="1 or 2 (default: 2)")
    parser.add_argument("--width", type=int, default=640, help="px (default: 640)")
    parser.add_argument("--height", type=int, default=480, help="px (default: 480)")
    parser.add_argument("--depth", action="store_true", help="with a depth image (not with --ros)")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was measured")


def run(args: argparse.Namespace) -> int:
    """Measure, print, report."""
    if args.frames < 1:
        raise UsageError(f"--frames is {args.frames}, expected 1 or more")
    if args.hands not in (1, 2):
        raise UsageError(f"--hands is {args.hands}, expected 1 or 2")
    if args.ros:
        from hand_mesh_ros.cli.bench_ros import ros_results  # its libraries are not small

        results = ros_results(num_frames=args.frames, num_hands=args.hands)
    else:
        results = [pipeline_result(args)]
    for result in results:
        print(line(result))
        for name, times in result["stage_ms"].items():
            print(f"    {name:<16}{times['p50']:7.3f} {times['p90']:7.3f} {times['p99']:7.3f}")
    if args.report is not None:
        try:
            args.report.write_text(json.dumps({"results": results}, indent=2) + "\n")
        except OSError as error:
            raise UsageError(f"--report {args.report}: {error.strerror}") from error
    return 0


def pipeline_result(args: argparse.Namespace) -> dict[str, Any]:
    """Times of the default pipeline and its stages on the synthetic camera."""
    from tqdm import tqdm  # not where only ROS's own Python packages are

    from hand_mesh_ros.assembly import build_pipeline
    from hand_mesh_ros.ros.parameters import NodeParameters
    from hand_mesh_ros.sources.base import SourceError
    from hand_mesh_ros.sources.synthetic import SyntheticCamera

    try:
        camera = SyntheticCamera(args.width, args.height, hands=args.hands)
        pipeline = build_pipeline(NodeParameters(max_hands=args.hands))
    except (SourceError, ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
    stage_s: dict[str, list[float]] = {"total": []}
    num_hands = 0
    for index in tqdm(range(args.frames + WARM_UP_FRAMES), unit="frame", leave=False):
        frame = camera.with_depth(index) if args.depth else camera.frame_at(index).frame
        result = pipeline.process(frame)
        if index >= WARM_UP_FRAMES:
            num_hands += len(result.hands)
            stage_s["total"].append(sum(result.stage_s.values()))
            for name, time_s in result.stage_s.items():
                stage_s.setdefault(name, []).append(time_s)
    pipeline.close()
    total_s = stage_s.pop("total")
    return {
        "model": "landmark_fit",
        "backend": "numpy",
        "precision": "fp64",
        "batch": 1,
        "width": args.width,
        "height": args.height,
        "hands": round(num_hands / args.frames, 2),
        "frames": args.frames,
        **{f"ms_{name}": value for name, value in spread_ms(total_s).items()},
        "fps": round(1.0 / float(np.median(total_s)), 1),
        "stage_ms": {name: spread_ms(times) for name, times in stage_s.items()},
    }


def spread_ms(times_s: list[float]) -> dict[str, float]:
    """Median, 90th and 99th percentile, ms."""
    return {
        f"p{percent}": round(1e3 * float(np.percentile(times_s, percent)), 3)
        for percent in (50, 90, 99)
    }


def line(result: dict[str, Any]) -> str:
    """One result for people; the columns of its parts come below."""
    what = result.get("graph") or f"{result['model']} {result['width']}x{result['height']}"
    return (
        f"{what}, {result['hands']} hands, {result['frames']} frames: "
        f"ms p50 {result['ms_p50']:.3f}  p90 {result['ms_p90']:.3f}  p99 {result['ms_p99']:.3f}"
    )
