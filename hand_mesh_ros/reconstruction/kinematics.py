"""Keypoints of a hand from its joint angles and shape, with their derivatives (numpy).

The 21 keypoints are rigid on the skeleton, so neither vertices nor skinning are needed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hand_mesh_ros.conventions import JOINT_PARENTS
from hand_mesh_ros.hand_models.anatomy import ANCESTOR, Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel

_PARENTS = np.array(JOINT_PARENTS)


@dataclass(frozen=True)
class PosedKeypoints:
    """Keypoints about the wrist, turned by the whole hand's rotation, and how they change."""

    keypoints_m: np.ndarray
    """(21, 3) m"""
    d_angles: np.ndarray
    """(21, 3, D) m/rad"""
    d_shape: np.ndarray
    """(21, 3, S) m per unit"""


class HandKinematics:
    """Forward kinematics of one right hand model's keypoints, analytic Jacobian included."""

    def __init__(self, model: HandModel, anatomy: Anatomy, regressor: str) -> None:
        which = model.keypoint_regressors[regressor]
        self._anatomy = anatomy
        self._joint_of_keypoint = which.joint
        # The mean, then its derivatives by shape: (N, 3, E).
        self._offsets = _joined(which.offset_m, which.offset_dirs_m)
        # Joint to joint, so that the chain only rotates and adds.
        joints = _joined(model.joint_template_m, model.joint_dirs_m)
        self._bones = joints - joints[_PARENTS]
        self._bones[0] = 0.0
        if anatomy.slot[anatomy.joint % 3 != 1].any():
            raise ValueError("only a finger's first joint may have more than one angle")
        self._slot_of_angle = 3 * (anatomy.joint - 1) + anatomy.slot
        self._axes = anatomy.axis[:, :, None]
        self._moves = ANCESTOR[which.joint][:, None, anatomy.joint]  # (21, 1, D)

    def pose(self, angles_rad: np.ndarray, R: np.ndarray, shape: np.ndarray) -> PosedKeypoints:
        """Pose the keypoints.

        Args:
            angles_rad: (D,)
            R: (3, 3) rotation of the whole hand.
            shape: (S,)
        """
        bones, offsets = _shaped(self._bones, shape), _shaped(self._offsets, shape)
        local = _LocalRotations.of(self._anatomy, angles_rad)
        keypoints, position, R_parent = self._chained(local.joint, R, bones, offsets)
        # An angle turns all beyond its joint about its own axis, seen from the camera.
        before = np.empty((5, 3, 3, 3, 3))  # (F, L, slot, 3, 3): what is turned before it
        before[:, :, 0] = R_parent
        before[:, 0, 1] = R @ local.knuckle
        before[:, 0, 2] = R @ local.outer
        axis = (before.reshape(45, 3, 3)[self._slot_of_angle] @ self._axes)[:, :, 0]  # (D, 3)
        arm = keypoints[:, :, None, 0] - position[self._anatomy.joint, :, 0].T  # (K, 3, D)
        x, y, z = axis.T
        d_angles = np.empty_like(arm)
        d_angles[:, 0] = y * arm[:, 2] - z * arm[:, 1]
        d_angles[:, 1] = z * arm[:, 0] - x * arm[:, 2]
        d_angles[:, 2] = x * arm[:, 1] - y * arm[:, 0]
        d_angles *= self._moves
        return PosedKeypoints(
            keypoints_m=keypoints[:, :, 0],
            d_angles=d_angles,
            d_shape=keypoints[:, :, 1:],
        )

    def keypoints_m(self, angles_rad: np.ndarray, R: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(21, 3) m, as `pose` gives them, without the derivatives."""
        units = np.append(1.0, shape)[:, None]
        local = _LocalRotations.of(self._anatomy, angles_rad).joint
        return self._chained(local, R, self._bones @ units, self._offsets @ units)[0][:, :, 0]

    def _chained(
        self, local: np.ndarray, R: np.ndarray, bones: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(K, 3, E) keypoints, (16, 3, E) joints and (F, L, 3, 3) rotations before each joint.

        E columns of (16, 3, E) bones and (K, 3, E) offsets: the value, and derivatives by shape.
        """
        bones = bones[1:].reshape(5, 3, 3, -1)  # (F, L, 3, E)
        R_joint, R_parent = np.empty((16, 3, 3)), np.empty((5, 3, 3, 3))
        R_finger = R_joint[1:].reshape(5, 3, 3, 3)  # a view
        position = np.zeros((16, 3, bones.shape[3]))
        on_finger = position[1:].reshape(5, 3, 3, -1)  # a view
        R_joint[0] = R_parent[:, 0] = R
        for level in range(3):
            np.matmul(R_parent[:, level], local[:, level], out=R_finger[:, level])
            np.matmul(R_parent[:, level], bones[:, level], out=on_finger[:, level])
            if level > 0:
                on_finger[:, level] += on_finger[:, level - 1]
            if level < 2:
                R_parent[:, level + 1] = R_finger[:, level]
        joint = self._joint_of_keypoint
        keypoints = position[joint] + np.matmul(R_joint[joint], offsets)
        return keypoints, position, R_parent


class _LocalRotations(NamedTuple):
    """Letters: F 5 fingers, L 3 levels (knuckle to last joint)."""

    joint: np.ndarray
    """(F, L, 3, 3)"""
    knuckle: np.ndarray
    """(F, 3, 3) by the first angle of the knuckle."""
    outer: np.ndarray
    """(F, 3, 3) by the first two."""

    @classmethod
    def of(cls, anatomy: Anatomy, angles_rad: np.ndarray) -> _LocalRotations:
        stack = anatomy.rotation_stack(angles_rad)
        stack = stack[1:].reshape(5, 3, 3, 3, 3)  # (F, L, slot, 3, 3)
        joint = stack[:, :, 0].copy()  # beyond the knuckle that is all
        knuckle = stack[:, 0, 0]
        outer = knuckle @ stack[:, 0, 1]
        joint[:, 0] = outer @ stack[:, 0, 2]
        return cls(joint, knuckle, outer)


def _joined(mean: np.ndarray, dirs: np.ndarray) -> np.ndarray:
    return np.concatenate([mean[:, :, None], dirs], axis=2)


def _shaped(mean_and_dirs: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(N, 3, 1 + S): the shaped points, then their derivatives by shape."""
    shaped = mean_and_dirs.copy()
    shaped[:, :, 0] += mean_and_dirs[:, :, 1:] @ shape
    return shaped
