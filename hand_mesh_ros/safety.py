"""Safety gates: what no hand can do is held back, or marked, before a robot follows it.

Four questions to each hand: do its joints bend as joints do, could it have got here since it was
last seen, is it where the landmarks are in the image, and if it has changed its side, is that sure?
They are asked before smoothing, so that a wrong hand leaves no trace in the frames after it. What
is not even a number is held back always.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.types import Detection, Frame, Hand

Action = Literal["hold", "mark", "off"]

MARKED_SCORE = 0.0
"""Of a marked hand; the detector's own scores are above its thresholds."""
MARKED_STDDEV = 10.0
"""A marked hand's root is said to be so many times less certain."""
MEMORY_S = 1.0
"""A hand that was not seen for longer may be anywhere, and on either side."""
POSITION_NOISE = 0.1
"""Of a still hand from frame to frame, as a share of its distance: no jump..."""
TURN_NOISE_RAD = 0.35
"""...and of its rotation."""
MIN_SEEN = 6
"""Keypoints that must be in front of the lens for a hand to be compared with its landmarks."""
_LARGEST_SQUARE = float(np.finfo(np.float32).max) ** 2
"""Messages carry float32: what is larger would be infinite there."""
_ROTATION_TOLERANCE = 1e-3
_IDENTITY = np.eye(3)
_HAND_NUMBERS = (
    *("side_score", "score", "T_camera_wrist", "root_covariance", "keypoints_m"),
    *("keypoints_px", "vertices_m", "pose", "shape", "box_px", "grasp_aperture_m"),
    *("keypoint_stddev_m", "vertex_stddev_m"),
)
_DETECTION_NUMBERS = ("side_score", "score", "keypoints_px", "keypoints_rel_m", "box_px")


@dataclass(frozen=True)
class SafetyLimits:
    """What a hand may do; the defaults are those of the node's parameters."""

    action: Action
    """With a hand that breaks a limit: hold it back, publish it marked, or nothing."""
    joint_margin_deg: float
    """By which a joint may bend beyond its anatomical range, which is that of open palms; also by
    which it may turn about an axis that it does not have."""
    max_speed_m_s: float
    max_turn_rate_rad_s: float
    max_reprojection_error: float
    """Mean distance between projected keypoints and landmarks, as a share of the hand's extent."""
    min_side_score: float
    """Of a hand that was of the other side before."""


@dataclass(frozen=True)
class Judged:
    """The hands of one frame, judged."""

    sound: tuple[Hand, ...]
    marked: tuple[Hand, ...] = ()
    """To be published as they are, with score 0: not to be smoothed, nor learnt from."""
    reasons: tuple[str, ...] = ()
    """One line for each hand that was held back or marked."""


@dataclass(frozen=True)
class _Trusted:
    """Where a track's hand was when it was last found sound."""

    stamp_ns: int
    side: Side
    T_camera_wrist: np.ndarray


class SafetyGates:
    """Judges the hands of one stream, frame by frame."""

    def __init__(self, model: HandModel, limits: SafetyLimits) -> None:
        """Prepare for hands of a model of either side."""
        self.limits = limits
        self._model = model if model.side is Side.RIGHT else model.mirrored()
        self._anatomy = Anatomy.of(self._model)
        self._off_axis = np.tile(np.eye(3), (16, 1, 1))  # (16, 3, 3) projects an axis of turn
        np.subtract.at(
            self._off_axis,
            self._anatomy.joint,
            np.einsum("da,db->dab", self._anatomy.axis, self._anatomy.axis),
        )
        self._off_axis[0] = 0.0  # the wrist turns as it likes
        self._trusted: dict[int, _Trusted] = {}

    def reset(self) -> None:
        """Forget all hands."""
        self._trusted.clear()

    def judge(self, hands: tuple[Hand, ...], frame: Frame) -> Judged:
        """Sort the hands of one frame; stamps that go back make all of them new."""
        self._trusted = {
            track_id: trusted
            for track_id, trusted in self._trusted.items()
            if 0 <= frame.stamp_ns - trusted.stamp_ns <= 1e9 * MEMORY_S
        }
        seen = {hand.track_id for hand in hands}
        numbers = without_broken(hands)
        sound, marked, reasons = [], [], list(numbers.reasons)
        for hand in numbers.sound:
            reason = None if self.limits.action == "off" else self._reason(hand, frame, seen)
            if reason is None:
                sound.append(hand)
                trusted = _Trusted(frame.stamp_ns, hand.side, hand.T_camera_wrist)
                self._trusted[hand.track_id] = trusted
            elif self.limits.action == "mark":
                marked.append(_marked(hand))
                reasons.append(_line(hand, "marked", reason))
            else:
                reasons.append(_line(hand, "held back", reason))
        return Judged(tuple(sound), tuple(marked), tuple(reasons))

    def _reason(self, hand: Hand, frame: Frame, seen: set[int]) -> str | None:
        """What speaks against a hand; None where nothing does."""
        before = self._before(hand, seen)
        return (
            self._bent_too_far(hand)
            or self._off_its_landmarks(hand, frame)
            or (before and self._unsure_of_its_side(hand, before))
            or (before and self._jumped(hand, before, frame.stamp_ns))
            or None
        )

    def _before(self, hand: Hand, seen: set[int]) -> _Trusted | None:
        """The same hand, last time: that of its track, or of its side's track that it follows."""
        own = self._trusted.get(hand.track_id)
        if own is not None:
            return own
        lost = [t for i, t in self._trusted.items() if i not in seen and t.side is hand.side]
        return max(lost, key=lambda t: t.stamp_ns, default=None)

    def _bent_too_far(self, hand: Hand) -> str | None:
        """Each joint's turn about its anatomical axes, to first order.

        Within its limits no pose of the open hand reads as more than 18 degrees beyond them, and
        none that the pose prior draws as more than 3: `JointAngles` is exact, and takes 0.1 ms.
        """
        if hand.pose is None:
            return None
        pose = hand.pose if hand.side is Side.RIGHT else mirror_axis_angle(hand.pose)
        turn = self._model.full_pose(pose).reshape(16, 3)
        anatomy, limit_deg = self._anatomy, self.limits.joint_margin_deg
        angles_rad = anatomy.rest_rad + (anatomy.axis * turn[anatomy.joint]).sum(axis=1)
        beyond_rad = np.maximum(anatomy.lower_rad - angles_rad, angles_rad - anatomy.upper_rad)
        worst = int(beyond_rad.argmax())
        beyond_deg = math.degrees(beyond_rad[worst])
        if beyond_deg > limit_deg:
            return f"{anatomy.names[worst]} is {beyond_deg:.0f} deg beyond what a hand can do"
        twist = self._off_axis @ turn[:, :, None]  # (16, 3, 1)
        twisted_deg = math.degrees(math.sqrt((twist * twist).sum(axis=1).max()))
        if twisted_deg > limit_deg:
            return f"a finger joint is twisted by {twisted_deg:.0f} deg"
        return None

    def _off_its_landmarks(self, hand: Hand, frame: Frame) -> str | None:
        extent_px = float(np.ptp(hand.keypoints_px, axis=0).max())
        off_px = frame.camera.project(hand.keypoints_m) - hand.keypoints_px  # (21, 2)
        distance_px = np.hypot(off_px[:, 0], off_px[:, 1])
        distance_px = distance_px[np.isfinite(distance_px)]
        if len(distance_px) < MIN_SEEN:
            return f"only {len(distance_px)} of its keypoints are in the camera's view"
        share = float(distance_px.sum()) / len(distance_px) / max(extent_px, 1e-9)
        if share > self.limits.max_reprojection_error:
            return f"lies {100.0 * share:.0f}% of its size beside its landmarks"
        return None

    def _unsure_of_its_side(self, hand: Hand, before: _Trusted) -> str | None:
        if hand.side is before.side or hand.side_score >= self.limits.min_side_score:
            return None
        return f"has changed its side, and is only {100.0 * hand.side_score:.0f}% sure"

    def _jumped(self, hand: Hand, before: _Trusted, stamp_ns: int) -> str | None:
        """How far it may be off grows with time: a hand that stays where it is comes back."""
        elapsed_s = 1e-9 * (stamp_ns - before.stamp_ns)
        T, T_before = hand.T_camera_wrist, before.T_camera_wrist
        moved_m = math.dist(T[:3, 3], T_before[:3, 3])
        reach_m = self.limits.max_speed_m_s * elapsed_s + POSITION_NOISE * abs(T[2, 3])
        if moved_m > reach_m:
            return f"moved {moved_m:.2f} m in {elapsed_s:.3f} s, more than {reach_m:.2f} m"
        if hand.side is not before.side:
            return None  # its frame is another one
        cosine = 0.5 * (float(np.vdot(T[:3, :3], T_before[:3, :3])) - 1.0)  # by the trace
        turned_rad = math.acos(min(max(cosine, -1.0), 1.0))
        most_rad = self.limits.max_turn_rate_rad_s * elapsed_s + TURN_NOISE_RAD
        if turned_rad > most_rad:
            turned_deg, most_deg = math.degrees(turned_rad), math.degrees(most_rad)
            return f"turned {turned_deg:.0f} deg in {elapsed_s:.3f} s, more than {most_deg:.0f} deg"
        return None


def without_broken(hands: tuple[Hand, ...]) -> Judged:
    """Hold back what has `broken_fields`: neither a filter nor a robot must ever get it."""
    sound, reasons = [], []
    for hand in hands:
        broken = broken_fields(hand)
        if broken:
            reasons.append(_line(hand, "held back", f"broken numbers: {', '.join(broken)}"))
        else:
            sound.append(hand)
    return Judged(tuple(sound), reasons=tuple(reasons))


def without_broken_detections(
    detections: Sequence[Detection],
) -> tuple[list[Detection], tuple[str, ...]]:
    """Detections whose numbers are finite, and a line for each other one: none is tracked."""
    sound, reasons = [], []
    for detection in detections:
        broken = _not_finite(detection, _DETECTION_NUMBERS)
        if broken:
            reasons.append(f"detection held back: broken numbers: {', '.join(broken)}")
        else:
            sound.append(detection)
    return sound, tuple(reasons)


def broken_fields(hand: Hand) -> list[str]:
    """Names of the hand's numbers that are none: not finite as float32, or not a pose.

    A number that float32 cannot hold would be infinite in a message.
    """
    broken = _not_finite(hand, _HAND_NUMBERS)
    if "T_camera_wrist" not in broken and not _is_rotation(hand.T_camera_wrist[:3, :3]):
        broken.append("T_camera_wrist")
    return broken


def _not_finite(owner: Hand | Detection, names: tuple[str, ...]) -> list[str]:
    """Which of these fields are not finite as float32; None is."""
    return [
        name
        for name in names
        if (value := getattr(owner, name)) is not None
        and not np.vdot(value, value) <= _LARGEST_SQUARE  # nor where NaN
    ]


def _is_rotation(R: np.ndarray) -> bool:
    is_orthonormal = np.abs(R.T @ R - _IDENTITY).max() < _ROTATION_TOLERANCE
    (a, b, c), (d, e, f), (g, h, i) = R.tolist()
    det = a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)
    return bool(is_orthonormal and det > 0.0)


def _marked(hand: Hand) -> Hand:
    covariance = MARKED_STDDEV**2 * hand.root_covariance
    return replace(hand, score=MARKED_SCORE, root_covariance=covariance)


def _line(hand: Hand, what: str, reason: str) -> str:
    return f"{hand.side.name.lower()} hand {what}: {reason}"
