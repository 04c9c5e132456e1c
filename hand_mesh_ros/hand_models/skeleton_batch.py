"""Skeletons of many hands at once from their joint angles and shapes (numpy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.conventions import JOINT_PARENTS
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel, KeypointRegressor
from hand_mesh_ros.rotations import cross_product_matrices


@dataclass(frozen=True, eq=False)
class PosedSkeletons:
    """N posed skeletons in the hand's own frame, wrist at the origin."""

    joints_m: np.ndarray
    """(N, 16, 3)"""
    R_joints: np.ndarray
    """(N, 16, 3, 3) rotation of each joint's frame from rest."""
    axes: np.ndarray
    """(N, D, 3) unit, what each angle turns about."""

    def points(self, joint: np.ndarray, offset_m: np.ndarray) -> np.ndarray:
        """(N, P, 3) m, points fixed to joints.

        Args:
            joint: (P,) or (N, P) int, joint that carries each point.
            offset_m: (P, 3) or (N, P, 3), from that joint, its own axes.
        """
        row = np.arange(len(self.joints_m))[:, None]
        return self.joints_m[row, joint] + turned(self.R_joints[row, joint], offset_m)

    def keypoints(self, which: KeypointRegressor, shape: np.ndarray) -> np.ndarray:
        """(N, 21, 3) m by that regressor, of hands with these (N, S) shapes."""
        offset = which.offset_m + np.einsum("kcs,ns->nkc", which.offset_dirs_m, shape)
        return self.points(which.joint[None], offset)


def pose_skeletons(
    model: HandModel, anatomy: Anatomy, angles_rad: np.ndarray, shape: np.ndarray
) -> PosedSkeletons:
    """Pose N skeletons, each by its (N, D) angles and (N, S) shape."""
    # Hands come last in here (N is long, 3 is not): numpy multiplies that way thrice as fast.
    n = len(angles_rad)
    rest = model.joint_dirs_m.reshape(48, -1) @ shape.T + model.joint_template_m.reshape(48, 1)
    rest = rest.reshape(16, 3, n)
    turn = _rotations_about(anatomy.axis, (angles_rad - anatomy.rest_rad).T)  # (D, 3, 3, N)
    joints, R = np.zeros((16, 3, n)), np.empty((16, 3, 3, n))
    R[0] = np.eye(3)[:, :, None]
    axes = np.empty((len(anatomy.names), 3, n))
    # The angles of a finger come root to tip, and those of a joint outermost first.
    for d, (joint, slot) in enumerate(zip(anatomy.joint, anatomy.slot, strict=True)):
        parent = JOINT_PARENTS[joint]
        if slot == 0:
            bone = rest[joint] - rest[parent]
            joints[joint] = joints[parent] + (R[parent] * bone).sum(1)
        before = R[parent] if slot == 0 else R[joint]
        axes[d] = (before * anatomy.axis[d][:, None]).sum(1)
        R[joint] = (before[:, :, None] * turn[d]).sum(1)
    return PosedSkeletons(
        joints_m=joints.transpose(2, 0, 1),
        R_joints=R.transpose(3, 0, 1, 2),
        axes=axes.transpose(2, 0, 1),
    )


def local_rotations(
    anatomy: Anatomy, angles_rad: np.ndarray, R_camera_hand: np.ndarray
) -> np.ndarray:
    """(N, 16, 3, 3) rotation of each joint relative to its parent, as hand models take them.

    Args:
        anatomy: of the hand model.
        angles_rad: (N, D)
        R_camera_hand: (N, 3, 3) turns the whole hand.
    """
    turn = _rotations_about(anatomy.axis, (angles_rad - anatomy.rest_rad).T)  # (D, 3, 3, N)
    local = np.tile(np.eye(3)[:, :, None], (16, 1, 1, len(angles_rad)))
    local[0] = R_camera_hand.transpose(1, 2, 0)
    for d, joint in enumerate(anatomy.joint):
        local[joint] = (local[joint][:, :, None] * turn[d]).sum(1)
    return local.transpose(3, 0, 1, 2)


def _rotations_about(axis: np.ndarray, angle_rad: np.ndarray) -> np.ndarray:
    """(D, 3, 3, N) rotations about (D, 3) unit axes by (D, N) angles (Rodrigues' formula)."""
    K = cross_product_matrices(axis)
    sine, versine = np.sin(angle_rad)[:, None, None], 1.0 - np.cos(angle_rad)[:, None, None]
    return np.eye(3)[:, :, None] + sine * K[..., None] + versine * (K @ K)[..., None]


def turned(R: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(..., 3) vectors turned by (..., 3, 3) rotations."""
    return np.einsum("...ab,...b->...a", R, vectors)
