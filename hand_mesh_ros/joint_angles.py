"""Anatomical joint angles of any pose: the inverse of `Anatomy.pose`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.rotations import rotation_from_axis_angle

_ROUNDS = 2
"""Of alternating between two angles; poses that two angles can make need none."""


class JointAngles:
    """Reads the 21 named angles from poses of one hand model and of its mirror image.

    A joint's rotation may turn about axes that its angles don't have (a network's finger twists):
    then the angles are those whose rotation is nearest (least squares of the matrix's elements).
    The thumb's saddle joint has three angles, so any rotation can be read exactly.
    """

    def __init__(self, model: HandModel) -> None:
        """Prepare for a model of either side."""
        self._model = model if model.side is Side.RIGHT else model.mirrored()
        anatomy = self._anatomy = Anatomy.of(self._model)
        self.names = anatomy.names
        count = np.bincount(anatomy.joint, minlength=16)[anatomy.joint]  # of the angle's joint
        first = anatomy.slot == 0
        self._single = np.flatnonzero(count == 1)
        # First, second and, where there is one, third angle of the joints that have more.
        self._first = np.flatnonzero((count > 1) & first)
        self._axes = anatomy.axis[self._single]
        self._basis = np.stack([self._frame(anatomy, i) for i in self._first])  # (J, 3, 3)
        self._triple = count[self._first] == 3
        third = self._first[self._triple] + 2
        self._third, self._third_sign = (
            third,
            np.einsum("jc,jc->j", anatomy.axis[third], self._basis[self._triple][:, :, 2]),
        )

    @staticmethod
    def _frame(anatomy: Anatomy, first: int) -> np.ndarray:
        """(3, 3) right-handed columns: a joint's first two axes, and the one across them."""
        a, b = anatomy.axis[first], anatomy.axis[first + 1]
        if abs(a @ b) > 1e-6 or tuple(anatomy.slot[first : first + 2]) != (0, 1):
            raise ValueError(f"axes of {anatomy.names[first]} and the next angle are not square")
        return np.column_stack([a, b, np.cross(a, b)])

    def of(self, pose: np.ndarray, side: Side) -> np.ndarray:
        """(21,) rad, in the order of `names`, from a (48,) pose of a hand of that side."""
        return self.of_many([(pose, side)])[0]

    def of_many(self, poses: Sequence[tuple[np.ndarray, Side]]) -> np.ndarray:
        """(H, 21) rad of several hands, given by (48,) pose and side; faster than one by one."""
        # Letters: H hands, S joints with one angle, J joints with more.
        right = [p if side is Side.RIGHT else mirror_axis_angle(p) for p, side in poses]
        full = np.array([self._model.full_pose(p) for p in right])
        local = rotation_from_axis_angle(full.reshape(-1, 16, 3))  # (H, 16, 3, 3)
        joint = self._anatomy.joint
        turn = np.empty((len(right), len(self.names)))
        turn[:, self._single] = _about(self._axes, local[:, joint[self._single]])

        M = local[:, joint[self._first]]  # (H, J, 3, 3)
        M = self._basis.transpose(0, 2, 1) @ M @ self._basis  # about x, then y, then z
        a, b = _two_angles(M)
        if self._triple.any():
            a3, b3, c3 = _three_angles(M[:, self._triple])
            a[:, self._triple], b[:, self._triple] = a3, b3
            turn[:, self._third] = self._third_sign * c3
        turn[:, self._first], turn[:, self._first + 1] = a, b
        return turn + self._anatomy.rest_rad


def _about(axes: np.ndarray, R: np.ndarray) -> np.ndarray:
    """(..., S) angles about (S, 3) unit axes whose rotations are nearest to (..., S, 3, 3) ones."""
    vector = R[..., [2, 0, 1], [1, 2, 0]] - R[..., [1, 2, 0], [2, 0, 1]]
    along = ((R @ axes[:, :, None])[..., 0] * axes).sum(axis=-1)
    trace = R[..., 0, 0] + R[..., 1, 1] + R[..., 2, 2]
    return np.arctan2((axes * vector).sum(axis=-1), trace - along)


def _two_angles(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a, b (...) for which Rx(a) Ry(b) is nearest to each of (..., 3, 3)."""
    m = np.moveaxis(M, (-2, -1), (0, 1))
    a = np.arctan2(m[2, 1], m[1, 1])
    b = np.zeros_like(a)
    for _ in range(_ROUNDS):
        # The trace of (Rx Ry)^T M is a sine in either angle while the other one rests.
        sine, cosine = np.sin(a), np.cos(a)
        b = np.arctan2(
            m[0, 2] + sine * m[1, 0] - cosine * m[2, 0],
            m[0, 0] - sine * m[1, 2] + cosine * m[2, 2],
        )
        sine, cosine = np.sin(b), np.cos(b)
        a = np.arctan2(
            m[1, 0] * sine + m[2, 1] - m[1, 2] * cosine,
            m[1, 1] + m[2, 2] * cosine - m[2, 0] * sine,
        )
    return a, b


def _three_angles(M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b, c (...) for which Rx(a) Ry(b) Rz(c) is each of (..., 3, 3)."""
    b = np.arcsin(np.clip(M[..., 0, 2], -1.0, 1.0))
    return np.arctan2(-M[..., 1, 2], M[..., 2, 2]), b, np.arctan2(-M[..., 0, 1], M[..., 0, 0])
