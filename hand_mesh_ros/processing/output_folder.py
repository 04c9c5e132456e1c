"""The folder of a recording's outputs: whole or not there at all.

Pipelines remember earlier frames, and bags and videos have their index at their end, so a recording
that was cut off cannot go on in its middle and come out as if nothing had happened. Therefore the
recording is the unit: its files are written into a hidden folder, which gets its name when all is
done. A run that is started again skips what has a name, and does again what has none.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hand_mesh_ros.processing.jobs import Job
from hand_mesh_ros.processing.settings import ProcessingError, Settings

DONE = "done.json"
_PARTIAL_PREFIX, _PARTIAL_SUFFIX = ".unfinished-", ".part"
_LOCK = ".hand-mesh-process.lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it; raises ProcessingError, OSError."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ProcessingError(
                f"another hand-mesh process is writing to {out}; wait for it, or choose another -o"
            ) from error
        except OSError:
            pass  # a file system without locks: then the user has to take care
        _remove_unfinished(out)
        try:
            yield
        finally:
            _remove_unfinished(out)  # what workers that were lost left behind


def fingerprint(job: Job, settings: Settings) -> dict[str, Any]:
    """What decides the outputs of a job, as JSON has it; raises OSError."""
    described = {"input": job.identity(), "settings": settings.described()}
    return json.loads(json.dumps(described))


def finished_report(out: Path, job: Job, settings: Settings) -> dict[str, Any] | None:
    """Report of a job that was done before; None where it was not.

    Raises:
        ProcessingError: the folder holds something else.
    """
    folder = out / job.name
    if not folder.exists():
        return None
    mend = f"choose another -o, or --overwrite to replace {folder}"
    try:
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        differing = _differences(done["fingerprint"], fingerprint(job, settings))
        report = done["report"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProcessingError(
            f"{folder} exists and is no output of hand-mesh process; choose another -o"
        ) from error
    if differing:
        raise ProcessingError(
            f"{folder} was made with other settings ({', '.join(differing)}); {mend}"
        )
    return report


def discard(out: Path, job: Job) -> None:
    """Remove the outputs of an earlier run; raises ProcessingError where they are none."""
    folder = out / job.name
    if folder.exists():
        if not (folder / DONE).is_file():
            raise ProcessingError(
                f"{folder} exists and is no output of hand-mesh process; choose another -o"
            )
        shutil.rmtree(folder)


class OutputFolder:
    """A hidden folder to write into, which `publish` gives its name."""

    def __init__(self, out: Path, job: Job, settings: Settings) -> None:
        self._final, self._job, self._settings = out / job.name, job, settings
        self._fingerprint = fingerprint(job, settings)
        prefix = f"{_PARTIAL_PREFIX}{job.name}-"
        self.path = Path(tempfile.mkdtemp(prefix=prefix, suffix=_PARTIAL_SUFFIX, dir=out))
        umask = os.umask(0)
        os.umask(umask)
        self.path.chmod(0o777 & ~umask)  # mkdtemp's own is for secrets

    def publish(self, report: dict[str, Any]) -> None:
        """Give the folder its name; where another worker was quicker, its equal files stay."""
        done = {"report": report, "fingerprint": self._fingerprint}
        (self.path / DONE).write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
        try:
            self.path.rename(self._final)
        except OSError:
            if not (self._final / DONE).is_file():
                raise
            self.discard()

    def discard(self) -> None:
        """Remove what was written; safe to call twice, and after `publish`."""
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_unfinished(out: Path) -> None:
    for left in out.glob(f"{_PARTIAL_PREFIX}*{_PARTIAL_SUFFIX}"):
        shutil.rmtree(left, ignore_errors=True)


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of the values that differ, e.g. "settings.parameters.max_hands was 1, is 2"."""
    found: list[str] = []
    for key in {**old, **new}:
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, f"{prefix}{key}.")
        elif before != now:
            short = len(str(before)) + len(str(now)) < 100
            found.append(f"{key} was {before}, is {now}" if short else f"{key} changed")
    return found
