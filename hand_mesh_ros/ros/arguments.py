"""The command line of a ROS node, without ROS: `--ros-args -r a:=b -p k:=v --params-file f --`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hand_mesh_ros.ros.names import (
    ArgumentError,
    Remap,
    checked_namespace,
    checked_node_name,
    checked_parameter_name,
    joined,
    parse_remap,
    resolve,
)
from hand_mesh_ros.ros.parameter_files import Section, load_parameter_file, parse_value

LOG_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_WITH_VALUE = {
    "-r": "--remap",
    "-p": "--param",
    "-e": "--enclave",
    "--params-file": "--params-file",
    "--log-level": "--log-level",
    "--log-config-file": "--log-config-file",
    "--log-file-name": "--log-file-name",
}
_LOG_SWITCHES = ("rosout-logs", "stdout-logs", "external-lib-logs")


@dataclass(frozen=True)
class RosArguments:
    """What a command line says to one node."""

    node_name: str
    """After remapping."""
    namespace: str
    """Absolute, "/" for none; after remapping."""
    remaps: tuple[Remap, ...]
    parameters: dict[str, Any]
    """Value by dotted name; later ones have won."""
    log_level: int
    """As the module `logging` counts."""
    warnings: tuple[str, ...]
    """What to tell the user although it is no error."""
    rest: tuple[str, ...]
    """Arguments that are not for ROS."""

    @property
    def full_name(self) -> str:
        """Namespace and name of the node."""
        return joined(self.namespace, self.node_name)

    def resolve(self, name: str) -> str:
        """Absolute, remapped name of a topic ("image", "~/debug", "/tf")."""
        return resolve(name, self.node_name, self.namespace, self.remaps)


def parse_ros_arguments(
    arguments: Sequence[str], node_name: str, namespace: str = ""
) -> RosArguments:
    """Read the arguments of one node; raises ArgumentError.

    Args:
        arguments: without the program's name.
        node_name: name that the node has unless `__node:=` says otherwise.
        namespace: the same for `__ns:=`.
    """
    flags, rest = _split(arguments)
    rules = [parse_remap(value) for flag, value in flags if flag == "--remap"]
    own = [rule for rule in rules if rule.concerns(node_name)]
    name = checked_node_name(_first_target(own, ("__node", "__name")) or node_name)
    namespace = checked_namespace(_first_target(own, ("__ns",)) or namespace)
    full_name = joined(namespace, name)

    parameters: dict[str, Any] = {}
    warnings: list[str] = []
    log_level = logging.INFO
    for flag, value in flags:
        if flag == "--params-file":
            sections = load_parameter_file(value)
            chosen = [section for section in sections if section.concerns(full_name)]
            if not chosen:
                patterns = ", ".join(section.pattern for section in sections)
                warnings.append(
                    f"parameter file {value} has nothing for {full_name}, only for {patterns}"
                )
        elif flag == "--param":
            section = _parameter(value)
            chosen = [section] if section.concerns(full_name) else []
        else:
            if flag == "--log-level":
                log_level = _log_level(value, full_name, log_level)
            continue
        for section in chosen:
            parameters.update(section.parameters)

    topics = tuple(
        rule
        for rule in rules
        if not rule.source.startswith("__") and rule.concerns(node_name, name)
    )
    arguments_of_node = RosArguments(
        name, namespace, topics, parameters, log_level, tuple(warnings), tuple(rest)
    )
    for rule in topics:  # a wrong name is better told now than when a topic happens to be made
        arguments_of_node.resolve(rule.source)
    return arguments_of_node


def _split(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """ROS flags with their values, and what does not stand between `--ros-args` and `--`."""
    flags: list[tuple[str, str]] = []
    rest: list[str] = []
    for_ros = False
    remaining = iter(arguments)
    for argument in remaining:
        if not for_ros:
            for_ros = argument == "--ros-args"
            if not for_ros:
                rest.append(argument)
        elif argument == "--":
            for_ros = False
        elif argument != "--ros-args":
            flags.append(_flag(argument, remaining))
    return flags, rest


def _flag(argument: str, remaining: Iterator[str]) -> tuple[str, str]:
    name = _WITH_VALUE.get(argument, argument)
    if name in _WITH_VALUE.values():
        value = next(remaining, None)
        if value is None or value == "--":
            raise ArgumentError(f"ROS argument {argument} needs a value, none came")
        return name, value
    if name.removeprefix("--enable-").removeprefix("--disable-") in _LOG_SWITCHES:
        return name, ""
    if ":=" in argument:
        raise ArgumentError(f"ROS argument {argument!r} needs -r (remap) or -p (parameter) before")
    known = ", ".join([*_WITH_VALUE, "--enable-rosout-logs", "--"])
    raise ArgumentError(f"ROS argument {argument!r} is not known, expected one of {known}")


def _first_target(rules: Sequence[Remap], sources: tuple[str, ...]) -> str | None:
    return next((rule.target for rule in rules if rule.source in sources), None)


def _parameter(text: str) -> Section:
    """Section with the one parameter of `[node:]name:=value`."""
    key, separator, value = text.partition(":=")
    node, colon, name = key.rpartition(":")
    if not (separator and name) or (colon and not node):
        raise ArgumentError(f"parameter {text!r} is not NAME:=VALUE, e.g. model:=landmark_fit")
    # A name alone means a node of that name wherever it is; with a slash it is the whole name.
    pattern = "/**" if not colon else node if "/" in node else f"/**/{node}"
    return Section(pattern, {checked_parameter_name(name): parse_value(value, name)})


def _log_level(text: str, full_name: str, present: int) -> int:
    """Level of `LEVEL` or `LOGGER:=LEVEL`; unchanged if the logger is not the node's."""
    logger, separator, level = text.rpartition(":=")
    if level.lower() not in LOG_LEVELS:
        known = ", ".join(LOG_LEVELS)
        raise ArgumentError(f"--log-level {text!r}: level {level!r} is not one of {known}")
    own = full_name.strip("/").replace("/", ".")
    is_ours = not separator or own == logger or own.startswith(f"{logger}.")
    return LOG_LEVELS[level.lower()] if is_ours else present
