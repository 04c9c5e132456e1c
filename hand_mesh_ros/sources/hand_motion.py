"""How a synthetic hand moves: smooth, plausible, and known at any time from its seed alone.

Everything is a closed form of time (sums of sines, and poses chosen by their number), so any
process can compute the truth of any frame without playing the ones before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import (
    Side,
    mirror_axis_angle,
    mirror_points,
    mirror_rotation,
)
from hand_mesh_ros.hand_models.hand_model import NUM_POSE, NUM_SHAPE
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.rotations import rotation_from_axis_angle

NEAREST_M, FARTHEST_M = 0.35, 0.9
WIDEST_SWEEP_M = 0.3
WIDEST_ANGLE_RAD = np.radians(50.0)
GESTURE_PERIOD_S = 1.9
GESTURE_MOVE_S = 0.9
NUM_GESTURES = 48
"""Poses that one hand knows and comes back to."""
LARGEST_TURN_RAD = np.radians(60.0)
FIDGET = 0.2
"""How far, at most, fingers that are bent more than usual open for a while."""
_REACH = 1.12
"""Fingertips stay within this many times the open hand's radius about its middle."""

# A right hand upright with its palm to the camera: fingers (-x) up (-y), palm (-y) to it (-z).
R_CAMERA_UPRIGHT = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class HandState(NamedTuple):
    """A hand model's inputs at one time, and where the wrist is."""

    pose: np.ndarray
    """(48,) axis-angle rad, of the side's own model; the first three turn it into the camera."""
    R_camera_wrist: np.ndarray
    """(3, 3), the same as the first three of `pose`."""
    t_camera_wrist: np.ndarray
    """(3,) m"""


@dataclass(frozen=True)
class SmoothPath:
    """D independent sums of sines, each within -1 to 1, mostly well inside."""

    amplitude: np.ndarray
    """(N, D), columns sum to 1."""
    frequency_hz: np.ndarray
    """(N, D)"""
    phase_rad: np.ndarray
    """(N, D)"""

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, dims: int, slowest_hz: float, fastest_hz: float
    ) -> SmoothPath:
        """Draw three sines a dimension; the faster one is, the smaller."""
        frequency = rng.uniform(slowest_hz, fastest_hz, (3, dims))
        amplitude = rng.uniform(0.6, 1.0, (3, dims)) / frequency
        return cls(
            amplitude=amplitude / amplitude.sum(0),
            frequency_hz=frequency,
            phase_rad=rng.uniform(0.0, 2.0 * np.pi, (3, dims)),
        )

    def at(self, time_s: float) -> np.ndarray:
        """(D,) values at a time."""
        angle = 2.0 * np.pi * self.frequency_hz * time_s + self.phase_rad
        return np.sum(self.amplitude * np.sin(angle), axis=0)


class HandMotion:
    """One hand's shape and its state at any time.

    Left hands move as right hands seen in a mirror; only their place in the image is their own.
    """

    def __init__(
        self,
        prior: PosePrior,
        side: Side,
        camera: Camera,
        region_px: np.ndarray,
        seed: int,
    ) -> None:
        """Draw a hand.

        Args:
            prior: of the right hand, which says what poses it takes.
            side: which hand moves.
            camera: which sees it.
            region_px: (4,) x0 y0 x1 y1, part of the image that the fingers stay in.
            seed: decides everything.
        """
        rng = np.random.default_rng([seed, int(side)])
        model = prior.model
        self._side, self._anatomy = side, prior.anatomy
        self._seed = seed
        # A person who faces the camera: the elbow is below, behind and outside of the hand.
        elbow = np.array([-0.15, 0.88, 0.45]) / np.linalg.norm([-0.15, 0.88, 0.45])
        self.elbow = elbow if side is Side.RIGHT else mirror_points(elbow)
        self.shape = rng.standard_normal(NUM_SHAPE)
        self._place = SmoothPath.drawn(rng, 3, 0.08, 0.35)
        self._turn = SmoothPath.drawn(rng, 3, 0.06, 0.35)
        self._fidget = SmoothPath.drawn(rng, len(self._anatomy.names), 0.1, 0.7)
        shapes = np.broadcast_to(self.shape, (NUM_GESTURES, NUM_SHAPE))
        self._gestures = prior.angles_rad(shapes, np.random.default_rng([seed, int(side), 1]))
        hand = model.pose_hand(np.zeros(NUM_POSE), self.shape)
        # Half way from the wrist to the middle fingertip all fingertips are about equally far.
        self._middle_hand = 0.5 * model.keypoints(hand, self.shape, "anatomical")[12]
        radius = np.linalg.norm(hand.vertices_m - self._middle_hand, axis=1).max()
        self._reach_m = _REACH * float(radius)
        self._low_rad, self._high_rad = _angular_region(camera, region_px)
        # An image of a few pixels shows a few pixels of a hand far away, but never nothing.
        narrowest = max(0.5 * float((self._high_rad - self._low_rad).min()), 0.01)
        nearest = max(NEAREST_M, self._reach_m / np.sin(narrowest))
        self._distance_m = nearest, max(FARTHEST_M, 1.3 * nearest)

    def at(self, time_s: float) -> HandState:
        """Pose and place at a time."""
        R_right = _turned(self._turn.at(time_s)) @ R_CAMERA_UPRIGHT
        pose = self._anatomy.pose(self.angles_rad(time_s), R_right)
        R, middle = R_right, self._middle_hand
        if self._side is Side.LEFT:
            pose, R = mirror_axis_angle(pose), mirror_rotation(R_right)
            middle = mirror_points(middle)
        t = self._middle_camera(time_s) - R @ middle
        return HandState(pose, R, t)

    def angles_rad(self, time_s: float) -> np.ndarray:
        """(D,) anatomical angles: from gesture to gesture, never quite still, within the limits."""
        number, into = divmod(time_s, GESTURE_PERIOD_S)
        amount = _smooth_step(into / GESTURE_MOVE_S)
        last, this = self._gesture(int(number) - 1), self._gesture(int(number))
        angles = (1.0 - amount) * last + amount * this
        # Loosened, never tightened: what rests on the palm would be pressed into it.
        loosened = FIDGET * 0.5 * (1.0 + self._fidget.at(time_s))
        angles = angles + loosened * np.minimum(self._anatomy.mean_rad - angles, 0.0)
        return np.clip(angles, self._anatomy.lower_rad, self._anatomy.upper_rad)

    def _gesture(self, number: int) -> np.ndarray:
        """(D,) rad, the pose of that number."""
        # Numbers may be negative (frames before time zero); seeds may not.
        rng = np.random.default_rng([self._seed, int(self._side), number + 2**31])
        return self._gestures[rng.integers(NUM_GESTURES)]

    def _middle_camera(self, time_s: float) -> np.ndarray:
        """(3,) m, camera frame: a path, also in depth, that keeps all fingers in view."""
        x, y, z = self._place.at(time_s)
        near, far = self._distance_m
        distance = 0.5 * (near + far) + 0.5 * (far - near) * z
        # A ball around the hand is seen under this angle to either side of its middle.
        half_rad = np.arcsin(self._reach_m / distance)
        low, high = self._low_rad + half_rad, self._high_rad - half_rad
        sweep = np.minimum(0.5 * (high - low), WIDEST_SWEEP_M / distance)
        tangents = np.tan(0.5 * (low + high) + sweep * [x, y])
        ray = np.append(tangents, 1.0)
        return distance * ray / np.linalg.norm(ray)


def _turned(amount: np.ndarray) -> np.ndarray:
    """(3, 3) turn about the camera's axes by -1 to 1 times the largest turn: pitch, yaw, roll."""
    pitch, yaw, roll = (
        rotation_from_axis_angle(LARGEST_TURN_RAD * a * e)
        for a, e in zip(amount, np.eye(3), strict=True)
    )
    return roll @ yaw @ pitch


def _smooth_step(x: float) -> float:
    """0 to 1 over 0 to 1, with no speed and no acceleration at both ends."""
    x = min(max(x, 0.0), 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x * x)


def _angular_region(camera: Camera, region_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box of angles (2,) to (2,) rad, x and y off the optical axis, that is seen inside the region.

    Of a wide lens only the part within `WIDEST_ANGLE_RAD` is used.
    """
    x0, y0, x1, y1 = region_px
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    steps = np.linspace(0.0, 1.0, 9)[:, None]
    sides = [a + steps * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    top, right, bottom, left = (np.arctan(camera.rays(side)) for side in sides)
    # A border that no ray reaches is farther out than any.
    widest = WIDEST_ANGLE_RAD
    low = [
        np.nan_to_num(left[:, 0], nan=-widest).max(),
        np.nan_to_num(top[:, 1], nan=-widest).max(),
    ]
    high = [
        np.nan_to_num(right[:, 0], nan=widest).min(),
        np.nan_to_num(bottom[:, 1], nan=widest).min(),
    ]
    return np.clip(low, -widest, widest), np.clip(high, -widest, widest)
