"""The open hand: ships with the package, free to use, 778 vertices with MANO's axes and joints."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.hand_model import HandModel, KeypointRegressor, skeleton_keypoints

DATA = Path(__file__).parent / "data"


@lru_cache(maxsize=1)
def load_open_hand() -> HandModel:
    """The right open hand; `.mirrored()` gives the left. Made by `tools/make_open_hand.py`."""
    with np.load(DATA / "open_hand.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    template, shape_dirs = data["template_m"].astype(float), data["shape_dirs_m"].astype(float)
    regressor = _normalised(data["joint_regressor"])
    anatomical = skeleton_keypoints(template, shape_dirs, regressor, data["tip_vertices"])
    return HandModel(
        name="open_hand",
        side=Side.RIGHT,
        template_m=template,
        faces=data["faces"],
        shape_dirs_m=shape_dirs,
        joint_regressor=regressor,
        skinning_weights=_normalised(data["skinning_weights"]),
        keypoint_regressors={"anatomical": anatomical, "detector": _detector(data, anatomical)},
        flexion_axes=data["flexion_axes"].astype(float),
    )


def _detector(data: dict[str, np.ndarray], anatomical: KeypointRegressor) -> KeypointRegressor:
    """Where a landmark detector marks this hand; measured by `tools/calibrate_detector.py`."""
    if "detector_offset_m" not in data:
        return anatomical
    # The marks keep their place relative to the hand's size, so the offsets grow with it.
    return KeypointRegressor(
        joint=data["detector_joint"].astype(int),
        offset_m=data["detector_offset_m"].astype(float),
        offset_dirs_m=data["detector_offset_dirs_m"].astype(float),
    )


def _normalised(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / rows.sum(1, keepdims=True)
