"""`hand-mesh process`: bags, videos and pictures in; bags, overlays, tables, meshes, pages out."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.report_file import check_writable, write_report
from hand_mesh_ros.processing.jobs import Job, find_jobs
from hand_mesh_ros.processing.listener import UnfitWorkerError
from hand_mesh_ros.processing.output_folder import discard, finished_report, locked
from hand_mesh_ros.processing.ray_workers import run_on_ray
from hand_mesh_ros.processing.settings import (
    BAG_STORAGES,
    DEFAULT_OUTPUTS,
    OUTPUTS,
    FrameRange,
    ProcessingError,
    Settings,
)
from hand_mesh_ros.processing.table_output import import_pyarrow
from hand_mesh_ros.processing.workers import run_here, run_workers
from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.sources.base import SourceError
from hand_mesh_ros.sources.calibration import camera_from_yaml

EPILOG = f"""\
Every recording gets a folder of its own in OUT; without choosing: {", ".join(DEFAULT_OUTPUTS)}.
A folder gets its name when all of it is done, so a run that was stopped goes on with the same
command: recordings that are done are skipped, the one that was cut off begins again.

Parameters of the pipeline and names of the output bag's topics are set as for the node:
  hand-mesh process drive.mcap -o out --ros-args -p known_hand_length_m:=0.19 -r __ns:=/robot
"""

_RAY_ACTORS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="bag (folder, .mcap or .db3), video, folder of pictures, or picture",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder")
    group = parser.add_argument_group("outputs")
    for name, text in OUTPUTS.items():
        group.add_argument(f"--{name}", action="store_true", help=text)
    group.add_argument(
        "--bag-storage", choices=BAG_STORAGES, default="mcap", help="of --bag (default: mcap)"
    )
    group.add_argument(
        "--mesh-frames", type=int, metavar="N", help="meshes of the first N frames only"
    )
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "--image-topic",
        action="append",
        default=[],
        metavar="T",
        help="of bags; may be given again (default: one for each camera, found by type)",
    )
    group.add_argument(
        "--camera-info-topic", default="", metavar="T", help="(default: beside the images)"
    )
    group.add_argument(
        "--camera-info",
        type=Path,
        metavar="YAML",
        help="calibration of videos, pictures, and of bags that have none of their own",
    )
    group.add_argument(
        "--depth-topic", default="", metavar="T", help="aligned depth images (default: not used)"
    )
    group.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame only")
    group.add_argument("--start", type=float, default=0.0, metavar="S", help="s into the recording")
    group.add_argument("--end", type=float, metavar="S", help="s into the recording")
    group.add_argument(
        "--rate", type=float, default=10.0, metavar="HZ", help="pace of pictures (default: 10)"
    )
    group = parser.add_argument_group("work")
    group.add_argument("--model", metavar="NAME", help="stands for -p model:=NAME")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes of one core each (default: one that takes what cores it can use; with "
        "--ray: actors, 2)",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help='do it on a Ray cluster ("auto", "ray://host:10001"; "local" starts one here) that '
        "sees the same folders",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace outputs made with other settings"
    )
    group.add_argument("--report", type=Path, metavar="FILE.json", help="write what was measured")


def run(args: argparse.Namespace) -> int:
    """Process all recordings; 1 if one of them failed."""
    settings = _settings(args)
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers is {args.workers}, expected 1 or more")
    check_writable(args.report)
    try:
        with locked(args.out):
            console = _process(args, settings)
    except (UnfitWorkerError, ProcessingError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot write to {args.out}: {error.strerror or error}") from error
    write_report(args.report, console.report())
    return 1 if console.failures else 0


def _process(args: argparse.Namespace, settings: Settings) -> _Console:
    jobs, not_found = find_jobs(args.inputs, settings)
    console = _Console(args.out)
    for failure in not_found:
        console.reject(failure.name, failure.reason)
    todo = [job for job in jobs if _is_to_do(job, args, settings, console)]
    if not todo:
        return console
    console.start(todo)
    try:
        if args.ray:
            run_on_ray(
                *(todo, settings, args.out, console),
                address=args.ray,
                num_workers=args.workers or _RAY_ACTORS,
            )
        elif args.workers is not None:
            run_workers(todo, settings, args.out, console, num_workers=args.workers)
        else:
            run_here(todo, settings, args.out, console)
    except KeyboardInterrupt:
        console.said("stopped; the same command goes on with what is left")
        raise
    finally:
        console.close()
    return console


def _is_to_do(job: Job, args: argparse.Namespace, settings: Settings, console: _Console) -> bool:
    """Whether a job is left to do; one that was done before is told of."""
    try:
        report = finished_report(args.out, job, settings)
    except ProcessingError as error:
        if not args.overwrite:
            console.failed(job, str(error))
            return False
        try:
            discard(args.out, job)
        except (ProcessingError, OSError) as why_not:
            console.failed(job, str(why_not))
            return False
        return True
    if report is not None:
        console.skipped(job, report)
    return report is None


def _settings(args: argparse.Namespace) -> Settings:
    """What the options ask for; raises UsageError."""
    chosen = tuple(name for name in OUTPUTS if getattr(args, name))
    try:
        ros = parse_ros_arguments(args.ros_arguments, "hand_mesh")
        model = {} if args.model is None else {"model": args.model}
        if args.parquet:
            import_pyarrow()
        if args.camera_info is not None:
            camera_from_yaml(args.camera_info)
        return Settings(
            outputs=chosen or DEFAULT_OUTPUTS,
            parameters=NodeParameters.from_overrides({**ros.parameters, **model}),
            ros_arguments=dataclasses.replace(ros, warnings=(), rest=()),
            frames=FrameRange(args.every, args.start, args.end),
            image_topics=tuple(args.image_topic),
            camera_info_topic=args.camera_info_topic,
            camera_info_file=None if args.camera_info is None else args.camera_info.resolve(),
            depth_topic=args.depth_topic,
            stills_rate_hz=args.rate,
            num_mesh_frames=args.mesh_frames,
            bag_storage=args.bag_storage,
        )
    except (ValueError, SourceError, ImportError) as error:
        raise UsageError(str(error)) from error


class _Console:
    """A `Listener`: a progress bar, a line for each recording, and the report of all."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._began_s = time.monotonic()
        self._bar: Any = None
        self._reports: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, str] = {}

    def start(self, jobs: list[Job]) -> None:
        """Show how far these are."""
        counts = [job.num_frames for job in jobs if job.num_frames is not None]
        total = sum(counts) if len(counts) == len(jobs) else None
        self._bar = tqdm(total=total, unit=" frames", disable=None, dynamic_ncols=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()

    def frames(self, count: int) -> None:
        """So many frames more are done."""
        self._bar.update(count)

    def finished(self, job: Job, report: dict[str, Any]) -> None:
        """Tell of a recording that is done."""
        self._reports[job.name] = report
        self._say(
            f"{job.name}: {report['frames']} frames, {report['frames_with_hand']} with a hand, "
            f"{report['fps']:.1f} frames/s ({report['real_time_factor']:.2f} x real time) -> "
            f"{self._out / job.name}",
            sys.stdout,
        )

    def skipped(self, job: Job, report: dict[str, Any]) -> None:
        """Tell of a recording that an earlier run has done."""
        self._reports[job.name] = {**report, "skipped": True}
        self._say(f"{job.name}: done before -> {self._out / job.name}", sys.stdout)

    def failed(self, job: Job, reason: str) -> None:
        """Tell of a recording that cannot be done."""
        self.reject(str(job.path), reason)

    def reject(self, name: str, reason: str) -> None:
        """Tell of an input of which nothing can be made."""
        self.failures[name] = reason
        self._say(f"hand-mesh process: {name}: {reason}", sys.stderr)

    def said(self, text: str) -> None:
        """Pass a line on."""
        self._say(f"hand-mesh process: {text}", sys.stderr)

    def report(self) -> dict[str, Any]:
        """Everything measured."""
        done = [r for r in self._reports.values() if "skipped" not in r]
        elapsed_s = time.monotonic() - self._began_s
        num_frames = sum(r["frames"] for r in done)
        recorded_s = sum(1e-9 * (r["last_stamp_ns"] - r["first_stamp_ns"]) for r in done)
        return {
            "recordings": self._reports,
            "failed": self.failures,
            "frames": num_frames,
            "seconds": round(elapsed_s, 3),
            "fps": round(num_frames / elapsed_s, 2),
            "real_time_factor": round(recorded_s / elapsed_s, 3),
        }

    def _say(self, text: str, file: Any) -> None:
        """One line that does not tear the bar."""
        tqdm.write(text, file=file)
        file.flush()
