"""Datasets by name: `open_dataset("freihand:/data/FreiHAND?split=evaluation")`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, get_type_hints

from hand_mesh_ros.training.datasets.base import DatasetError, HandDataset

_DATASETS: dict[str, type[HandDataset]] = {}
_Class = TypeVar("_Class", bound=type[HandDataset])


def register_dataset(name: str) -> Callable[[_Class], _Class]:
    """Make a class known under that name; its keyword parameters are the options of a spec."""

    def register(cls: _Class) -> _Class:
        _DATASETS[name] = cls
        return cls

    return register


def dataset_names() -> tuple[str, ...]:
    """The names that `open_dataset` knows."""
    return tuple(sorted(_DATASETS))


def open_dataset(spec: str) -> HandDataset:
    """Open "NAME:FOLDER", with options as in "NAME:FOLDER?split=evaluation&mano=/data/mano".

    Raises:
        DatasetError: no such name, folder, option or value; lists what is known.
    """
    name, colon, rest = spec.partition(":")
    if not colon or name not in _DATASETS:
        raise DatasetError(
            f"dataset {spec!r} is unknown; expected NAME:FOLDER or NAME:FOLDER?option=value, "
            f"with one of these names: {', '.join(dataset_names())}"
        )
    folder, _, query = rest.partition("?")
    if not folder:
        raise DatasetError(f"dataset {spec!r} has no folder; expected {name}:FOLDER")
    cls = _DATASETS[name]
    known = _options_of(cls)
    options = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not equals or key not in known:
            raise DatasetError(
                f"option {part!r} of dataset {spec!r} is unknown; "
                f"{name} has: {', '.join(f'{option}=' for option in known)}"
            )
        options[key] = _parsed(value, known[key], f"option {key!r} of dataset {spec!r}")
    return cls(folder, **options)  # pyright: ignore[reportCallIssue]


def _options_of(cls: type[HandDataset]) -> dict[str, object]:
    """Keyword-only parameters of the class and their types."""
    hints = get_type_hints(cls.__init__)
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def _parsed(text: str, hint: object, what: str) -> object:
    if hint in (int, float):
        try:
            return int(text) if hint is int else float(text)
        except ValueError as error:
            raise DatasetError(f"{what} should be a number, got {text!r}") from error
    return text if hint is str else Path(text)
