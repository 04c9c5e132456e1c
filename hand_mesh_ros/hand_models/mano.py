"""MANO (Romero et al. 2017) from the user's own licensed files, never shipped or downloaded.

MANO's axes are the model frame already: for a right hand fingers -x, palm -y, thumb +z. `HandModel`
puts the wrist joint at the origin, MANO itself leaves it about 96 mm away.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hand_mesh_ros.conventions import (
    FINGER_JOINTS,
    FINGERS,
    JOINT_PARENTS,
    Side,
    mirror_points,
)
from hand_mesh_ros.hand_models.hand_model import HandModel, KeypointRegressor, skeleton_keypoints
from hand_mesh_ros.hand_models.safe_pickle import load_plain_pickle

NAME = "mano"
TIP_VERTICES = (744, 320, 443, 555, 672)
"""Finger tips from thumb to little, as FreiHAND and HO3D define them."""
WEBSITE = "https://mano.is.tue.mpg.de"

_SHAPES = {
    "v_template": (778, 3),
    "shapedirs": (778, 3, 10),
    "posedirs": (778, 3, 135),
    "J_regressor": (16, 778),
    "weights": (778, 16),
    "f": (1538, 3),
    "kintree_table": (2, 16),
    "hands_mean": (45,),
    "hands_components": (45, 45),
}
# As unpacked, as in MANO's own archive, and as smplx wants its folder.
_FOLDERS = ("", "models", "mano", "mano_v1_2/models")

_log = logging.getLogger(__name__)


def load_mano(
    path: Path | str,
    side: Side = Side.RIGHT,
    *,
    flat_hand_mean: bool = False,
    detector: KeypointRegressor | None = None,
) -> HandModel:
    """Read a hand model from MANO_RIGHT.pkl or MANO_LEFT.pkl (or .npz of the same keys).

    Args:
        path: the file, or a folder that has it.
        side: which hand. A left file's shape basis is mended with the right file beside it.
        flat_hand_mean: True takes poses as they are (HO3D), False adds MANO's mean finger pose
            first (FreiHAND, DexYCB).
        detector: what a landmark detector marks on this side's hand. None until calibrated: the
            "detector" regressor is then the anatomical one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no MANO file, or has the other hand. UnsafePickleError is one of these.
    """
    arrays = read_mano(path, side)
    template, shape_dirs = arrays["v_template"], arrays["shapedirs"]
    regressor = arrays["J_regressor"]
    anatomical = skeleton_keypoints(template, shape_dirs, regressor, TIP_VERTICES)
    rest_joints = regressor @ template
    return HandModel(
        name=NAME,
        side=side,
        template_m=template,
        faces=arrays["f"],
        shape_dirs_m=shape_dirs,
        joint_regressor=regressor,
        skinning_weights=arrays["weights"],
        keypoint_regressors={"anatomical": anatomical, "detector": detector or anatomical},
        flexion_axes=_flexion_axes(rest_joints[anatomical.joint] + anatomical.offset_m),
        pose_dirs_m=arrays["posedirs"],
        pose_mean=None if flat_hand_mean else arrays["hands_mean"],
    )


def mano_struct(path: Path | str, side: Side = Side.RIGHT) -> SimpleNamespace:
    """Return what `smplx.MANO(model_path="", data_struct=..., is_rhand=...)` builds its layer from.

    It is read as in `load_mano`, so smplx itself unpickles nothing and needs no chumpy.
    """
    return SimpleNamespace(**read_mano(path, side))


def read_mano(path: Path | str, side: Side = Side.RIGHT) -> dict[str, np.ndarray]:
    """Read, check and mend a MANO file: float64 arrays by MANO's own key names (`f` is int32).

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no MANO file, or has the other hand.
    """
    file = find_mano(path, side)
    arrays = _read_checked(file)
    # Fingers of a right hand point to -x. A swapped file would give a plausible but wrong hand.
    fingers_x = (arrays["J_regressor"] @ arrays["v_template"])[1:13, 0].mean()
    wrist_x = arrays["J_regressor"][0] @ arrays["v_template"][:, 0]
    in_file = Side.RIGHT if fingers_x < wrist_x else Side.LEFT
    if in_file is not side:
        raise ValueError(
            f"{file}: has a {in_file.name.lower()} hand, a {side.name.lower()} one was expected; "
            "give the other file, or the folder with both."
        )
    if side is Side.LEFT:
        arrays["shapedirs"] = _mend_left_shape(arrays["shapedirs"], file)
    return arrays


def find_mano(path: Path | str, side: Side) -> Path:
    """Return the side's file: `path` itself, or where MANO's archive or smplx put it below that.

    Raises:
        FileNotFoundError: there is none; the message says what to do.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    name = f"MANO_{side.name}"
    for folder in _FOLDERS:
        for suffix in (".pkl", ".npz"):
            if (path / folder / (name + suffix)).is_file():
                return path / folder / (name + suffix)
    raise FileNotFoundError(
        f"{path}: no {name}.pkl here. MANO is licensed by its authors: register at {WEBSITE}, "
        "download the models, and give the folder they are in."
    )


def _read_checked(file: Path) -> dict[str, np.ndarray]:
    raw = _read_npz(file) if file.suffix == ".npz" else load_plain_pickle(file)
    arrays: dict[str, np.ndarray] = {}
    for key, shape in _SHAPES.items():
        if key not in raw:
            raise ValueError(f"{file}: no MANO model, its key {key!r} is missing.")
        value = np.asarray(raw[key])
        if value.shape != shape or value.dtype.kind not in "iuf":
            raise ValueError(
                f"{file}: {key!r} is {value.dtype} {value.shape}, MANO's is numbers {shape}."
            )
        if not np.isfinite(value).all():
            raise ValueError(f"{file}: {key!r} has values that are not finite.")
        arrays[key] = value.astype(np.float64)
    faces, parents = arrays["f"], arrays["kintree_table"][0]
    if faces.min() < 0 or faces.max() >= 778 or np.any(faces != np.round(faces)):
        raise ValueError(f"{file}: 'f' has vertex numbers outside 0 to 777.")
    if not np.array_equal(parents[1:], JOINT_PARENTS[1:]):  # the root's is 2**32 - 1, that is -1
        raise ValueError(f"{file}: 'kintree_table' is another skeleton than MANO's.")
    for key in ("J_regressor", "weights"):
        if not np.allclose(arrays[key].sum(axis=1), 1.0, atol=1e-4):
            raise ValueError(f"{file}: the rows of {key!r} do not sum to 1.")
    return {**arrays, "f": faces.astype(np.int32)}


def _read_npz(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in _SHAPES if key in archive}
    except Exception as error:  # a bad archive raises from zipfile, zlib or numpy
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file}: not a readable .npz of plain arrays ({reason}).") from error


def _mend_left_shape(left: np.ndarray, file: Path) -> np.ndarray:
    """Turn round the x part of a left shape basis where it has the right hand's sign.

    The released MANO_LEFT.pkl has it so: https://github.com/vchoutas/smplx/issues/48
    """
    try:
        right = _read_checked(find_mano(file.parent, Side.RIGHT))["shapedirs"]
    except FileNotFoundError:
        _log.warning(
            "%s: without MANO_RIGHT.pkl beside it, the known sign error of its shape basis cannot "
            "be seen; left hands may get a wrong shape.",
            file,
        )
        return left
    same = np.abs(left[:, 0] - right[:, 0]).sum()
    mirrored = np.abs(left[:, 0] + right[:, 0]).sum()
    return mirror_points(left.swapaxes(1, 2)).swapaxes(1, 2) if same < mirrored else left


def _flexion_axes(keypoints_m: np.ndarray) -> np.ndarray:
    """(16, 3) unit axes from the (21, 3) keypoints at rest, for either side.

    Fingers bend towards the palm (-y), the thumb across it (-z). MANO has no axes of its own; this
    rule gives the open hand's measured ones to 11 degrees at the thumb and 22 at the fingers.
    """
    axes = np.zeros((16, 3))
    axes[0] = np.cross(keypoints_m[9] - keypoints_m[0], [0.0, -1.0, 0.0])
    for k, finger in enumerate(FINGERS):
        bones = np.diff(keypoints_m[4 * k + 1 : 4 * k + 5], axis=0)  # (3, 3)
        palmwards = [0.0, 0.0, -1.0] if finger == "thumb" else [0.0, -1.0, 0.0]
        axes[list(FINGER_JOINTS[finger])] = np.cross(bones, palmwards)
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)
