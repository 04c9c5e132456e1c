"""Parameter files of ROS 2: YAML with one `ros__parameters` section for each (pattern of) node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hand_mesh_ros.plain_yaml import PlainLoader, PlainYamlError, read_yaml
from hand_mesh_ros.ros.names import ArgumentError, checked_parameter_name

_SECTION = "ros__parameters"


class _RosLoader(PlainLoader):
    """Plain scalars as ROS reads them: 1e-3 is a number, 12:30 and 2024-01-01 are strings."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own attribute


for _tag, _pattern in (
    ("bool", r"(?i:true|false|yes|no|on|off)"),
    ("int", r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)"),
    ("float", r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(?i:inf)|\.(?i:nan)"),
    ("null", r"~|(?i:null)|"),
):
    _RosLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})$"), None
    )


@dataclass(frozen=True)
class Section:
    """The parameters that a file gives to the nodes that fit a pattern."""

    pattern: str
    """Name of a node ("/robot/hand_mesh"), `*` standing for one part and `**` for any number."""
    parameters: dict[str, Any]
    """Value by dotted name."""

    def concerns(self, full_name: str) -> bool:
        """Whether the node of that fully qualified name gets the section."""
        wildcards = {"**": "(?:/[^/]+)*", "*": "/[^/]+"}
        parts = [part for part in self.pattern.split("/") if part]
        expression = "".join(wildcards.get(part, "/" + re.escape(part)) for part in parts)
        return re.fullmatch(expression, full_name) is not None


def load_parameter_file(path: str) -> list[Section]:
    """Sections of a file, in its order."""
    try:
        text = Path(path).expanduser().read_text("utf-8")
    except FileNotFoundError:
        raise ArgumentError(f"parameter file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"parameter file {path} cannot be read: {error}") from error
    try:
        content = read_yaml(text, _RosLoader)
    except PlainYamlError as error:
        raise ArgumentError(f"parameter file {path} is not valid YAML: {error}") from error
    sections = list(_sections(content, "", path))
    if not sections:
        raise ArgumentError(
            f"parameter file {path} has no {_SECTION}, "
            f"expected e.g. /**: {{{_SECTION}: {{NAME: VALUE}}}}"
        )
    return sections


def parse_value(text: str, name: str) -> Any:
    """Value of a `NAME:=VALUE` argument, typed by YAML's rules."""
    try:
        value = read_yaml(text, _RosLoader)
    except PlainYamlError as error:
        raise ArgumentError(f"parameter {name}: {text!r} is not a YAML value: {error}") from error
    return _checked(value, name, "the command line")


def _sections(content: Any, pattern: str, path: str) -> Iterator[Section]:
    if not isinstance(content, dict):
        raise ArgumentError(
            f"parameter file {path}: {pattern or 'the top'} holds {content!r}, "
            f"expected node names above {_SECTION}"
        )
    for key, value in content.items():
        if key != _SECTION:
            yield from _sections(value, f"{pattern}/{str(key).strip('/')}", path)
        elif isinstance(value, dict) and pattern:
            yield Section(pattern, dict(_parameters(value, "", path)))
        else:
            raise ArgumentError(
                f"parameter file {path}: {_SECTION} of {pattern or 'no node'} "
                f"holds {value!r}, expected NAME: VALUE below the name of a node"
            )


def _parameters(content: dict[Any, Any], prefix: str, path: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _parameters(value, f"{name}.", path)
        else:
            yield checked_parameter_name(name), _checked(value, name, path)


def _checked(value: Any, name: str, where: str) -> Any:
    """The value, if a ROS parameter can have it: a scalar, or a list of scalars of one kind."""
    kinds = {type(item) for item in (value if isinstance(value, list) else [value])}
    if kinds <= {int, float} and isinstance(value, list):
        return [float(item) for item in value] if float in kinds else value
    if len(kinds) <= 1 and kinds <= {bool, int, float, str}:
        return value
    raise ArgumentError(
        f"parameter {name} in {where} is {value!r}, expected a bool, a number, a string "
        "or a list of one of them"
    )
