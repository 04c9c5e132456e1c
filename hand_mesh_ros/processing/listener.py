"""What a run tells while it works, whoever does the work."""

from __future__ import annotations

from typing import Any, Protocol

from hand_mesh_ros.processing.jobs import Job

MAX_ATTEMPTS = 2
"""A recording at which two workers died is not given to a third."""


class Listener(Protocol):
    """Called on the thread that runs the workers."""

    def frames(self, count: int) -> None:
        """So many frames more are done; fewer than 0 where a worker was lost with them."""
        ...

    def finished(self, job: Job, report: dict[str, Any]) -> None:
        """All outputs of a recording are there."""
        ...

    def failed(self, job: Job, reason: str) -> None:
        """A recording cannot be done."""
        ...

    def said(self, text: str) -> None:
        """A line for the user."""
        ...


class UnfitWorkerError(Exception):
    """No worker can be made of these settings; the text is one line for the user."""
