"""The hand's degrees of freedom by their clinical names: axes, zero, limits, and what is usual.

Flexion is positive towards the palm and zero where the two bones are in line. Abduction is
positive away from the middle finger (the middle finger: towards the thumb) and zero in the model's
rest pose, as are the three angles of the thumb's saddle joint. Ranges: Kapandji, The Physiology of
the Joints, vol. 1 (rounded outwards by a few degrees, since hand models are not anatomy).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS, JOINT_PARENTS
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.rotations import axis_angle_from_rotation, cross_product_matrices


@dataclass(frozen=True)
class AngleRange:
    """Limits, usual value and usual spread of one angle, degrees."""

    lower: float
    upper: float
    mean: float
    std: float


FINGER_ANGLES = {
    "mcp_abduction": AngleRange(-22, 22, 2, 8),
    "mcp_flexion": AngleRange(-30, 95, 20, 28),
    "pip_flexion": AngleRange(-8, 112, 28, 32),
    "dip_flexion": AngleRange(-8, 85, 15, 20),
}
THUMB_ANGLES = {
    "cmc_abduction": AngleRange(-30, 40, 5, 15),
    # Wide enough for the thumb to reach the little finger; the palm of these models cannot cup.
    "cmc_flexion": AngleRange(-30, 55, 5, 15),
    "cmc_rotation": AngleRange(-25, 45, 0, 10),
    "mcp_flexion": AngleRange(-15, 70, 15, 18),
    "ip_flexion": AngleRange(-25, 90, 15, 22),
}
# A finger's last two joints share a tendon: DIP follows PIP (Rijpkema and Girard 1991 use 2/3).
DIP_PER_PIP, DIP_PER_PIP_STD_DEG = 0.6, 12.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """D = 21 named joint angles of a right hand model, and their rotations."""

    names: tuple[str, ...]
    joint: np.ndarray
    """(D,) int, joint that each angle turns; up to three a joint, outermost rotation first."""
    axis: np.ndarray
    """(D, 3) unit, model frame at rest."""
    rest_rad: np.ndarray
    """(D,) angle of the model's own rest pose."""
    lower_rad: np.ndarray
    upper_rad: np.ndarray
    mean_rad: np.ndarray
    std_rad: np.ndarray
    slot: np.ndarray
    """(D,) int, place of the angle among those of its joint: 0, 1 or 2."""

    @classmethod
    def of(cls, model: HandModel) -> Anatomy:
        """The degrees of freedom of a right hand model, from its rest geometry."""
        rest = model.joints_at_rest(np.zeros(model.shape_dirs_m.shape[2]))
        tips = model.keypoints_at_rest("anatomical")[[4, 8, 12, 16, 20]]
        rows = []
        for finger, tip in zip(FINGERS, tips, strict=True):
            chain = np.array([rest[0], *rest[list(FINGER_JOINTS[finger])], tip])
            rows += _finger_rows(finger, np.diff(chain, axis=0), model)
        names, joint, slot, axis, rest_rad, ranges = zip(*rows, strict=True)
        return cls(
            names=names,
            joint=np.array(joint),
            slot=np.array(slot),
            axis=np.array(axis),
            rest_rad=np.array(rest_rad),
            lower_rad=np.radians([r.lower for r in ranges]),
            upper_rad=np.radians([r.upper for r in ranges]),
            mean_rad=np.radians([r.mean for r in ranges]),
            std_rad=np.radians([r.std for r in ranges]),
        )

    def angle(self, name: str) -> int:
        """Index of the angle of that name, e.g. "index_pip_flexion"."""
        return self.names.index(name)

    def rotations(self, angles_rad: np.ndarray) -> np.ndarray:
        """(16, 3, 3) rotation of each joint relative to its parent; the wrist's is the identity."""
        turns = self.turns(angles_rad)
        local = np.empty((16, 3, 3))
        local[0] = _IDENTITY
        on_finger = local[1:].reshape(5, 3, 3, 3)  # (F, L, 3, 3), a view
        on_finger[:, 0] = turns[:, 0] @ turns[:, 1] @ turns[:, 2]
        on_finger[:, 1:] = turns[:, 3:]
        return local

    def turns(self, angles_rad: np.ndarray) -> np.ndarray:
        """(5, 5, 3, 3) rotations along each finger from the wrist on, fingers in joint order.

        Up to three of the first joint, one of each of the others; no turn where there is no angle.
        """
        turn = np.zeros((25, 1, 1))
        turn[self.place, 0, 0] = angles_rad - self.rest_rad
        each = _IDENTITY + np.sin(turn) * self._cross + (1.0 - np.cos(turn)) * self._cross_squared
        return each.reshape(5, 5, 3, 3)

    @cached_property
    def place(self) -> np.ndarray:
        """(D,) int, of each angle among the 5 x 5 `turns`."""
        finger, level = np.divmod(self.joint - 1, 3)
        return 5 * finger + np.where(level == 0, self.slot, level + 2)

    @cached_property
    def _cross(self) -> np.ndarray:
        """(25, 3, 3) cross product matrices of the axes: Rodrigues' formula without the angles."""
        axis = np.zeros((25, 3))
        axis[self.place] = self.axis
        return cross_product_matrices(axis)

    @cached_property
    def _cross_squared(self) -> np.ndarray:
        return self._cross @ self._cross

    def pose(self, angles_rad: np.ndarray, R_global: np.ndarray) -> np.ndarray:
        """(48,) axis-angle pose from (D,) angles and the (3, 3) rotation of the whole hand."""
        local = self.rotations(angles_rad)
        local[0] = R_global
        return axis_angle_from_rotation(local).reshape(-1)


def _finger_rows(finger: str, bones: np.ndarray, model: HandModel) -> list[tuple]:
    """Name, joint, slot, axis, rest angle and range of each angle of one finger.

    Args:
        finger: its name.
        bones: (4, 3) m from the wrist to the tip, at rest.
        model: whose `flexion_axes` are used.
    """
    bones = bones / np.linalg.norm(bones, axis=1, keepdims=True)
    joints = FINGER_JOINTS[finger]
    flexion = [_perpendicular(model.flexion_axes[j], bones[k + 1]) for k, j in enumerate(joints)]
    bend = [_signed_angle(bones[k], bones[k + 1], flexion[k]) for k in range(3)]
    # Flexion moves the bone towards the palm; turning about minus that moves it towards the thumb.
    spread = -np.cross(flexion[0], bones[1])
    if finger == "thumb":
        table = THUMB_ANGLES
        where = [(0, 0, spread, 0.0), (0, 1, flexion[0], 0.0), (0, 2, bones[1], 0.0)]
    else:
        table = FINGER_ANGLES
        away = -spread if finger in ("ring", "little") else spread
        where = [(0, 0, away, 0.0), (0, 1, flexion[0], bend[0])]
    where += [(1, 0, flexion[1], bend[1]), (2, 0, flexion[2], bend[2])]
    return [
        (f"{finger}_{name}", joints[level], slot, axis, rest, limits)
        for (name, limits), (level, slot, axis, rest) in zip(table.items(), where, strict=True)
    ]


def _perpendicular(axis: np.ndarray, direction: np.ndarray) -> np.ndarray:
    axis = axis - (axis @ direction) * direction
    return axis / np.linalg.norm(axis)


def _signed_angle(a: np.ndarray, b: np.ndarray, axis: np.ndarray) -> float:
    """Angle from a to b about the axis, both seen along it, rad."""
    return float(np.arctan2(axis @ np.cross(a, b), a @ b - (a @ axis) * (b @ axis)))


_IDENTITY = np.eye(3)

# ANCESTOR[j, a]: does joint a carry joint j (or is it j)?
ANCESTOR = np.zeros((16, 16), bool)
for _joint in range(16):
    _up = _joint
    while _up >= 0:
        ANCESTOR[_joint, _up] = True
        _up = JOINT_PARENTS[_up]
