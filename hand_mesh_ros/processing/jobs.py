"""From what the user named to recordings, each with a name for its folder of outputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hand_mesh_ros.processing.bag_files import find_cameras, is_bag, opened_bag
from hand_mesh_ros.processing.bag_source import BagSource
from hand_mesh_ros.processing.settings import ProcessingError, Settings
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.sources.base import NS_PER_S, Source, SourceError
from hand_mesh_ros.sources.calibration import camera_from_yaml
from hand_mesh_ros.sources.files import ImageSource, open_source
from hand_mesh_ros.types import Frame

VIDEO_START_NS = NS_PER_S
"""Stamp of the first frame of what has no clock of its own: ROS takes a stamp of 0 for "unset"."""


@dataclass(frozen=True)
class Job:
    """One recording: a video, a folder of pictures, a picture, or one camera of a bag."""

    path: Path
    image_topic: str = ""
    """Of bags."""
    name: str = ""
    """Of its folder of outputs; no other job has it."""
    num_frames: int | None = None
    """About how many frames it gives; None: unknown."""

    def identity(self) -> dict[str, Any]:
        """What tells whether the recording is still the same: names, sizes and times of files."""
        files = [self.path]
        if self.path.is_dir():
            files = sorted(p for p in self.path.iterdir() if p.is_file())
        stats = [(p.name, p.stat()) for p in files]
        return {
            "path": str(self.path.resolve()),
            "image_topic": self.image_topic,
            "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
        }


@dataclass(frozen=True)
class Failure:
    """An input of which nothing can be made, and why."""

    name: str
    reason: str


def find_jobs(inputs: Sequence[str], settings: Settings) -> tuple[list[Job], list[Failure]]:
    """The recordings in what the user named, in that order, and what is none."""
    jobs: list[Job] = []
    failures: list[Failure] = []
    paths = dict.fromkeys(Path(text).expanduser() for text in inputs)  # named twice, done once
    for path in paths:
        try:
            jobs.extend(_jobs_of(path, settings))
        except (ProcessingError, SourceError, OSError, ValueError) as error:
            failures.append(Failure(str(path), str(error)))
    return _with_names(jobs), failures


def open_job(job: Job, settings: Settings) -> Source:
    """The frames of a job that the settings ask for.

    Raises:
        ProcessingError, SourceError: it cannot be read.
    """
    if job.image_topic:
        return _open_bag(job, settings)
    source = open_source(
        str(job.path),
        fov_deg=settings.parameters.assumed_fov_deg,
        camera_info_path=settings.camera_info_file,
        rate_hz=settings.stills_rate_hz,
        start_ns=VIDEO_START_NS,
    )
    return _RangedSource(source, settings)


def are_stills(source: Source) -> bool:
    """Whether the frames are pictures of their own sizes, no film."""
    return isinstance(source, _RangedSource) and isinstance(source.whole, ImageSource)


class _RangedSource:
    """Those frames of a source that are in the range."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self.whole, self._range = source, settings.frames
        self.rate_hz = source.rate_hz
        self.num_frames = settings.frames.expected(source.num_frames, source.rate_hz)

    def __iter__(self) -> Iterator[Frame]:
        return self._range.select(self.whole, lambda frame: frame.stamp_ns)

    def close(self) -> None:
        self.whole.close()


def _jobs_of(path: Path, settings: Settings) -> list[Job]:
    if not path.exists():
        raise ProcessingError(f"no such file or folder: {path}")
    if not is_bag(path):
        job = Job(path)
        source = open_job(job, settings)
        source.close()
        return [replace(job, num_frames=source.num_frames)]
    with opened_bag(path) as reader:
        cameras = find_cameras(
            reader,
            path,
            Typestore(),
            topics=settings.image_topics,
            camera_info=settings.camera_info_topic,
        )
    one_camera = {"--depth-topic": settings.depth_topic, "--camera-info-topic": ""}
    one_camera["--camera-info-topic"] = settings.camera_info_topic
    for option, value in one_camera.items():
        if value and len(cameras) > 1:
            topics = ", ".join(c.image_topic for c in cameras)
            raise ProcessingError(
                f"{option} {value} belongs to one camera, but the bag {path} has {topics}: "
                "choose with --image-topic"
            )
    # Two cameras of one bag need two names.
    jobs = [Job(path, c.image_topic, name=_of_topic(c.image_topic)) for c in cameras]
    jobs = [replace(j, num_frames=_open_bag(j, settings).num_frames) for j in jobs]
    return jobs if len(jobs) > 1 else [replace(jobs[0], name="")]


def _open_bag(job: Job, settings: Settings) -> BagSource:
    store, parameters = Typestore(), settings.parameters
    calibration = settings.camera_info_file
    with opened_bag(job.path) as reader:
        (camera,) = find_cameras(
            reader,
            job.path,
            store,
            topics=[job.image_topic],
            camera_info=settings.camera_info_topic,
        )
    return BagSource(
        job.path,
        camera,
        store=store,
        frames=settings.frames,
        assumed_fov_deg=parameters.assumed_fov_deg,
        camera=None if calibration is None else camera_from_yaml(calibration),
        depth_topic=settings.depth_topic,
        depth_slop_s=parameters.depth_slop_s,
    )


def _with_names(jobs: list[Job]) -> list[Job]:
    """Each job with a name of its own: the file's, as much of its path as tells it from others."""
    candidates = [_candidates(job) for job in jobs]
    level = [0] * len(jobs)
    while True:
        owners: defaultdict[str, list[int]] = defaultdict(list)
        for i, names in enumerate(candidates):
            owners[names[level[i]]].append(i)
        clashing = [i for group in owners.values() if len(group) > 1 for i in group]
        longer = [i for i in clashing if level[i] + 1 < len(candidates[i])]
        if not longer:
            names = [c[n] for c, n in zip(candidates, level, strict=True)]
            return [replace(job, name=name) for job, name in zip(jobs, names, strict=True)]
        for i in longer:
            level[i] += 1


def _candidates(job: Job) -> list[str]:
    """Names for a job's folder, the shortest first: clip, clip.mp4, day_clip.mp4, ..."""
    path = job.path.resolve()
    parts = [part for part in path.parts if part != path.anchor]
    whole = ["_".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
    stem = path.name if path.is_dir() else path.stem
    camera = f".{job.name}" if job.name else ""
    return [f"{name.lstrip('.') or 'recording'}{camera}" for name in (stem, *whole)]


def _of_topic(topic: str) -> str:
    return topic.removesuffix("/compressed").strip("/").replace("/", "_")
