"""Checkpoints on disk, without torch: safetensors with one JSON entry that says what they are."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hand_mesh_ros.file_hash import FileHashError, check_packaged
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.one_line import OneLineError

WEIGHTS = Path(__file__).parents[1] / "weights"
_ENTRY, _PART_OF = "hand_mesh_ros", "hand_mesh_ros_part_of"
_MOST_PARTS = 100
_FORMAT = 1
_STEP = 1e-6  # of the fingerprint: one micrometre, a millionth of a weight


class CheckpointError(OneLineError, ValueError):
    """A checkpoint cannot be read, written or used: one clear line."""


@dataclass(frozen=True, eq=False)
class CheckpointFile:
    """A trained network with all that is needed to build, feed and trust it."""

    network: str
    """Name in the registry of networks."""
    config: dict[str, Any]
    """The network's config as plain JSON."""
    hand_model: str
    hand_model_fingerprint: str
    """Of the hand model that it was trained for."""
    preprocessing: dict[str, Any]
    """Constants of the input, so that no two users of the weights can disagree."""
    training: dict[str, Any]
    """How it was trained: task, recipe, seed, steps, figures, version."""
    tensors: dict[str, np.ndarray]
    """Weight by name; float16 in the file is float32 here."""


_TYPES = {"config": dict, "preprocessing": dict, "training": dict}


def write_checkpoint_file(
    path: Path | str, file: CheckpointFile, *, half: bool = False, most_bytes: int | None = None
) -> None:
    """Write a checkpoint so that it is either whole or not there.

    Args:
        path: of the file, replaced if it exists.
        file: what to write.
        half: store floating point numbers as float16, and integers as int16 where they fit.
        most_bytes: of tensors in one file; where that is not enough, the others go to files beside
            it, "NAME.part2.safetensors" and so on.

    Raises:
        CheckpointError: a tensor is not finite, or too large for float16 or for one file; or the
            disk refuses.
    """
    path = Path(path)
    tensors = {name: np.asarray(t, order="C") for name, t in file.tensors.items()}
    if half:
        tensors = {name: _halved(tensor) for name, tensor in tensors.items()}
    kind = "finite in float16" if half else "finite"
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: tensor {name!r} is not {kind}, nothing was written")
    parts = [tensors] if most_bytes is None else _in_parts(tensors, most_bytes, path)
    about = {f.name: getattr(file, f.name) for f in fields(file) if f.name != "tensors"}
    text = json.dumps({"format": _FORMAT, "parts": len(parts), **about}, sort_keys=True)
    # The first file is the last to change: it is what the others are found by.
    for number in range(len(parts), 0, -1):
        entry = {_ENTRY: text} if number == 1 else {_PART_OF: _identity(text)}
        with replaced_file(_part_path(path, number)) as temporary:
            save_file(parts[number - 1], temporary, metadata=entry)


def _halved(tensor: np.ndarray) -> np.ndarray:
    if tensor.dtype.kind == "f":
        with np.errstate(over="ignore"):  # an overflow is infinite, and refused later
            return tensor.astype(np.float16)
    if tensor.dtype.kind == "i" and (tensor == tensor.astype(np.int16)).all():
        return tensor.astype(np.int16)
    return tensor


def _in_parts(
    tensors: dict[str, np.ndarray], most_bytes: int, path: Path
) -> list[dict[str, np.ndarray]]:
    """Each into the first part that has room for it, large ones first."""
    parts: list[dict[str, np.ndarray]] = [{}]
    room = [most_bytes]
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].nbytes):
        if tensor.nbytes > most_bytes:
            raise CheckpointError(
                f"{path}: tensor {name!r} has {tensor.nbytes} bytes, a file takes {most_bytes}"
            )
        fits = next((i for i, left in enumerate(room) if left >= tensor.nbytes), len(parts))
        if fits == len(parts):
            parts.append({})
            room.append(most_bytes)
        parts[fits][name] = tensor
        room[fits] -= tensor.nbytes
    return parts


def _part_path(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}.part{number}{path.suffix}")


def _identity(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def replaced_file(path: Path | str) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to it when all went well.

    Raises:
        CheckpointError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise CheckpointError(f"cannot write {path}: {reason or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_checkpoint_file(path: Path | str) -> CheckpointFile:
    """Read and check a checkpoint; nothing in it is executed.

    Raises:
        CheckpointError: it is missing, broken, not ours, or has tensors that are not finite.
    """
    path = Path(path)
    metadata, tensors = _read(path)
    text = metadata.get(_ENTRY)
    if text is None:
        is_part = _PART_OF in metadata
        reason = "only a part of one" if is_part else "it says nothing of itself"
        raise CheckpointError(f"{path}: no checkpoint of hand_mesh_ros, {reason}")
    about, num_parts = _checked(text, path)
    for number in range(2, num_parts + 1):
        part = _part_path(path, number)
        metadata, more = _read(part)
        if metadata.get(_PART_OF) != _identity(text):
            raise CheckpointError(f"{part}: belongs to another checkpoint than {path.name}")
        tensors |= more
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: tensor {name!r} has values that are not finite")
        if tensor.dtype == np.float16:
            tensors[name] = tensor.astype(np.float32)
    return CheckpointFile(**about, tensors=tensors)


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Metadata and tensors of one file; the package's own are compared with their hashes."""
    try:
        if path.is_file():
            check_packaged(path)
        with safe_open(path, framework="np") as opened:
            names = opened.keys()  # an iterator that cannot be iterated without it
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in names}
    except FileHashError as error:
        raise CheckpointError(str(error)) from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: a type NumPy has not
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error


def _checked(text: str, path: Path) -> tuple[dict[str, Any], int]:
    """The JSON entry's fields, of the right types, and the number of files."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its description is not readable JSON") from error
    version = about.pop("format", None) if isinstance(about, dict) else None
    if version != _FORMAT:
        raise CheckpointError(f"{path}: has format {version!r}, this version reads {_FORMAT}")
    for field in fields(CheckpointFile):
        kind = _TYPES.get(field.name, str)
        if field.name != "tensors" and not isinstance(about.get(field.name), kind):
            raise CheckpointError(f"{path}: its description has no {kind.__name__} {field.name!r}")
    num_parts = about.get("parts", 1)
    if not isinstance(num_parts, int) or not 1 <= num_parts <= _MOST_PARTS:
        raise CheckpointError(f"{path}: its description has {num_parts!r} parts")
    known = {field.name for field in fields(CheckpointFile)} - {"tensors"}
    return {name: about[name] for name in known}, num_parts


def checkpoint_path(name_or_path: str) -> Path:
    """The package's weights of that name, or else a path that is taken as it is.

    Raises:
        CheckpointError: neither; lists the names there are.
    """
    packaged = WEIGHTS / f"{name_or_path}.safetensors"
    if packaged.parent == WEIGHTS and packaged.is_file():
        return packaged
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    names = sorted(f.stem for f in WEIGHTS.glob("*.safetensors") if ".part" not in f.name)
    raise CheckpointError(
        f"no checkpoint {name_or_path!r}: expected the path of a .safetensors file, or one of "
        f"these names: {', '.join(names) or '(the package has no weights)'}"
    )


def hand_model_fingerprint(model: HandModel) -> str:
    """16 hexadecimal digits of all that a network learns about a hand model.

    Numbers are rounded to a millionth first, so that the last bits of a machine's arithmetic do not
    matter.
    """
    arrays: dict[str, np.ndarray | None] = {
        "template_m": model.template_m,
        "faces": model.faces,
        "shape_dirs_m": model.shape_dirs_m,
        "joint_regressor": model.joint_regressor,
        "skinning_weights": model.skinning_weights,
        "pose_dirs_m": model.pose_dirs_m,
    }
    for name, regressor in sorted(model.keypoint_regressors.items()):
        arrays[f"{name}.joint"] = regressor.joint
        arrays[f"{name}.offset_m"] = regressor.offset_m
        arrays[f"{name}.offset_dirs_m"] = regressor.offset_dirs_m
    digest = hashlib.sha256()
    for name, array in arrays.items():
        if array is not None:
            digest.update(f"{name} {array.shape} ".encode())
            digest.update(_rounded(array).tobytes())
    return digest.hexdigest()[:16]


def _rounded(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        array = np.round(array.astype(np.float64) / _STEP)
    return np.ascontiguousarray(array.astype("<i8"))


def check_hand_model(file: CheckpointFile, model: HandModel) -> None:
    """Refuse a checkpoint that was trained for another hand model.

    Raises:
        CheckpointError: it names both.
    """
    here = hand_model_fingerprint(model)
    if (file.hand_model, file.hand_model_fingerprint) != (model.name, here):
        raise CheckpointError(
            f"network {file.network!r} was trained for hand model {file.hand_model!r} "
            f"({file.hand_model_fingerprint}), this one is {model.name!r} ({here}); "
            "take the hand model that it was trained for, or train it anew"
        )
