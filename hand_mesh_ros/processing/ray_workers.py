"""Recordings done by actors of a Ray cluster; folders of inputs and outputs must be shared."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hand_mesh_ros.assembly import IMAGE_NETWORKS
from hand_mesh_ros.processing.jobs import Job
from hand_mesh_ros.processing.listener import MAX_ATTEMPTS, Listener, UnfitWorkerError
from hand_mesh_ros.processing.recording import RecordingProcessor
from hand_mesh_ros.processing.settings import ProcessingError, Settings

INSTALL_LINE = "pip install hand_mesh_ros[cluster]"


def run_on_ray(
    jobs: Sequence[Job],
    settings: Settings,
    out: Path,
    listener: Listener,
    *,
    address: str,
    num_workers: int,
) -> None:
    """Do recordings on a cluster; those of a lost actor are done again, by a new one.

    A recording's folder gets its name in one step, so that of two actors that did the same one (a
    lost one may live on behind a broken network) only the first is seen.

    Args:
        jobs: the recordings.
        settings: of the run.
        out: folder of outputs, the same on every node.
        listener: told what happens.
        address: of the cluster ("auto", "ray://host:10001"), or "local" to start one here.
        num_workers: actors, each with a pipeline and a CPU of its own, and for image networks
            with its share of the cluster's GPUs.

    Raises:
        UnfitWorkerError: Ray is missing, or no actor can be made of these settings.
    """
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False)
    except Exception as error:
        raise UnfitWorkerError(f"--ray {address}: {' '.join(str(error).split())}") from error
    try:
        _run(ray, jobs, settings, out, listener, num_workers)
    finally:
        ray.shutdown()


def _run(
    ray: Any,
    jobs: Sequence[Job],
    settings: Settings,
    out: Path,
    listener: Listener,
    num_workers: int,
) -> None:
    # Ray gives GPUs to those that ask; others see all of them or none, as its version has it.
    gpus = gpu_share(settings, num_gpus=ray.cluster_resources().get("GPU", 0.0), actors=num_workers)
    actor_type = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(RayWorker)
    # Absolute: an actor has a working folder of its own.
    new_actor = lambda: actor_type.remote(settings, out.resolve())  # noqa: E731
    waiting, attempts = deque(jobs), Counter[str]()
    idle = [new_actor() for _ in range(min(num_workers, len(jobs)))]
    at_work: dict[Any, tuple[Job, Any]] = {}
    while waiting or at_work:
        while waiting and idle:
            job, actor = waiting.popleft(), idle.pop()
            at_work[actor.process.remote(job)] = job, actor
        (answered, *_), _ = ray.wait(list(at_work), num_returns=1)
        job, actor = at_work.pop(answered)
        try:
            kind, value = ray.get(answered)
        except ray.exceptions.RayActorError:
            idle.append(new_actor())
            attempts[job.name] += 1
            if attempts[job.name] < MAX_ATTEMPTS:
                waiting.appendleft(job)
                listener.said(f"{job.name}: its worker was lost; it is done again")
            else:
                listener.failed(job, f"its worker was lost {MAX_ATTEMPTS} times")
            continue
        idle.append(actor)
        if kind == "unfit":
            raise UnfitWorkerError(value)
        if kind == "finished":
            listener.frames(value["frames"])
            listener.finished(job, value)
        else:
            listener.failed(job, value)


def gpu_share(settings: Settings, *, num_gpus: float, actors: int) -> float:
    """Of one GPU, for each actor, such that all of them find room; 0 where none is of use."""
    parameters = settings.parameters
    if parameters.model not in IMAGE_NETWORKS or parameters.device == "cpu" or num_gpus < 1.0:
        return 0.0
    return 1.0 / math.ceil(actors / math.floor(num_gpus))


class RayWorker:
    """An actor; its pipeline is made with its first recording, so that errors are answers."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self._settings, self._out = settings, out
        self._processor: RecordingProcessor | None = None

    def process(self, job: Job) -> tuple[str, Any]:
        """("finished", report), ("failed", reason) or ("unfit", reason)."""
        try:
            if self._processor is None:
                self._processor = RecordingProcessor(self._settings, self._out)
        except (ValueError, OSError, ImportError) as error:
            return "unfit", " ".join(str(error).split())
        try:
            return "finished", self._processor.process(job, lambda _: None)
        except ProcessingError as error:
            return "failed", str(error)


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UnfitWorkerError(f"--ray needs ray ({error}): {INSTALL_LINE}") from error
    return ray
