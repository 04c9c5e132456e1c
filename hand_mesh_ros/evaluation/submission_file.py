"""A model's answers on a whole evaluation split as the file that its server takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hand_mesh_ros.evaluation.submissions import (
    NUM_VERTICES,
    SubmissionFormat,
    write_submission,
)
from hand_mesh_ros.evaluation.tally import ModelResult

_IN_FRONT_M = np.array([0.0, 0.0, 0.6])


def write_submission_of(path: Path, layout: SubmissionFormat, result: ModelResult) -> int:
    """Write all hands of an evaluation split; the server wants one for every image.

    A missed hand gets the mean of those that were found: the server counts it as a bad answer.

    Returns:
        How many were missed.

    Raises:
        ValueError: not the whole split, no MANO meshes, or no hand was found.
    """
    keypoints_m = np.full((layout.num_samples, 21, 3), np.nan)
    vertices_m = np.full((layout.num_samples, NUM_VERTICES, 3), np.nan)
    for case in result.cases:
        found = case.prediction
        if found.vertices_m is None or found.hand_model != "mano":
            raise ValueError(
                f"{result.name} gives {found.hand_model or 'no'} meshes; {layout.name}'s server "
                "compares vertices of MANO: expected a model of MANO hands (--mano)"
            )
        keypoints_m[case.index], vertices_m[case.index] = found.keypoints_m, found.vertices_m
    missed = np.isnan(keypoints_m[:, 0, 0])
    if missed.all():
        raise ValueError(f"{result.name} found no hand; expected at least one to submit")
    for points in (keypoints_m, vertices_m):
        points[missed] = _mean_hand(points[~missed], keypoints_m[~missed])
    write_submission(path, layout, keypoints_m=keypoints_m, vertices_m=vertices_m)
    return int(missed.sum())


def _mean_hand(points_m: np.ndarray, keypoints_m: np.ndarray) -> np.ndarray:
    """(N, 3) m: the mean about the wrist, in front of the camera."""
    return (points_m - keypoints_m[:, :1]).mean(0) + _IN_FRONT_M
