"""Calm while the hand rests, quick while it moves: the One-Euro filter on root and joints.

Casiez, Roussel and Vogel, "1 euro filter", CHI 2012, Algorithm 1: a first-order low-pass whose
cutoff grows with the (low-passed) speed. Time is the message's stamp, never the clock.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.grasp import grasp_aperture_m
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle
from hand_mesh_ros.types import Hand

HAND_LEVER_M = 0.1
"""Turns joint speeds into speeds of the skin: at 1 rad/s, fingers move at about 0.1 m/s."""
SHAPE_CUTOFF_RATIO = 0.2
"""A hand does not change its shape: slower than the root by this, and at no speed quicker."""

BEARING_HASTE = 4.0
"""A moving hand is followed so much quicker across the image than in depth, which is noisier: on
synthetic video, keypoints trail the landmarks by 2.0% of the hand's size instead of 3.0%."""


class OneEuro:
    """One-Euro filter of numbers or arrays, each element on its own.

    Args:
        min_cutoff_hz: cutoff at rest; lower is calmer.
        beta: Hz of cutoff per unit of speed; higher lags less.
        derivative_cutoff_hz: cutoff of the speed estimate.
        max_gap_s: a longer pause starts anew, as does time that runs backwards.
    """

    def __init__(
        self,
        min_cutoff_hz: float = 1.0,
        beta: float = 0.0,
        derivative_cutoff_hz: float = 1.0,
        *,
        max_gap_s: float = 0.5,
    ) -> None:
        _check(min_cutoff_hz, beta, derivative_cutoff_hz, max_gap_s)
        self._min_cutoff_hz = min_cutoff_hz
        self._beta = beta
        self._derivative_cutoff_hz = derivative_cutoff_hz
        self._max_gap_s = max_gap_s
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next value passes unchanged."""
        self._stamp_ns: int | None = None
        self._filtered = self._derivative = np.zeros(())

    def update(
        self, value: np.ndarray | float, stamp_ns: int, *, speed_scale: float | np.ndarray = 1.0
    ) -> np.ndarray:
        """Filter one value.

        Args:
            value: of one shape until the next reset.
            stamp_ns: time of the value; the same stamp again changes nothing.
            speed_scale: units of `beta`'s speed per unit of the value.

        Raises:
            ValueError: a value that is not finite, which would stay in the filter for ever.
        """
        value = np.array(value, np.float64)
        if not np.isfinite(value).all():
            raise ValueError("cannot smooth a value that is not finite: leave the hand out")
        elapsed_ns = -1 if self._stamp_ns is None else stamp_ns - self._stamp_ns
        if not 0 <= elapsed_ns <= 1e9 * self._max_gap_s:
            self._filtered, self._derivative = value, np.zeros(())
        elif elapsed_ns > 0:
            dt = 1e-9 * elapsed_ns
            ahead = self._ahead(value)
            a = _alpha(self._derivative_cutoff_hz, dt)
            self._derivative = a / dt * ahead + (1.0 - a) * self._derivative
            haste_hz = self._beta * speed_scale * self._speed()
            a = _alpha(self._min_cutoff_hz + haste_hz, dt)
            self._filtered = self._moved(a * ahead)
        self._stamp_ns = stamp_ns
        return self._filtered.copy()

    def _ahead(self, value: np.ndarray) -> np.ndarray:
        return value - self._filtered

    def _moved(self, step: np.ndarray) -> np.ndarray:
        return self._filtered + step

    def _speed(self) -> np.ndarray:
        return np.abs(self._derivative)


class RotationOneEuro(OneEuro):
    """One-Euro filter on SO(3), for (..., 3, 3) rotations, each on its own; `beta` is Hz per rad/s.

    It steps along the geodesic towards each new rotation, so it cannot flip or leave SO(3).
    """

    def _ahead(self, value: np.ndarray) -> np.ndarray:
        return axis_angle_from_rotation(self._filtered.swapaxes(-1, -2) @ value)  # (..., 3) rad

    def _moved(self, step: np.ndarray) -> np.ndarray:
        return self._filtered @ rotation_from_axis_angle(step)

    def _speed(self) -> np.ndarray:
        squared = self._derivative * self._derivative
        return np.sqrt(squared.sum(axis=-1, keepdims=True))


class HandSmoother:
    """Smooths every hand by its track id and rebuilds its mesh and keypoints from what it smoothed.

    Args:
        model: the hand model, of either side, that poses and shapes refer to. A hand without pose
            or of another model has its points smoothed in the frame of its wrist instead.
        min_cutoff_hz: cutoff at rest.
        beta: Hz of cutoff per m/s of the root or, for rotations, of the skin (`HAND_LEVER_M`). The
            default follows 1 m/s with a lag of 11 mm at 30 Hz.
        max_gap_s: a track that was not seen for longer starts anew.
    """

    def __init__(
        self,
        model: HandModel,
        *,
        min_cutoff_hz: float = 1.5,
        beta: float = 10.0,
        max_gap_s: float = 0.5,
    ) -> None:
        _check(min_cutoff_hz, beta, 1.0, max_gap_s)
        self._models = {model.side: model, model.side.opposite: model.mirrored()}
        self._parameters = {"min_cutoff_hz": min_cutoff_hz, "beta": beta, "max_gap_s": max_gap_s}
        self._tracks: dict[int, _TrackFilters] = {}

    def reset(self) -> None:
        """Forget all tracks."""
        self._tracks.clear()

    def update(self, hands: tuple[Hand, ...], stamp_ns: int) -> tuple[Hand, ...]:
        """Smooth the hands of one frame; tracks not seen for `max_gap_s` are forgotten."""
        smoothed = []
        for hand in hands:
            model = self._models[hand.side]
            if hand.pose is None or hand.shape is None or hand.hand_model != model.name:
                model = None
            kind = (hand.side, model is None, len(hand.vertices_m))
            track = self._tracks.get(hand.track_id)
            if track is None or track.kind != kind:
                track = _TrackFilters(kind=kind, **self._parameters)
                self._tracks[hand.track_id] = track
            smoothed.append(track.update(hand, model, stamp_ns))
        gap_ns = 1e9 * self._parameters["max_gap_s"]
        self._tracks = {
            key: track
            for key, track in self._tracks.items()
            if 0 <= stamp_ns - track.stamp_ns <= gap_ns
        }
        return tuple(smoothed)


class _TrackFilters:
    """The filters of one track: root, rotations, and shape or points."""

    def __init__(
        self,
        kind: tuple[Side, bool, int],
        min_cutoff_hz: float,
        beta: float,
        max_gap_s: float,
    ) -> None:
        self.kind = kind
        self.stamp_ns = 0
        self._root = OneEuro(min_cutoff_hz, beta, max_gap_s=max_gap_s)
        self._rotations = RotationOneEuro(min_cutoff_hz, beta * HAND_LEVER_M, max_gap_s=max_gap_s)
        self._shape = OneEuro(min_cutoff_hz * SHAPE_CUTOFF_RATIO, max_gap_s=max_gap_s)
        self._points = OneEuro(min_cutoff_hz, beta, max_gap_s=max_gap_s)

    def update(self, hand: Hand, model: HandModel | None, stamp_ns: int) -> Hand:
        self.stamp_ns = stamp_ns
        t = self._update_root(hand.T_camera_wrist[:3, 3], stamp_ns)
        if model is None:
            return self._update_points(hand, t, stamp_ns)
        assert hand.pose is not None
        assert hand.shape is not None
        shape = self._shape.update(hand.shape, stamp_ns)
        R_joints = rotation_from_axis_angle(model.full_pose(hand.pose).reshape(16, 3))
        R_joints = self._rotations.update(R_joints, stamp_ns)
        pose = model.pose_of(R_joints)
        posed = model.pose_rotations(R_joints, shape)
        keypoints = model.keypoints(posed, shape, "detector")
        return _rebuilt(hand, R_joints[0], t, keypoints, posed.vertices_m, pose=pose, shape=shape)

    def _update_root(self, t: np.ndarray, stamp_ns: int) -> np.ndarray:
        """Filter bearing (x/z, y/z) and log depth instead of x, y, z.

        One camera knows the bearing seven times better than the depth (landmarks off by 1.5 px and
        6 mm, wrist at 0.5 m: 2.3 mm against 16 mm). Filtered in x, y, z, a hand beside the optical
        axis would carry the depth's noise into x and y and slide in the image: at x/z = 0.4 with
        13 mm of depth noise, 0.7 px remained against 0.45 px here.
        """
        x, y, z = t.tolist()
        if z <= 0.0:
            raise ValueError(
                f"wrist must be in front of the camera to be smoothed, got z = {z:g} m"
            )
        value = np.array([x / z, y / z, math.log(z)])
        speed_scale = np.array([BEARING_HASTE * z, BEARING_HASTE * z, z])  # 1/s to m/s
        a, b, log_z = self._root.update(value, stamp_ns, speed_scale=speed_scale).tolist()
        z = math.exp(log_z)
        return np.array([a * z, b * z, z])

    def _update_points(self, hand: Hand, t: np.ndarray, stamp_ns: int) -> Hand:
        """Filter points in the wrist's frame: averages of turning points would shrink the hand."""
        R_now, t_now = hand.T_camera_wrist[:3, :3], hand.T_camera_wrist[:3, 3]
        points = np.concatenate([hand.keypoints_m, hand.vertices_m])  # (21 + V, 3)
        points = self._points.update((points - t_now) @ R_now, stamp_ns)
        R = self._rotations.update(R_now, stamp_ns)
        points = points @ R.T
        return _rebuilt(hand, R, t, points[:21], points[21:])


def _rebuilt(
    hand: Hand,
    R: np.ndarray,
    t: np.ndarray,
    keypoints_rel_m: np.ndarray,
    vertices_rel_m: np.ndarray,
    **changes: np.ndarray,
) -> Hand:
    T = hand.T_camera_wrist.copy()
    T[:3, :3], T[:3, 3] = R, t
    keypoints = keypoints_rel_m + t
    return replace(
        hand,
        T_camera_wrist=T,
        keypoints_m=keypoints,
        vertices_m=vertices_rel_m + t,
        grasp_aperture_m=grasp_aperture_m(keypoints),
        **changes,
    )


def _alpha(cutoff_hz: np.ndarray | float, dt: float) -> np.ndarray | float:
    """Weight of the new value in a first-order low-pass."""
    return dt / (dt + 1.0 / (2.0 * np.pi * cutoff_hz))


def _check(
    min_cutoff_hz: float, beta: float, derivative_cutoff_hz: float, max_gap_s: float
) -> None:
    positive = {
        "min_cutoff_hz": min_cutoff_hz,
        "derivative_cutoff_hz": derivative_cutoff_hz,
        "max_gap_s": max_gap_s,
    }
    for name, value in positive.items():
        if not 0.0 < value < np.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    if not 0.0 <= beta < np.inf:
        raise ValueError(f"beta must be zero or positive and finite, got {beta}")
