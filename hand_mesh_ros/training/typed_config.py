"""Frozen dataclasses from plain values (YAML, JSON, command line) and back, types checked."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hand_mesh_ros.one_line import OneLineError
from hand_mesh_ros.plain_yaml import PlainYamlError, read_yaml

_T = TypeVar("_T")


class ConfigError(OneLineError, ValueError):
    """A configuration has an unknown key, a wrong type or an impossible value."""


def option(
    default: Any, text: str, *, minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A dataclass field with its meaning, and the range that `check_ranges` holds it to."""
    about = {"text": text, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=about)


def check_ranges(config: Any) -> None:
    """Refuse numbers outside their option's range; for `__post_init__`.

    Raises:
        ValueError: names field and value.
    """
    for field in dataclasses.fields(config):
        low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
        value = getattr(config, field.name)
        if (low is None and high is None) or value is None:
            continue
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        if not (math.isfinite(value) and low <= value <= high):
            expected = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
            raise ValueError(f"{field.name} is {value}, expected {expected}")


def config_from_plain(cls: type[_T], values: object, where: str) -> _T:
    """Build a dataclass from a mapping of its fields; fields that are absent keep their default.

    Args:
        cls: fields may be bool, int, float, str, Path, Literal, Optional and other unions, tuples,
            dicts by str, and further dataclasses.
        values: the mapping.
        where: what errors call it, "trainer" for example.

    Raises:
        ConfigError: unknown key (lists the known ones), wrong type, or a value the class refuses.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is {values!r}, expected a section with keys")
    known = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{where}.{key} is unknown; {hint}{where} has: {', '.join(known)}")
    hints = get_type_hints(cls)
    given = {key: _typed(values[key], hints[key], f"{where}.{key}") for key in values}
    try:
        return cls(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def config_to_plain(value: Any) -> Any:
    """The same in dicts, lists, numbers and strings: what YAML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field for field in dataclasses.fields(value) if field.init)
        return {field.name: config_to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): config_to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [config_to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; sections that both have are merged key by key."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def parse_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Nested values from "trainer.steps=1000" and the like; values are read as YAML.

    Raises:
        ConfigError: no `=`, an empty key, or a value that is no YAML.
    """
    result: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"{text!r} is no assignment, expected section.key=value")
        try:
            nested: Any = read_yaml(value)
        except PlainYamlError as error:
            raise ConfigError(f"{text!r}: the value is no YAML: {error}") from error
        for part in reversed(key.split(".")):
            nested = {part: nested}
        result = merged(result, nested)
    return result


def _typed(value: Any, hint: Any, where: str) -> Any:
    """The value as the type hint wants it; raises ConfigError."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, arguments, where)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            choices = ", ".join(repr(choice) for choice in arguments)
            raise ConfigError(f"{where} is {value!r}, expected one of {choices}")
        return value
    if origin is tuple:
        return _typed_tuple(value, arguments, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}, expected a section with keys")
        return {str(k): _typed(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return config_from_plain(hint, value, where)
    return _scalar(value, hint, where)


def _first_that_fits(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    reasons = []
    for hint in sorted(hints, key=lambda h: h is not types.NoneType):
        try:
            return _typed(value, hint, where)
        except ConfigError as error:
            reasons.append(error)
    raise reasons[-1]


def _typed_tuple(value: Any, arguments: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} is {value!r}, expected a list")
    if arguments[-1:] == (Ellipsis,):
        arguments = arguments[:1] * len(value)
    if len(value) != len(arguments):
        raise ConfigError(f"{where} has {len(value)} entries, expected {len(arguments)}")
    pairs = enumerate(zip(value, arguments, strict=True))
    return tuple(_typed(item, hint, f"{where}[{i}]") for i, (item, hint) in pairs)


def _scalar(value: Any, hint: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) in (int, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if type(value) is not hint:
        names = {
            bool: "true or false",
            int: "an integer",
            float: "a number",
            str: "text",
            types.NoneType: "null",
        }
        expected = names.get(hint, getattr(hint, "__name__", str(hint)))
        raise ConfigError(f"{where} is {value!r}, expected {expected}")
    return value
