"""A run on a local Ray cluster that loses one of its two actors."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
from process_samples import settings

from hand_mesh_ros.processing.jobs import find_jobs
from hand_mesh_ros.processing.output_folder import locked
from hand_mesh_ros.processing.ray_workers import run_on_ray


class Notes:
    """A `Listener` that remembers."""

    def __init__(self):
        self.reports, self.failures, self.lines = {}, {}, []

    def frames(self, count):
        pass

    def finished(self, job, report):
        assert job.name not in self.reports
        self.reports[job.name] = report

    def failed(self, job, reason):
        self.failures[job.name] = reason

    def said(self, text):
        self.lines.append(text)


def actors():
    """Processes of ours that are RayWorker actors."""
    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if any("ray::RayWorker" in word for word in process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def run_and_lose_one(ray, paths, out):
    """Process with two actors, one of which is killed at its first recording."""
    chosen = settings()
    jobs, failures = find_jobs([str(p) for p in paths], chosen)
    assert not failures
    before = set(actors())

    def lose_one():
        while True:
            mine = [p for p in actors() if p not in before]
            if mine and list(out.glob(".unfinished-*/hands/*.mcap")):
                os.kill(mine[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    notes = Notes()
    with locked(out):
        threading.Thread(target=lose_one, daemon=True).start()
        run_on_ray(jobs, chosen, out, notes, address="local", num_workers=2)
    assert not notes.failures
    assert sorted(notes.reports) == [job.name for job in jobs]
    return notes.lines
