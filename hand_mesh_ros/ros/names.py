"""ROS names: which are valid, how relative ones are expanded, how remap rules change them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hand_mesh_ros.one_line import OneLineError

_TOKEN = r"[A-Za-z_][A-Za-z0-9_]*"
_FULL_NAME = re.compile(rf"(/{_TOKEN})+")


class ArgumentError(OneLineError, ValueError):
    """ROS arguments, names or parameter files that cannot be used; one line says why."""


@dataclass(frozen=True)
class Remap:
    """One rule `[node:]source:=target`."""

    source: str
    target: str
    node_name: str | None = None
    """Node that the rule is meant for; None for any."""

    def concerns(self, *node_names: str) -> bool:
        """Whether a node that has, or had, one of these names follows the rule."""
        return self.node_name is None or self.node_name in node_names


def parse_remap(text: str) -> Remap:
    """Rule of a command line argument, e.g. "image:=/camera/image_raw"."""
    source, separator, target = text.partition(":=")
    source = source.removeprefix("rostopic://")
    node_name, colon, rest = source.partition(":")
    if colon:
        source = rest.removeprefix("rostopic://")
    if not (separator and source and target) or ":" in source or (colon and not node_name):
        raise ArgumentError(f"remap rule {text!r} is not FROM:=TO, e.g. image:=/camera/image_raw")
    return Remap(source, target, node_name if colon else None)


def expand(name: str, node_name: str, namespace: str) -> str:
    """Absolute name of a relative ("a"), private ("~/a") or absolute ("/a") one.

    Args:
        name: may hold the substitutions {node}, {ns} and {namespace}.
        node_name: without its namespace.
        namespace: absolute, "/" for none.
    """
    prefix = namespace.rstrip("/")
    filled = name.replace("{node}", node_name)
    filled = filled.replace("{namespace}", prefix).replace("{ns}", prefix)
    if filled == "~" or filled.startswith("~/"):
        full = f"{prefix}/{node_name}{filled[1:]}"
    elif filled.startswith("/"):
        full = filled
    else:
        full = f"{prefix}/{filled}"
    if not _FULL_NAME.fullmatch(full):
        raise ArgumentError(
            f"{name!r} is no ROS name: letters, digits and _ between slashes, no digit first, "
            "no slash at the end"
        )
    return full


def resolve(name: str, node_name: str, namespace: str, remaps: Iterable[Remap]) -> str:
    """Absolute name after expansion and the first remap rule that fits."""
    full = expand(name, node_name, namespace)
    for rule in remaps:
        if expand(rule.source, node_name, namespace) == full:
            return expand(rule.target, node_name, namespace)
    return full


def checked_node_name(name: str) -> str:
    """The name, if a node may have it."""
    if not re.fullmatch(_TOKEN, name):
        raise ArgumentError(
            f"{name!r} is no node name: letters, digits and _, no digit first, no slash"
        )
    return name


def checked_parameter_name(name: str) -> str:
    """The name, if a parameter may have it ("smoothing.beta")."""
    if not re.fullmatch(r"[A-Za-z0-9_./~-]{1,200}", name):
        raise ArgumentError(f"{name!r} is no parameter name: letters, digits, _ and dots")
    return name


def checked_namespace(namespace: str) -> str:
    """Absolute namespace: "" and "/" are "/", "robot" is "/robot"."""
    full = "/" + namespace.strip("/")
    if full != "/" and not _FULL_NAME.fullmatch(full):
        raise ArgumentError(
            f"{namespace!r} is no namespace: letters, digits and _ between slashes, no digit first"
        )
    return full


def joined(namespace: str, node_name: str) -> str:
    """Fully qualified name of a node."""
    return f"{namespace.rstrip('/')}/{node_name}"
