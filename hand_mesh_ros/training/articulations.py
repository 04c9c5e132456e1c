"""Articulations to learn from, without images: of the pose prior, and of labelled data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.hand_models.skeleton_batch import local_rotations
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.training.dataset_crops import TOPOLOGY
from hand_mesh_ros.training.datasets import DatasetError, MixedDataset, NoHandError, open_dataset


class Articulations(NamedTuple):
    """N right hands."""

    rotations: np.ndarray
    """(N, 15, 3, 3) float32 of each joint relative to its parent, mean pose included."""
    shape: np.ndarray
    """(N, 10) float32"""

    @staticmethod
    def joined(parts: list[Articulations]) -> Articulations:
        """All of them, one after the other."""
        return Articulations(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def prior_articulations(model: HandModel, n: int, rng: np.random.Generator) -> Articulations:
    """N hands of the pose prior: what the image engine shows. About 5 s for 20,000."""
    prior = PosePrior(model)
    shape = rng.standard_normal((n, model.shape_dirs_m.shape[2]))
    angles = prior.angles_rad(shape, rng)
    not_turned = np.broadcast_to(np.eye(3), (n, 3, 3))
    rotations = local_rotations(prior.anatomy, angles, not_turned)[:, 1:]
    return Articulations(rotations.astype(np.float32), shape.astype(np.float32))


def dataset_articulations(
    parts: Mapping[str, float], model: HandModel, n: int, *, seed: int
) -> Articulations:
    """Up to N hands of a mixture of data sets, no image is read; left hands are mirrored.

    Args:
        parts: specs as `open_dataset` takes them, with their weights.
        model: the right hand that is trained for.
        n: at most so many; no sample is taken twice.
        seed: of the order of the samples.

    Raises:
        DatasetError: their poses are of another hand model, one of them cannot be opened, or none
            of their hands has a pose.
    """
    if model.name != TOPOLOGY:
        raise DatasetError(
            f"the data sets' poses are {TOPOLOGY}'s, this trains {model.name}: set "
            "hand.model=mano and hand.mano_dir, or leave task.datasets empty"
        )
    mixture = MixedDataset([(open_dataset(spec), w) for spec, w in parts.items()], seed=seed)
    poses, shapes = [], []
    for index in range(len(mixture)):
        if len(poses) == n:
            break
        try:
            sample = mixture[index]
        except NoHandError:
            continue
        if sample.pose is None:
            continue
        pose = mirror_axis_angle(sample.pose) if sample.side is Side.LEFT else sample.pose
        poses.append(model.full_pose(pose) if sample.pose_is_about_mean else pose)
        shapes.append(np.zeros(10) if sample.shape is None else sample.shape)
    if not poses:
        raise DatasetError(f"no hand of {', '.join(parts)} has a pose to learn from")
    rotations = rotation_from_axis_angle(np.stack(poses).reshape(-1, 16, 3))[:, 1:]
    return Articulations(rotations.astype(np.float32), np.stack(shapes).astype(np.float32))
