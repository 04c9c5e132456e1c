"""Label files: read as data alone, and every complaint names the file and what was expected."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hand_mesh_ros.training.datasets.base import DatasetError

_BLOCK_BYTES = 1 << 24
_NUMBER_BYTES = b"0123456789+-.eE,[] \t\r\n"
_NO_BRACKETS = bytes.maketrans(b"[]", b"  ")

log = logging.getLogger(__name__)


def existing_folder(root: Path | str, content: str) -> Path:
    """The dataset's folder.

    Raises:
        DatasetError: there is none; the message says what should be in it.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected {content}")
    return root


def existing_file(path: Path, content: str) -> Path:
    """`path`, if it is a file.

    Raises:
        DatasetError: it is not; the message says what should be in it.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; expected {content}")
    return path


def optional_file(path: Path, content: str) -> Path | None:
    """`path`, or None with a warning where there is no such file."""
    if path.is_file():
        return path
    log.warning("%s: no such file, so there are no %s", path, content)
    return None


def read_json(path: Path, content: str) -> Any:
    """Parse a JSON file.

    Raises:
        DatasetError: it is missing or damaged.
    """
    try:
        return json.loads(existing_file(path, content).read_bytes())
    except (ValueError, OSError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: not readable as JSON ({error}); expected {content}") from error


def read_number_rows(
    path: Path, row_shape: tuple[int, ...], content: str, dtype: type = np.float64
) -> np.ndarray:
    """(N, *row_shape) from a JSON file of nested lists that hold nothing but numbers.

    Block by block, without Python numbers: FreiHAND's vertices are 1.4 GB of text, which `json`
    turns into many times that.

    Raises:
        DatasetError: it is missing, has something else, or no whole number of rows.
    """
    parts, rest = [], b""
    with existing_file(path, content).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            text, _, rest = (rest + block).rpartition(b",")
            parts.append(_numbers(text, path, content).astype(dtype))
    parts.append(_numbers(rest, path, content).astype(dtype))
    numbers, size = np.concatenate(parts), math.prod(row_shape)
    if numbers.size % size:
        raise DatasetError(
            f"{path}: {numbers.size} numbers are no whole rows of {size}; expected {content}"
        )
    return numbers.reshape(-1, *row_shape)


def _numbers(text: bytes, path: Path, content: str) -> np.ndarray:
    other = text.translate(None, _NUMBER_BYTES)
    if other:
        raise DatasetError(
            f"{path}: has {other[:20]!r} where numbers belong (damaged?); expected {content}"
        )
    flat = text.translate(_NO_BRACKETS).strip()
    if not flat:
        return np.empty(0)
    words = flat.split(b",")
    try:
        return np.array(words, dtype="S").astype(np.float64)
    except ValueError as error:
        raise DatasetError(f"{path}: damaged numbers ({error}); expected {content}") from error


def require(mapping: Mapping[str, Any], key: str, path: Path) -> Any:
    """`mapping[key]`.

    Raises:
        DatasetError: there is no such key, or nothing to have keys; names the file.
    """
    if not isinstance(mapping, Mapping):
        raise DatasetError(f"{path}: expected an entry with the key {key!r}, got {mapping!r:.60}")
    if key not in mapping:
        known = ", ".join(str(k) for k in list(mapping)[:12])
        raise DatasetError(f"{path}: the key {key!r} is missing; it has {known or 'none'}")
    return mapping[key]


def require_array(
    mapping: Mapping[str, Any], key: str, shape: tuple[int, ...], path: Path
) -> np.ndarray:
    """float64 array of `mapping[key]`, brought to `shape` (a 3 x 1 vector is a vector).

    Raises:
        DatasetError: the key is missing, or its value is not that many numbers.
    """
    value = require(mapping, key, path)
    try:
        return np.asarray(value, np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: {key!r} should be numbers of shape {shape}, got {value!r:.60}"
        ) from error


def require_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`.

    Raises:
        DatasetError: it is not; lists them.
    """
    if value not in choices:
        raise DatasetError(f"{name} {value!r} is unknown; known: {', '.join(choices)}")
    return value
