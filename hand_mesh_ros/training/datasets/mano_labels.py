"""MANO parameters as the datasets store them, brought to one meaning.

Toolkits differ in `flat_hand_mean`: FreiHAND, DexYCB and InterHand2.6M store finger poses about
MANO's mean pose, HO3D stores absolute ones. The mean is in MANO's licensed file, so without that
file a pose about the mean stays one, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mano import load_mano, read_mano
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle


@dataclass(frozen=True)
class ManoLabels:
    """The fields of a sample that speak of MANO."""

    pose: np.ndarray | None = None
    pose_is_about_mean: bool = False
    shape: np.ndarray | None = None
    vertices_m: np.ndarray | None = None


class _Mano(NamedTuple):
    model: HandModel
    """Without mean pose."""
    pose_mean: np.ndarray
    components: np.ndarray


@dataclass(frozen=True)
class ManoFiles:
    """The user's MANO files, read when first needed."""

    folder: Path

    def absolute(self, side: Side, pose: np.ndarray) -> np.ndarray:
        """(48,) absolute pose from one about the mean."""
        return pose + np.append(np.zeros(3), _read(self.folder, side).pose_mean)

    def from_components(self, side: Side, coefficients: np.ndarray) -> np.ndarray:
        """(45,) finger pose about the mean from (45,) principal components."""
        return coefficients @ _read(self.folder, side).components

    def wrist_at_rest_m(self, side: Side, shape: np.ndarray) -> np.ndarray:
        """(3,) wrist joint in MANO's own frame; its global rotation turns about this point."""
        model = _read(self.folder, side).model
        return model.joint_template_m[0] + model.joint_dirs_m[0] @ shape

    def vertices_m(
        self, side: Side, pose: np.ndarray, shape: np.ndarray, wrist_m: np.ndarray
    ) -> np.ndarray:
        """(778, 3) mesh of an absolute pose, its wrist joint at `wrist_m`."""
        model = _read(self.folder, side).model
        return model.pose_hand(pose, shape).vertices_m + wrist_m


@cache
def _read(folder: Path, side: Side) -> _Mano:
    arrays = read_mano(folder, side)
    model = load_mano(folder, side, flat_hand_mean=True)
    return _Mano(model, arrays["hands_mean"], arrays["hands_components"])


def mano_files(folder: Path | str | None) -> ManoFiles | None:
    """The files in a folder, or None where the user names none."""
    return None if folder is None else ManoFiles(Path(folder).expanduser())


def about_mean_labels(
    mano: ManoFiles | None,
    side: Side,
    pose: np.ndarray,
    shape: np.ndarray,
    wrist_m: np.ndarray | None = None,
) -> ManoLabels:
    """Labels from a (48,) pose about the mean: absolute where MANO's files are at hand.

    Args:
        mano: the user's files.
        side: which hand.
        pose: global rotation in the camera frame first.
        shape: (10,).
        wrist_m: (3,) wrist joint in the camera frame. None: no mesh is made.
    """
    if mano is None:
        return ManoLabels(pose=pose, pose_is_about_mean=True, shape=shape)
    return absolute_labels(mano, side, mano.absolute(side, pose), shape, wrist_m)


def absolute_labels(
    mano: ManoFiles | None,
    side: Side,
    pose: np.ndarray,
    shape: np.ndarray,
    wrist_m: np.ndarray | None = None,
) -> ManoLabels:
    """Labels from a (48,) absolute pose; with a mesh where MANO's files are at hand."""
    if mano is None or wrist_m is None:
        return ManoLabels(pose=pose, shape=shape)
    return ManoLabels(
        pose=pose, shape=shape, vertices_m=mano.vertices_m(side, pose, shape, wrist_m)
    )


def turned(pose: np.ndarray, R_to_camera: np.ndarray) -> np.ndarray:
    """(48,) pose whose global rotation is seen in other axes: R_to_camera R."""
    R = R_to_camera @ rotation_from_axis_angle(pose[:3])
    return np.concatenate([axis_angle_from_rotation(R), pose[3:]])
