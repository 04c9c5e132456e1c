"""Plausible hands without end: poses, shapes, views and cameras, drawn from a seed.

What the synthetic image engine renders and the lifter learns from. Right hands; a left hand is one
in a mirror.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.gestures import angles_from_bends
from hand_mesh_ros.hand_models.hand_contacts import HandCapsules
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.pose_families import FAMILIES
from hand_mesh_ros.hand_models.random_views import random_rotations, random_views
from hand_mesh_ros.hand_models.skeleton_batch import (
    PosedSkeletons,
    local_rotations,
    pose_skeletons,
)
from hand_mesh_ros.hand_models.touch import Touch, bring_together, stop_at_palm

DEEPEST_M = 0.004
"""No part of a hand is pressed deeper into another than this, by `HandCapsules`."""
WIDEST_TOUCH_M = 0.0015
"""Where a thumb is to touch a finger, their skins are this close or the hand is drawn again."""
FAMILY_NAMES = tuple(FAMILIES)
_FLESH_M = 0.02
"""From joints and fingertips to the skin, and a little more."""
_CHUNK = 2048
_PATIENCE, _MOST_ATTEMPTS = 60, 600
"""Draws before a hand that cannot take its pose does something else, and before giving up."""
# Spread of each angle about what its family draws, degrees.
_FLEXION_STD, _ABDUCTION_STD, _THUMB_STD = 5.0, 3.0, 6.0


@dataclass(frozen=True, eq=False)
class PoseSamples:
    """N right hands, each seen whole by its own camera."""

    family: np.ndarray
    """(N,) int, place in `FAMILY_NAMES`."""
    angles_rad: np.ndarray
    """(N, 21) of `Anatomy`, within its limits."""
    shape: np.ndarray
    """(N, 10) standard normal."""
    R_camera_hand: np.ndarray
    """(N, 3, 3) uniform over all rotations."""
    t_camera_wrist: np.ndarray
    """(N, 3) m"""
    K: np.ndarray
    """(N, 3, 3) px, ideal pinhole."""
    size_px: np.ndarray
    """(N, 2) int, the image's width and height."""

    def rotations(self, anatomy: Anatomy) -> np.ndarray:
        """(N, 16, 3, 3) local rotations for skinning, the first one into the camera."""
        return local_rotations(anatomy, self.angles_rad, self.R_camera_hand)

    def camera(self, index: int) -> Camera:
        """The camera of one hand."""
        width, height = (int(v) for v in self.size_px[index])
        return Camera(width, height, self.K[index])


class PosePrior:
    """Draws hands of one right hand model."""

    def __init__(self, model: HandModel) -> None:
        self.model = model
        self.anatomy = Anatomy.of(model)
        self.capsules = HandCapsules.of(model)
        self._tip_joint = model.keypoint_regressors["anatomical"].joint
        self._noise_std_rad = np.radians(_noise_std_deg(self.anatomy))

    def sample(self, n: int, rng: np.random.Generator) -> PoseSamples:
        """Draw N hands."""
        family = self._families(n, rng)
        shape = rng.standard_normal((n, self.model.shape_dirs_m.shape[2]))
        angles = self._angles(family, shape, rng)
        centre, radius = self._balls(angles, shape)
        views = random_views(radius, rng)
        R = random_rotations(n, rng)
        return PoseSamples(
            family=family,
            angles_rad=angles,
            shape=shape,
            R_camera_hand=R,
            t_camera_wrist=views.centre_camera_m - np.einsum("nab,nb->na", R, centre),
            K=views.K,
            size_px=views.size_px,
        )

    def angles_rad(self, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N, D) angles of N hands of these (N, S) shapes: poses alone, for one's own views."""
        return self._angles(self._families(len(shape), rng), shape, rng)

    def depth_m(self, angles_rad: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(N,) m, how deep each hand presses into itself; 0 where nothing touches."""
        return self.capsules.depth_m(self._posed(angles_rad, shape), shape)

    @staticmethod
    def _families(n: int, rng: np.random.Generator) -> np.ndarray:
        share = np.array([family.share for family in FAMILIES.values()])
        return rng.choice(len(FAMILIES), n, p=share / share.sum())

    def _angles(
        self, family: np.ndarray, shape: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(N, D) angles of hands of these families; what is refused is drawn again.

        A hand that cannot do it (its thumb does not reach) goes to another family, in place.
        """
        angles = np.empty((len(family), len(self.anatomy.names)))
        missing = np.arange(len(family))
        for attempt in range(_MOST_ATTEMPTS):
            if attempt % _PATIENCE == _PATIENCE - 1:
                family[missing] = self._families(len(missing), rng)
            accepted = np.zeros(len(missing), bool)
            for start in range(0, len(missing), _CHUNK):
                rows = missing[start : start + _CHUNK]
                part, good = self._drawn(family[rows], shape[rows], rng)
                angles[rows[good]] = part[good]
                accepted[start : start + _CHUNK] = good
            missing = missing[~accepted]
            if len(missing) == 0:
                return angles
        raise RuntimeError(
            f"{len(missing)} of {len(family)} hands were refused {_MOST_ATTEMPTS} times, expected "
            f"a few times: does the hand model {self.model.name!r} fit the families?"
        )

    def _drawn(
        self, family: np.ndarray, shape: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) angles, and (N,) bool: which of them a hand can take."""
        angles = np.empty((len(family), len(self.anatomy.names)))
        touch = Touch.nothing(len(family))
        for f in np.unique(family):
            rows = np.flatnonzero(family == f)
            drawn = FAMILIES[FAMILY_NAMES[f]].draw(rng, len(rows))
            angles[rows] = angles_from_bends(self.anatomy, drawn.bends)
            for name, values in vars(drawn.touch).items():
                getattr(touch, name)[rows] = values
        noise = self._noise_std_rad * rng.standard_normal(angles.shape)
        angles = np.clip(angles + noise, self.anatomy.lower_rad, self.anatomy.upper_rad)
        angles = stop_at_palm(self.model, self.anatomy, self.capsules, angles, shape)
        good = np.ones(len(family), bool)
        rows = np.flatnonzero(touch.finger)
        if len(rows):
            angles[rows], gap = bring_together(
                self.model, self.anatomy, self.capsules, angles[rows], shape[rows], touch.at(rows)
            )
            good[rows] = np.abs(gap) < WIDEST_TOUCH_M
        return angles, good & (self.depth_m(angles, shape) < DEEPEST_M)

    def _posed(self, angles_rad: np.ndarray, shape: np.ndarray) -> PosedSkeletons:
        return pose_skeletons(self.model, self.anatomy, angles_rad, shape)

    def _balls(self, angles_rad: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) m, hand frame, and (N,) m: middle and radius of a ball around each hand."""
        centre, radius = np.empty((len(shape), 3)), np.empty(len(shape))
        for start in range(0, len(shape), _CHUNK):
            rows = slice(start, start + _CHUNK)
            points = self._keypoints(angles_rad[rows], shape[rows])  # (N, 21, 3)
            middle = 0.5 * (points.min(1) + points.max(1))
            centre[rows] = middle
            radius[rows] = np.linalg.norm(points - middle[:, None], axis=2).max(1) + _FLESH_M
        return centre, radius

    def _keypoints(self, angles_rad: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(N, 21, 3) m anatomical keypoints, hand frame."""
        which = self.model.keypoint_regressors["anatomical"]
        return self._posed(angles_rad, shape).keypoints(which, shape)


def _noise_std_deg(anatomy: Anatomy) -> np.ndarray:
    """(D,) standard deviation of each angle about its family."""
    return np.array(
        [
            _THUMB_STD if name.startswith("thumb") else
            _ABDUCTION_STD if name.endswith("abduction") else _FLEXION_STD
            for name in anatomy.names
        ]
    )  # fmt: skip
