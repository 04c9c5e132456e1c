"""YAML of settings: plain values, and a clear refusal of what a settings file never needs.

YAML can name itself (a list that holds itself), stand for a thousand times its size, and ask for
types whose readers break; its errors are then not YAML's own. ROS reads no aliases either.
"""

from __future__ import annotations

from typing import Any

import yaml

from hand_mesh_ros.one_line import one_line

MAX_LETTERS = 1 << 20
MAX_DEPTH = 24
_LEAST_INT, _MOST_INT = -(1 << 63), (1 << 64) - 1


class PlainYamlError(ValueError):
    """The text is no YAML of plain values; one line says where and why."""


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases and without bottom."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Build one node, as PyYAML does; raises PlainYamlError."""
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise PlainYamlError(f"line {line} has the alias *{event.anchor}: write the value out")
        if self._depth >= MAX_DEPTH:
            raise PlainYamlError(f"line {line} is nested deeper than {MAX_DEPTH} times")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """An integer that a program can count with; raises PlainYamlError."""
        value = super().construct_yaml_int(node)
        if not _LEAST_INT <= value <= _MOST_INT:
            line = node.start_mark.line + 1
            raise PlainYamlError(f"line {line} has an integer of more than 64 bits")
        return value


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)


def read_yaml(text: str, loader: type[PlainLoader] = PlainLoader) -> Any:
    """The value of a YAML text; raises PlainYamlError."""
    if len(text) > MAX_LETTERS:
        raise PlainYamlError(f"has {len(text)} letters, expected at most {MAX_LETTERS}")
    try:
        return yaml.load(text, loader)
    except PlainYamlError:
        raise
    except Exception as error:  # values such as "!!timestamp x" break in many ways
        kind = "" if isinstance(error, yaml.YAMLError) else f"{type(error).__name__}: "
        raise PlainYamlError(one_line(f"{kind}{error}")) from error
