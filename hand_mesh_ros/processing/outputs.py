"""What every output promises, and which ones the settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.processing.settings import Settings
from hand_mesh_ros.ros.messages import faces_of
from hand_mesh_ros.types import Frame, Result
from hand_mesh_ros.viewer.overlay import draw_overlay


@dataclass(frozen=True)
class Answer:
    """One processed frame."""

    index: int
    """0, 1, ... of the processed frames."""
    frame: Frame
    result: Result
    hand_model: HandModel
    is_fresh_start: bool = False
    """Time went back, or the camera is another one: nothing seen before counts."""

    @cached_property
    def overlay(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, hands drawn into the image; drawn once, for all who show it."""
        faces = faces_of(self.hand_model, Side.RIGHT)
        return draw_overlay(self.frame.image, self.result.hands, self.frame.camera, faces)


@dataclass(frozen=True)
class RecordingInfo:
    """What an output has to know of a recording before its first frame."""

    name: str
    title: str
    """For people: where the recording came from."""
    rate_hz: float
    """Of the processed frames."""
    are_stills: bool
    hand_model: HandModel


class Output(Protocol):
    """Takes answers in the order of their frames, and makes files of them."""

    def add(self, answer: Answer) -> None:
        """Take one frame."""
        ...

    def finish(self) -> None:
        """Write what is left, after the last frame; raises ProcessingError or OSError."""
        ...

    def close(self) -> None:
        """Let go of files, finished or not; safe to call twice."""
        ...


def make_outputs(folder: Path, info: RecordingInfo, settings: Settings) -> dict[str, Output]:
    """The outputs that the settings ask for, by name, writing into a folder.

    Raises:
        ImportError: an optional library is missing.
        OSError: the folder cannot be written.
    """
    from hand_mesh_ros.processing.bag_output import BagOutput
    from hand_mesh_ros.processing.mesh_output import MeshOutput
    from hand_mesh_ros.processing.overlay_output import OverlayPictures, OverlayVideo
    from hand_mesh_ros.processing.summary_output import SummaryOutput
    from hand_mesh_ros.processing.table_output import NpzOutput, ParquetOutput

    overlay = OverlayPictures if info.are_stills else OverlayVideo
    makers: dict[str, Callable[[], Output]] = {
        "bag": lambda: BagOutput(folder / "hands", info, settings),
        "overlay": lambda: overlay(folder, info),
        "npz": lambda: NpzOutput(folder / "hands.npz", info),
        "parquet": lambda: ParquetOutput(folder / "hands.parquet", info),
        "ply": lambda: MeshOutput(folder / "ply", "ply", info, settings.num_mesh_frames),
        "glb": lambda: MeshOutput(folder / "glb", "glb", info, settings.num_mesh_frames),
        "obj": lambda: MeshOutput(folder / "obj", "obj", info, settings.num_mesh_frames),
        "summary": lambda: SummaryOutput(folder / "summary.html", info),
    }
    return {name: make() for name, make in makers.items() if name in settings.outputs}
