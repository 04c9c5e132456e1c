"""Prediction files in the official formats of FreiHAND and HO3D, written and read.

Both are a zip with one `pred.json` at its top: a list of joints and a list of vertices, one entry
for each evaluation image in the data set's own order. Only joint order and axes differ.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hand_mesh_ros.conventions import (
    idx_freihand_to_keypoints,
    idx_ho3d_to_keypoints,
    idx_keypoints_to_freihand,
    idx_keypoints_to_ho3d,
)

NUM_VERTICES = 778
"""MANO's; the servers compare vertex by vertex."""
_PREDICTIONS = "pred.json"
_DECIMALS = 6
"""A micrometre; all digits would make the file twice as large."""


@dataclass(frozen=True)
class SubmissionFormat:
    """What one data set's server expects."""

    name: str
    num_samples: int
    idx_from_keypoints: np.ndarray
    """(21,) its joints = our keypoints[idx_from_keypoints]."""
    idx_to_keypoints: np.ndarray
    axis_signs: tuple[float, float, float]
    """Its axes = camera axes (x right, y down, z forward) times these."""


FREIHAND = SubmissionFormat(
    "FreiHAND", 3960, idx_keypoints_to_freihand, idx_freihand_to_keypoints, (1.0, 1.0, 1.0)
)
# HO3D's frames are OpenGL's: x right, y up, z towards the viewer.
HO3D_V2 = SubmissionFormat(
    "HO3D v2", 11524, idx_keypoints_to_ho3d, idx_ho3d_to_keypoints, (1.0, -1.0, -1.0)
)
HO3D_V3 = SubmissionFormat(
    "HO3D v3", 20137, idx_keypoints_to_ho3d, idx_ho3d_to_keypoints, (1.0, -1.0, -1.0)
)


def write_submission(
    path: Path, layout: SubmissionFormat, *, keypoints_m: np.ndarray, vertices_m: np.ndarray
) -> None:
    """Write a zip for the server.

    Args:
        path: of the zip.
        layout: whose server it is for.
        keypoints_m: (N, 21, 3) m, our order, camera frame, all N images of the evaluation set in
            its order. Only aligned metrics forgive a wrong root; HO3D gives the true one away.
        vertices_m: (N, 778, 3) m, MANO's topology, same frame.

    Raises:
        ValueError: sizes differ from the format, or something is not finite or behind the camera.
    """
    for name, points, count in (
        ("keypoints_m", keypoints_m, 21),
        ("vertices_m", vertices_m, NUM_VERTICES),
    ):
        expected = (layout.num_samples, count, 3)
        if points.shape != expected:
            raise ValueError(
                f"{name} has shape {points.shape}; {layout.name} expects {expected}: one entry "
                "for every image of its evaluation set"
            )
        bad = ~np.isfinite(points).all((1, 2))
        if bad.any():
            raise ValueError(f"{name} of image {int(np.argmax(bad))} is not finite; mend it first")
        behind = (points[..., 2] < 0.0).all(1)
        if layout.axis_signs[2] < 0.0 and behind.any():
            raise ValueError(
                f"{name} of image {int(np.argmax(behind))} lie behind the camera; {layout.name} is "
                "written from camera axes (z forward), so leave the flip to this function"
            )
    signs = np.array(layout.axis_signs)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(_PREDICTIONS, "w", force_zip64=True) as file,
    ):
        # Hand by hand: as one string of 20137 hands it would take gigabytes.
        for opening, points in (
            (b"[[", keypoints_m[:, layout.idx_from_keypoints]),
            (b"],[", vertices_m),
        ):
            for i, hand in enumerate(points):
                text = json.dumps(np.round(hand * signs, _DECIMALS).tolist())
                file.write((b"," if i else opening) + text.encode())
        file.write(b"]]")


def read_submission(path: Path, layout: SubmissionFormat) -> tuple[np.ndarray, np.ndarray]:
    """(N, 21, 3) keypoints in our order and (N, 778, 3) vertices, m, camera frame.

    Raises:
        ValueError: the file is not what the server expects; says what is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if _PREDICTIONS not in archive.namelist():
                raise ValueError(
                    f"{path} holds {archive.namelist()[:5]}; expected {_PREDICTIONS} at its top "
                    "(zip -j)"
                )
            content = json.loads(archive.read(_PREDICTIONS))
    except (zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a zip with a JSON file: {error}") from error
    if not isinstance(content, list) or len(content) != 2:
        raise ValueError(f"{path}: {_PREDICTIONS} is not a list of two lists (joints, vertices)")
    joints = _points(content[0], "joints", path, (layout.num_samples, 21, 3))
    vertices = _points(content[1], "vertices", path, (layout.num_samples, NUM_VERTICES, 3))
    signs = np.array(layout.axis_signs)
    return joints[:, layout.idx_to_keypoints] * signs, vertices * signs


def _points(entries: list, name: str, path: Path, expected: tuple[int, ...]) -> np.ndarray:
    try:
        points = np.array(entries, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name} do not all have the same size") from error
    if points.shape != expected:
        raise ValueError(f"{path}: {name} have shape {points.shape}; expected {expected}")
    return points
