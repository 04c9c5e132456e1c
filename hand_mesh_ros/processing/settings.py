"""What a run of `hand-mesh process` was asked for; equal settings give equal files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from hand_mesh_ros import __version__
from hand_mesh_ros.one_line import OneLineError
from hand_mesh_ros.ros.arguments import RosArguments
from hand_mesh_ros.ros.parameters import NodeParameters

T = TypeVar("T")

OUTPUTS = {
    "bag": "rosbag2 with hand_meshes, hand_mesh, hand_topology, markers, joint states and tf",
    "overlay": "video with the hands drawn in (pictures, where the input is pictures)",
    "npz": "joints, keypoints, poses and roots of each hand and frame, for numpy.load",
    "parquet": "the same as one table, for pandas, DuckDB, Spark (needs pyarrow)",
    "ply": "mesh of each hand and frame, binary PLY",
    "glb": "mesh of each hand and frame, binary glTF",
    "obj": "mesh of each hand and frame, Wavefront OBJ",
    "summary": "one page: rates, distances over time, gaps, jitter, worst frames",
}
DEFAULT_OUTPUTS = ("bag", "overlay", "npz", "summary")
BAG_STORAGES = ("mcap", "sqlite3")


class ProcessingError(OneLineError):
    """A recording cannot be processed; one line for the user: what came, what to do."""


@dataclass(frozen=True)
class FrameRange:
    """Which frames of a recording are processed."""

    every: int = 1
    """1: all, 2: every second, ..."""
    start_s: float = 0.0
    """From the recording's first image on."""
    end_s: float | None = None
    """Exclusive, likewise; None: to the end."""

    def __post_init__(self) -> None:
        """Refuse ranges that hold nothing."""
        if self.every < 1:
            raise ValueError(f"every is {self.every}, expected 1 or more")
        if not (math.isfinite(self.start_s) and self.start_s >= 0.0):
            raise ValueError(f"start is {self.start_s} s, expected 0 or more")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise ValueError(f"end is {self.end_s} s, expected more than start ({self.start_s} s)")

    def select(self, items: Iterable[T], stamp_ns: Callable[[T], int]) -> Iterator[T]:
        """The items in the range, by their stamps."""
        first_ns: int | None = None
        num_inside = 0
        for item in items:
            now_ns = stamp_ns(item)
            first_ns = now_ns if first_ns is None else first_ns
            elapsed_s = 1e-9 * (now_ns - first_ns)
            if self.end_s is not None and elapsed_s >= self.end_s:
                return
            if self.start_s and elapsed_s < self.start_s:
                continue
            if num_inside % self.every == 0:
                yield item
            num_inside += 1

    def expected(self, num_frames: int | None, rate_hz: float) -> int | None:
        """About how many of a recording's frames are in the range."""
        if num_frames is None:
            return None
        last = num_frames if self.end_s is None else min(num_frames, round(self.end_s * rate_hz))
        return max(-(-(last - round(self.start_s * rate_hz)) // self.every), 0)


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is written, but for the recordings themselves."""

    outputs: tuple[str, ...]
    """Some of `OUTPUTS`."""
    parameters: NodeParameters
    """The pipeline, as for the live node."""
    ros_arguments: RosArguments
    """Names of the output bag's topics, as for the live node."""
    frames: FrameRange = FrameRange()
    image_topics: tuple[str, ...] = ()
    """Of bags; empty: found by their type."""
    camera_info_topic: str = ""
    """Of bags; empty: beside the image topic."""
    camera_info_file: Path | None = None
    """For what brings no calibration of its own."""
    depth_topic: str = ""
    stills_rate_hz: float = 10.0
    """Pace that pictures in a folder are given."""
    num_mesh_frames: int | None = None
    """Meshes of at most so many frames are written; None: of all."""
    bag_storage: str = "mcap"

    def __post_init__(self) -> None:
        """Refuse what the command line's own checks cannot see."""
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown or not self.outputs:
            raise ValueError(f"outputs are {self.outputs}, expected some of {', '.join(OUTPUTS)}")
        if self.bag_storage not in BAG_STORAGES:
            raise ValueError(
                f"bag_storage is {self.bag_storage!r}, expected one of {', '.join(BAG_STORAGES)}"
            )
        if not (math.isfinite(self.stills_rate_hz) and self.stills_rate_hz > 0.0):
            raise ValueError(f"rate is {self.stills_rate_hz} Hz, expected more than 0")
        if self.num_mesh_frames is not None and self.num_mesh_frames < 1:
            raise ValueError(f"mesh frames are {self.num_mesh_frames}, expected 1 or more")

    def described(self) -> dict[str, Any]:
        """The settings as JSON has them: a finished folder keeps them and is compared by them."""
        calibration, parameters = self.camera_info_file, self.parameters
        files = (calibration, parameters.checkpoint, parameters.hand_calibration_file)
        stats = {str(f): Path(f).stat() for f in files if f and Path(f).is_file()}
        return {
            "version": __version__,
            "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
            "outputs": sorted(self.outputs),
            "parameters": asdict(parameters),
            "namespace": self.ros_arguments.namespace,
            "remaps": [f"{r.source}:={r.target}" for r in self.ros_arguments.remaps],
            "frames": asdict(self.frames),
            "image_topics": list(self.image_topics),
            "camera_info_topic": self.camera_info_topic,
            "camera_info_file": None if calibration is None else str(calibration),
            "depth_topic": self.depth_topic,
            "stills_rate_hz": self.stills_rate_hz,
            "num_mesh_frames": self.num_mesh_frames,
            "bag_storage": self.bag_storage,
        }
