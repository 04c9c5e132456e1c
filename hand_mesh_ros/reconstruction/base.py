"""What every reconstruction gives: one mesh a track, relative to its wrist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_calibration import HandCalibration
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.types import Frame, Reconstruction, Track


class Reconstructor(Protocol):
    """From tracked detections to root-relative meshes."""

    @property
    def name(self) -> str:
        """Goes into `HandMesh.model`."""
        ...

    @property
    def back_end(self) -> str:
        """What computes it and the state of its engine, for diagnostics."""
        ...

    @property
    def hand_model(self) -> HandModel:
        """The right hand whose topology the vertices have."""
        ...

    def reconstruct(self, frame: Frame, tracks: list[Track]) -> list[Reconstruction | None]:
        """One result a track, in their order; None where the evidence makes no hand."""
        ...

    def use_calibrations(self, calibrations: Mapping[Side, HandCalibration]) -> None:
        """Keep shape and size of these sides as calibrated; what was learnt of tracks is lost."""
        ...

    def reset(self) -> None:
        """Forget all tracks."""
        ...
