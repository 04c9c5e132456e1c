"""Engines on disk: built once, by one process, and never trusted unseen."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from hand_mesh_ros.backends.base import first_line
from hand_mesh_ros.backends.progress import Log, told_progress
from hand_mesh_ros.file_hash import sha256_of

ENVIRONMENT = "HAND_MESH_CACHE"
_DEFAULT = "~/.cache/hand_mesh_ros"
_FORMAT = 1
_LOCK_POLL_S = 0.1
_T = TypeVar("_T")


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on; another value of any field is another engine."""

    kind: str
    """What is stored: "onnx", "tensorrt", "parity"."""
    network: str
    """Name in the registry of networks, for people."""
    weights: str
    """Hash of weights and buffers."""
    config: str
    """The network's config, as JSON."""
    code: str
    """Hash of the files that the networks are written in."""
    spec: str
    """Names, shapes, batch range and precision."""
    device: str = "cpu"
    """Name, compute capability and driver of the GPU."""
    libraries: str = ""
    """Versions of what built it."""

    def __post_init__(self) -> None:
        for name in ("kind", "network"):
            value = getattr(self, name)
            if not value.replace("-", "_").isidentifier():
                raise ValueError(f"{name} is {value!r}, expected a name fit for a file")

    @property
    def stem(self) -> str:
        """File name without its ending."""
        digest = hashlib.sha256(self._json().encode()).hexdigest()[:24]
        return f"{self.network}-{self.kind}-{digest}"

    def _json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class EngineCodec(Generic[_T]):
    """How one kind of engine is made, written and read."""

    build: Callable[[], _T]
    save: Callable[[_T, Path], None]
    """May raise OSError, or what its library raises when it cannot."""
    load: Callable[[Path], _T]


class EngineCache:
    """A folder of engines; each has a payload, and a note of what it is, written last."""

    def __init__(self, folder: Path | str | None = None, *, log: Log = print) -> None:
        """Name the folder; it is made when something is stored.

        Args:
            folder: None: $HAND_MESH_CACHE, or else ~/.cache/hand_mesh_ros.
            log: gets a line about each thing that is built or goes wrong.
        """
        chosen = folder or os.environ.get(ENVIRONMENT) or _DEFAULT
        self.folder = Path(chosen).expanduser()
        self._log = log

    def get(self, key: EngineKey, codec: EngineCodec[_T]) -> _T:
        """The stored engine of that key, or a new one, which is stored if it can be.

        Of several processes that ask at once, one builds and the others wait for it. A cache that
        cannot be used costs time, nothing else. What `codec.build` raises is passed on.
        """
        what = f"{key.kind} engine of {key.network}"
        with contextlib.ExitStack() as stack:
            refused = None
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(self._locked(key, what))
            except OSError as error:
                refused = _reason(error)  # a folder that can only be read may still have it
            try:
                stored = self._stored(key, codec)
            except _UnfitError as error:
                self._log(f"cache {self._payload(key)}: {error}; it is built anew")
            else:
                if stored is not None:
                    return stored
            with told_progress(f"building the {what}", self._log):
                engine = codec.build()
            if refused is None:
                refused = self._store(key, codec, engine)
            if refused is not None:
                self._log(f"cache {self.folder}: {refused}; the {what} is not kept")
            return engine

    def _stored(self, key: EngineKey, codec: EngineCodec[_T]) -> _T | None:
        """What is stored under that key; None if nothing is.

        Raises:
            _UnfitError: something is, but it is not to be used.
        """
        note, payload = self._note(key), self._payload(key)
        if not note.exists() and not payload.exists():
            return None
        about = _read_note(note)
        if about.get("format") != _FORMAT or about.get("key") != asdict(key):
            raise _UnfitError("its note is another engine's or another version's")
        try:
            size, digest = payload.stat().st_size, sha256_of(payload)
        except OSError as error:
            raise _UnfitError(_reason(error)) from error
        if size != about.get("bytes"):
            raise _UnfitError(f"has {size} bytes instead of {about.get('bytes')}")
        if digest != about.get("sha256"):
            raise _UnfitError("is not what was written there")
        try:
            return codec.load(payload)
        except Exception as error:  # libraries raise what they like about files they cannot read
            raise _UnfitError(f"cannot be loaded ({type(error).__name__}: {error})") from error

    def _store(self, key: EngineKey, codec: EngineCodec[_T], engine: _T) -> str | None:
        """Put it into the folder; what went wrong, or None."""
        payload, note = self._payload(key), self._note(key)
        temporary = payload.with_name(f".{payload.name}.{os.getpid()}.tmp")
        temporary_note = note.with_name(f".{note.name}.{os.getpid()}.tmp")
        try:
            codec.save(engine, temporary)
            about = {
                "format": _FORMAT,
                "key": asdict(key),
                "bytes": temporary.stat().st_size,
                "sha256": sha256_of(temporary),
            }
            temporary_note.write_text(json.dumps(about, indent=1) + "\n")
            note.unlink(missing_ok=True)  # so that no note ever stands beside another's payload
            os.replace(temporary, payload)
            os.replace(temporary_note, note)
        except Exception as error:  # a full disk, or an engine that its library cannot save
            return _reason(error)
        finally:
            for file in (temporary, temporary_note):
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
        return None

    @contextlib.contextmanager
    def _locked(self, key: EngineKey, what: str) -> Iterator[None]:
        """Alone with that key; the system frees the lock of a process that dies."""
        with (self.folder / f"{key.stem}.lock").open("w") as file:
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        self._log(f"waiting for another process that builds the {what}")
                    told = True
                    time.sleep(_LOCK_POLL_S)
            yield

    def _payload(self, key: EngineKey) -> Path:
        return self.folder / f"{key.stem}.engine"

    def _note(self, key: EngineKey) -> Path:
        return self.folder / f"{key.stem}.json"


class _UnfitError(Exception):
    """A stored engine that is not to be used; its text says why."""


def _read_note(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise _UnfitError("has no note of what it is") from error
    except (OSError, ValueError) as error:
        raise _UnfitError("its note is not readable") from error
    if not isinstance(about, dict):
        raise _UnfitError("its note is not readable")
    return about


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
