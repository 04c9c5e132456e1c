"""The folder of one run: which files it has, and how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hand_mesh_ros.networks.checkpoint_file import CheckpointError, replaced_file


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        """The run's whole configuration, YAML."""
        return self.path / "config.yaml"

    @property
    def state(self) -> Path:
        """What a resume goes on from."""
        return self.path / "resume.safetensors"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files."""
        return self.path / "tensorboard"

    def weights(self, which: str) -> Path:
        """A checkpoint file of the averaged weights, "best" or "last"."""
        return self.path / f"{which}.safetensors"

    def prepare(self, config_yaml: str) -> None:
        """Make the folder and write the configuration.

        Raises:
            CheckpointError: it cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot make folder {self.path}: {error.strerror}") from error
        with replaced_file(self.config) as temporary:
            temporary.write_text(config_yaml, "utf-8")
