"""Where skin meets skin: thumbs that touch fingers, and bent fingers that end on the palm.

For many hands at once, by joint angles close to given ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.conventions import FINGERS
from hand_mesh_ros.hand_models.anatomy import DIP_PER_PIP, Anatomy
from hand_mesh_ros.hand_models.hand_contacts import HandCapsules
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.skeleton_batch import PosedSkeletons, pose_skeletons, turned

STEPS = 10
PRESS_M = 0.002
"""How far skin gives way where it is touched."""
_THUMB_ALONG = 0.85
"""Place of the pulp on the thumb's last bone."""
_GAP_M = 0.001
_NEAR_M = 0.005
_FACING = 0.4
_THUMB_STD_RAD, _FINGER_STD_RAD = np.radians(25.0), np.radians(20.0)
_LONGEST_STEP_RAD = 0.35
_OPENING_STEPS = 5
_LEVER_M = 0.04
"""How much a bent finger's tip moves away from the palm per radian."""


@dataclass(frozen=True)
class Touch:
    """What the thumb's tip touches in each of N hands."""

    finger: np.ndarray
    """(N,) int, 1 (index) to 4 (little); 0: nothing."""
    bone: np.ndarray
    """(N,) int, 0 (knuckle) to 2 (fingertip)."""
    along: np.ndarray
    """(N,) 0 to 1, place on that bone towards the tip."""
    turn_rad: np.ndarray
    """(N,) side of that bone: 0 palmar, a quarter turn the thumb's side, a half turn the back."""
    thumb_turn_rad: np.ndarray
    """(N,) side of the thumb's last bone: 0 its pulp."""

    @classmethod
    def nothing(cls, n: int) -> Touch:
        """N hands whose thumb touches nothing."""
        return cls(np.zeros(n, int), np.zeros(n, int), *np.zeros((3, n)))

    def at(self, rows: np.ndarray) -> Touch:
        """Some of the hands."""
        return Touch(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class _Ball:
    """A ball of flesh inside each hand, fixed to a joint, and the side that should touch."""

    joint: np.ndarray
    offset_m: np.ndarray
    radius_m: np.ndarray
    normal: np.ndarray

    def posed(self, hand: PosedSkeletons) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) m middle and (N, 3) normal."""
        row = np.arange(len(self.joint))
        R = hand.R_joints[row, self.joint]
        middle = hand.joints_m[row, self.joint] + turned(R, self.offset_m)
        return middle, turned(R, self.normal)


def bring_together(
    model: HandModel,
    anatomy: Anatomy,
    capsules: HandCapsules,
    angles_rad: np.ndarray,
    shape: np.ndarray,
    touch: Touch,
) -> tuple[np.ndarray, np.ndarray]:
    """Move thumb and finger of N hands until they touch: damped Gauss-Newton on nine angles.

    Args:
        model: the right hand.
        anatomy: of that model.
        capsules: of that model.
        angles_rad: (N, D) to start from and to stay close to.
        shape: (N, S)
        touch: where; every finger 1 to 4.

    Returns:
        (N, D) angles within the limits, and the (N,) m still missing between thumb and finger
        (negative: too close).
    """
    n = len(angles_rad)
    ends = capsules.ends_at_rest(shape)
    thumb = _ball(capsules, ends, np.full(n, 2), np.full(n, _THUMB_ALONG), touch.thumb_turn_rad)
    finger = _ball(capsules, ends, 3 * touch.finger + touch.bone, touch.along, touch.turn_rad)
    apart = thumb.radius_m + finger.radius_m - PRESS_M
    # Letters: N hands, M = 9 moving angles.
    moving = _moving_angles(anatomy)[touch.finger]  # (N, M)
    row = np.arange(n)[:, None]
    joint = anatomy.joint[moving]  # (N, M)
    moves_thumb = np.arange(9) < 5
    moves_finger = ~moves_thumb & (joint <= finger.joint[:, None])
    stiffness = np.where(moves_thumb, _THUMB_STD_RAD, _FINGER_STD_RAD) ** -2.0
    start = angles_rad[row, moving]
    angles = angles_rad.copy()
    lower, upper = anatomy.lower_rad[moving], anatomy.upper_rad[moving]
    for _ in range(STEPS):
        hand = pose_skeletons(model, anatomy, angles, shape)
        (p, p_normal), (q, q_normal) = thumb.posed(hand), finger.posed(hand)
        axis, origin = hand.axes[row, moving], hand.joints_m[row, joint]  # (N, M, 3)
        dp = np.cross(axis, p[:, None] - origin) * moves_thumb[:, None]  # (N, M, 3)
        dq = np.cross(axis, q[:, None] - origin) * moves_finger[..., None]
        dp_normal = np.cross(axis, p_normal[:, None]) * moves_thumb[:, None]
        dq_normal = np.cross(axis, q_normal[:, None]) * moves_finger[..., None]
        distance = np.linalg.norm(p - q, axis=1)
        e = (p - q) / np.maximum(distance, 1e-6)[:, None]  # from the finger to the thumb
        residual = [(distance - apart)[:, None] / _GAP_M, (p_normal + e) / _FACING]
        residual = np.concatenate([*residual, (q_normal - e) / _FACING], axis=1)  # (N, 7)
        moved = dp - dq
        d_gap = np.einsum("nmc,nc->nm", moved, e)[..., None]  # (N, M, 1)
        de = (moved - d_gap * e[:, None]) / np.maximum(distance, _NEAR_M)[:, None, None]
        facing = [(dp_normal + de) / _FACING, (dq_normal - de) / _FACING]
        J = np.concatenate([d_gap / _GAP_M, *facing], axis=2)  # (N, M, 7)
        A = J @ J.transpose(0, 2, 1) + np.diag(stiffness)  # (N, M, M)
        now = angles[row, moving]
        b = -turned(J, residual) - stiffness * (now - start)
        step = np.linalg.solve(A, b[..., None])[..., 0]
        step = np.clip(step, -_LONGEST_STEP_RAD, _LONGEST_STEP_RAD)
        angles[row, moving] = np.clip(now + step, lower, upper)
    hand = pose_skeletons(model, anatomy, angles, shape)
    return angles, np.linalg.norm(thumb.posed(hand)[0] - finger.posed(hand)[0], axis=1) - apart


def stop_at_palm(
    model: HandModel,
    anatomy: Anatomy,
    capsules: HandCapsules,
    angles_rad: np.ndarray,
    shape: np.ndarray,
) -> np.ndarray:
    """(N, D) angles of hands whose bent fingers end on the palm's skin, not inside of it."""
    angles = angles_rad.copy()
    pip, dip = (
        np.array([anatomy.angle(f"{finger}_{name}_flexion") for finger in FINGERS[1:]])
        for name in ("pip", "dip")
    )
    of_finger = capsules.first // 3 == np.arange(1, 5)[:, None]
    on_palm = of_finger & (capsules.second >= 15)  # (4, P)
    rows = np.arange(len(angles))
    for _ in range(_OPENING_STEPS):
        hand = pose_skeletons(model, anatomy, angles[rows], shape[rows])
        overlap = capsules.overlaps_m(hand, shape[rows])  # (N, P)
        depth = np.stack([overlap[:, pairs].max(1) for pairs in on_palm], axis=1)  # (N, 4)
        rows, depth = (values[(depth > PRESS_M).any(1)] for values in (rows, depth))
        opening = np.maximum(depth - 0.5 * PRESS_M, 0.0) / _LEVER_M
        angles[rows[:, None], pip] -= opening
        angles[rows[:, None], dip] -= DIP_PER_PIP * opening
    return np.clip(angles, anatomy.lower_rad, anatomy.upper_rad)


def _ball(
    capsules: HandCapsules,
    ends: np.ndarray,
    capsule: np.ndarray,
    along: np.ndarray,
    turn_rad: np.ndarray,
) -> _Ball:
    """Where each hand's (N,) capsule should touch, given the (N, C, 2, 4) ends of all."""
    low, high = ends[np.arange(len(capsule)), capsule].transpose(1, 0, 2)  # (N, 4)
    ball = low + along[:, None] * (high - low)
    cosine, sine = np.cos(turn_rad)[:, None], np.sin(turn_rad)[:, None]
    normal = cosine * capsules.palmar[capsule] + sine * capsules.radial[capsule]
    return _Ball(capsules.joint[capsule], ball[:, :3], ball[:, 3], normal)


def _moving_angles(anatomy: Anatomy) -> np.ndarray:
    """(5, 9) int: the thumb's five angles and those of finger 1 to 4 (row 0 is not used)."""
    of = {f: [i for i, name in enumerate(anatomy.names) if name.startswith(f)] for f in FINGERS}
    rows = [[*of["thumb"], *of[finger]] for finger in FINGERS[1:]]
    return np.array([rows[0], *rows])
