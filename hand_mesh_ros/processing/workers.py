"""Recordings done here, or by several processes of this machine, each with its own pipeline."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hand_mesh_ros.processing.jobs import Job
from hand_mesh_ros.processing.listener import MAX_ATTEMPTS, Listener, UnfitWorkerError
from hand_mesh_ros.processing.recording import RecordingProcessor
from hand_mesh_ros.processing.settings import ProcessingError, Settings

_PACKAGE_LOG = logging.getLogger("hand_mesh_ros")
_FRAMES_A_MESSAGE = 10


def run_here(jobs: Sequence[Job], settings: Settings, out: Path, listener: Listener) -> None:
    """Do recordings one after the other in this process; raises UnfitWorkerError."""
    with _log_to(listener.said):
        processor = _processor(settings, out)
        try:
            for job in jobs:
                try:
                    report = processor.process(job, listener.frames)
                except ProcessingError as error:
                    listener.failed(job, str(error))
                else:
                    listener.finished(job, report)
        finally:
            processor.close()


def run_workers(
    jobs: Sequence[Job], settings: Settings, out: Path, listener: Listener, *, num_workers: int
) -> None:
    """Do recordings in several processes; a recording whose process died is done again.

    Args:
        jobs: the recordings.
        settings: of the run.
        out: folder of outputs.
        listener: told what happens.
        num_workers: processes, each held to one core, so that they neither get in each other's
            way nor take more of the machine than was asked for.

    Raises:
        UnfitWorkerError: the settings are of no use to any worker.
    """
    waiting, attempts = deque(jobs), Counter[str]()
    cores = _usable_cores()
    workers = [
        _Worker(settings, out, core=cores[i % len(cores)] if cores else None)
        for i in range(min(num_workers, len(jobs)))
    ]
    try:
        for worker in workers:
            worker.give(waiting.popleft())
        while busy := [worker for worker in workers if worker.job is not None]:
            wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection.poll() and not _listen(worker, listener):
                    job = worker.job
                    assert job is not None
                    listener.frames(-worker.frames_done)
                    attempts[job.name] += 1
                    if attempts[job.name] < MAX_ATTEMPTS:
                        waiting.appendleft(job)
                        listener.said(f"{job.name}: its worker died; it is done again")
                    else:
                        code = worker.exit_code()
                        listener.failed(job, f"its worker died {MAX_ATTEMPTS} times (code {code})")
                    worker.stop()
                    workers[workers.index(worker)] = worker = _Worker(
                        settings, out, core=worker.core
                    )
                if worker.job is None and waiting:
                    worker.give(waiting.popleft())
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process, and what it is at."""

    def __init__(self, settings: Settings, out: Path, *, core: int | None) -> None:
        self.core = core
        context = multiprocessing.get_context("spawn")  # threads of ours must not be copied
        self.connection, its_end = context.Pipe()
        self.job: Job | None = None
        self.frames_done = 0
        self._process = context.Process(
            target=_serve, args=(its_end, settings, out, core), daemon=True
        )
        with _without_interrupts():
            self._process.start()
        its_end.close()

    def give(self, job: Job) -> None:
        """Let it do a recording."""
        self.job, self.frames_done = job, 0
        with contextlib.suppress(OSError):  # dead already: its end of the pipe says so
            self.connection.send(job)

    def exit_code(self) -> int | None:
        """Of a process that has ended; negative: the signal that ended it."""
        self._process.join(timeout=5.0)
        return self._process.exitcode

    def stop(self) -> None:
        """End it, whatever it does."""
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _listen(worker: _Worker, listener: Listener) -> bool:
    """Take one message of a worker; False where it is dead."""
    try:
        kind, value = worker.connection.recv()
    except (EOFError, OSError):
        return False
    if kind == "unfit":
        raise UnfitWorkerError(value)
    if kind == "said":
        listener.said(value)
    elif kind == "frames":
        worker.frames_done += value
        listener.frames(value)
    else:
        job, worker.job = worker.job, None
        assert job is not None
        listener.finished(job, value) if kind == "finished" else listener.failed(job, value)
    return True


def _usable_cores() -> list[int]:
    """Those that this process may use; none where the system doesn't say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _serve(connection: Connection, settings: Settings, out: Path, core: int | None) -> None:
    """Life of a worker: jobs in, (kind, value) out, until the other end is closed."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(EOFError, OSError), _log_to(lambda text: _send(connection, text)):
        try:
            processor = _processor(settings, out)
        except UnfitWorkerError as error:
            connection.send(("unfit", str(error)))
            return
        while True:
            job = connection.recv()
            counter = _FrameCounter(connection)
            try:
                answer: tuple[str, Any] = "finished", processor.process(job, counter.add)
            except ProcessingError as error:
                answer = "failed", str(error)
            counter.send()
            connection.send(answer)


class _FrameCounter:
    """Tells about frames, some at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._count = connection, 0

    def add(self, count: int) -> None:
        """Count frames."""
        self._count += count
        if self._count >= _FRAMES_A_MESSAGE:
            self.send()

    def send(self) -> None:
        """Tell what was counted."""
        if self._count:
            self._connection.send(("frames", self._count))
        self._count = 0


def _send(connection: Connection, text: str) -> None:
    with contextlib.suppress(OSError):
        connection.send(("said", text))


def _processor(settings: Settings, out: Path) -> RecordingProcessor:
    try:
        return RecordingProcessor(settings, out)
    except (ValueError, OSError, ImportError) as error:
        raise UnfitWorkerError(" ".join(str(error).split())) from error


@contextlib.contextmanager
def _log_to(say: Any) -> Iterator[None]:
    """Give the package's warnings to somebody instead of writing them anywhere."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    handler, propagate = Handler(logging.WARNING), _PACKAGE_LOG.propagate
    _PACKAGE_LOG.addHandler(handler)
    _PACKAGE_LOG.propagate = False
    try:
        yield
    finally:
        _PACKAGE_LOG.removeHandler(handler)
        _PACKAGE_LOG.propagate = propagate


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started inside inherits that Ctrl-C is none of its business: we end it ourselves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
