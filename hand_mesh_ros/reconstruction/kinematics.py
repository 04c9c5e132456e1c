"""Keypoints of a hand from its joint angles and shape, with their derivatives (numpy).

The 21 keypoints are rigid on the skeleton, so neither vertices nor skinning are needed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.conventions import JOINT_PARENTS
from hand_mesh_ros.hand_models.anatomy import ANCESTOR, Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.rotations import cross_product_matrices

_PARENTS = np.array(JOINT_PARENTS)
_IDENTITY = np.eye(3)
_CROSS = cross_product_matrices(_IDENTITY).transpose(2, 1, 0).reshape(9, 3)
"""Of an axis: the nine numbers by which an arm's x y z (outer) move its end's x y z (inner)."""


@dataclass(frozen=True)
class PosedKeypoints:
    """Keypoints about the wrist, turned by the whole hand's rotation, and how they change."""

    keypoints_m: np.ndarray
    """(21, 3) m"""
    jacobian: np.ndarray
    """(21, 3, 3 + 3 + D + S) by the wrist's position, m, a rotation vector of the whole hand about
    the wrist, rad, angles and shape."""


class HandKinematics:
    """Forward kinematics of one right hand model's keypoints, analytic Jacobian included.

    A keypoint is a sum of straight pieces (the bones to its joint and its offset from there), each
    turned by one of the six rotations along its finger: the whole hand's, and that after each of
    the finger's five `Anatomy.turns`.
    """

    def __init__(self, model: HandModel, anatomy: Anatomy, regressor: str) -> None:
        # Letters: K 21 keypoints, E = 1 + S (the mean, then its derivatives by shape).
        which = model.keypoint_regressors[regressor]
        self._anatomy = anatomy
        joints = _joined(model.joint_template_m, model.joint_dirs_m)
        bones = (joints - joints[_PARENTS])[1:]
        offsets = _joined(which.offset_m, which.offset_dirs_m)
        self._pieces = np.concatenate([bones, offsets])  # (15 + K, 3, E)
        self._piece_dirs = self._pieces[:, :, 1:].reshape(-1, bones.shape[2] - 1).copy()
        # Which rotation is before, and beyond, a finger's first, second and last joint.
        of_finger = 6 * np.arange(5)[:, None]
        before, beyond = of_finger + np.array([0, 3, 4]), of_finger + np.array([3, 4, 5])
        beyond_joint = np.append(0, beyond)  # (16,), the wrist turns with the whole hand
        self._rotation_of_piece = np.append(before, beyond_joint[which.joint])
        # What each point is the sum of.
        bones_to = ANCESTOR[:, 1:].astype(float)  # (16, 15)
        self._sum_of_keypoint = np.hstack([bones_to[which.joint], np.eye(21)])  # (K, 15 + K)
        # The whole hand turns as three more angles would, at the wrist and about fixed axes.
        joint_of_turn = np.append([0, 0, 0], anatomy.joint)  # (3 + D,)
        self._sum_of_turn = bones_to[joint_of_turn].T.copy()  # (15, 3 + D)
        self._moves = ANCESTOR[which.joint][:, None, joint_of_turn].astype(float)  # (K, 1, 3 + D)
        finger, turn = np.divmod(anatomy.place, 5)
        self._rotation_of_axis = 6 * finger + turn
        self._axes = anatomy.axis[:, :, None]

    def pose(self, angles_rad: np.ndarray, R: np.ndarray, shape: np.ndarray) -> PosedKeypoints:
        """Pose the keypoints.

        Args:
            angles_rad: (D,)
            R: (3, 3) rotation of the whole hand.
            shape: (S,)
        """
        rotations = self._along_fingers(angles_rad, R)
        pieces = self._pieces.copy()
        pieces[:, :, 0] += (self._piece_dirs @ shape).reshape(-1, 3)
        turned = rotations[self._rotation_of_piece] @ pieces  # (15 + K, 3, E)
        summed = self._sum_of_keypoint @ turned.reshape(len(turned), -1)
        summed = summed.reshape(21, 3, -1)  # (K, 3, E)
        keypoints = summed[:, :, 0].copy()

        num_angles = len(angles_rad)
        jacobian = np.empty((21, 3, 6 + num_angles + len(shape)))
        jacobian[:, :, :3] = _IDENTITY
        # A turn moves all beyond its joint: its axis times the arm from the joint to the keypoint.
        axis = np.empty((3, 3 + num_angles))
        axis[:, :3] = _IDENTITY
        axis[:, 3:] = (rotations[self._rotation_of_axis] @ self._axes)[:, :, 0].T
        # (3, 3, 3 + D) by the arm's x y z; what moves; by which turn.
        cross = (_CROSS @ axis).reshape(3, 3, -1)
        position = turned[:15, :, 0].T @ self._sum_of_turn  # (3, 3 + D)
        moved = (keypoints @ cross.reshape(3, -1)).reshape(21, 3, -1)
        moved -= (cross * position[:, None]).sum(0)
        np.multiply(moved, self._moves, out=jacobian[:, :, 3 : 6 + num_angles])
        jacobian[:, :, 6 + num_angles :] = summed[:, :, 1:]
        return PosedKeypoints(keypoints, jacobian)

    def keypoints_m(self, angles_rad: np.ndarray, R: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(21, 3) m, as `pose` gives them, without the derivatives."""
        rotations = self._along_fingers(angles_rad, R)
        pieces = self._pieces[:, :, :1] + (self._piece_dirs @ shape).reshape(-1, 3, 1)
        turned = rotations[self._rotation_of_piece] @ pieces  # (15 + K, 3, 1)
        return self._sum_of_keypoint @ turned[:, :, 0]

    def _along_fingers(self, angles_rad: np.ndarray, R: np.ndarray) -> np.ndarray:
        """(30, 3, 3) six of each finger."""
        turns = self._anatomy.turns(angles_rad)
        rotations = np.empty((5, 6, 3, 3))
        rotations[:, 0] = R
        for i in range(5):
            np.matmul(rotations[:, i], turns[:, i], out=rotations[:, i + 1])
        return rotations.reshape(30, 3, 3)


def _joined(mean: np.ndarray, dirs: np.ndarray) -> np.ndarray:
    return np.concatenate([mean[:, :, None], dirs], axis=2)
