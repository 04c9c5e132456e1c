"""The whole configuration of one training run: defaults of the task, a YAML file, assignments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hand_mesh_ros.plain_yaml import PlainYamlError, read_yaml
from hand_mesh_ros.training.config import HandConfig, TrainerConfig
from hand_mesh_ros.training.task import task_entry
from hand_mesh_ros.training.typed_config import (
    ConfigError,
    config_from_plain,
    config_to_plain,
    merged,
    parse_assignments,
)


@dataclass(frozen=True)
class RunConfig:
    """All that a run depends on; `config.yaml` in its folder has the same and reproduces it."""

    name: str
    """Of the task."""
    hand: HandConfig
    network: Any
    """The network's config dataclass."""
    task: Any
    """The task's options dataclass."""
    trainer: TrainerConfig

    def changed(self, values: object) -> RunConfig:
        """This one with changes in plain values.

        Raises:
            ConfigError: unknown key, wrong type, impossible value, or a file of another task.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"a run's config has sections with keys, got {values!r}")
        known = [field.name for field in dataclasses.fields(self)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{key} is unknown; a run's config has: {', '.join(known)}")
        if values.get("name", self.name) != self.name:
            raise ConfigError(f"the config is of task {values['name']!r}, not of {self.name!r}")
        plain = merged(config_to_plain(self), values)
        sections = {
            key: config_from_plain(type(getattr(self, key)), plain[key], key) for key in known[1:]
        }
        return RunConfig(self.name, **sections)

    def assigned(self, assignments: Sequence[str]) -> RunConfig:
        """This one with changes such as "trainer.steps=1000"; raises ConfigError."""
        return self.changed(parse_assignments(assignments))

    def to_yaml(self) -> str:
        """As YAML, each value with its option's meaning where it has one."""
        lines = [f"name: {self.name}"]
        for section in ("hand", "network", "task", "trainer"):
            config = getattr(self, section)
            lines.append(f"{section}:" if dataclasses.fields(config) else f"{section}: {{}}")
            for field in dataclasses.fields(config):
                if "text" in field.metadata:
                    lines.append(f"  # {field.metadata['text']}")
                # Nested values go on one line, so that all keys of a section are one column.
                value = config_to_plain(getattr(config, field.name))
                text = yaml.safe_dump(value, default_flow_style=True, width=1_000_000)
                text = text.removesuffix("...\n").rstrip()
                lines.append(f"  {field.name}: {text}")
        return "\n".join(lines) + "\n"


def default_run_config(name: str) -> RunConfig:
    """What the task registered.

    Raises:
        ValueError: no such task; lists what is known.
    """
    entry = task_entry(name)
    return RunConfig(name, HandConfig(), entry.network_config, entry.options, entry.trainer)


def read_run_config(path: Path) -> dict[str, Any]:
    """The plain values of a YAML file.

    Raises:
        ConfigError: it cannot be read, or is no YAML mapping.
    """
    try:
        values = read_yaml(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (PlainYamlError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable YAML ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections with keys, got {type(values).__name__}")
    return values
