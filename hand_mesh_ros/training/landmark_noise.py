"""What a landmark detector does to true landmarks: its measured errors, put onto other hands.

The errors were measured on renders of random hands in all views (`tools/measure_detector_noise.py`)
and are kept whole: a hand takes the errors that the detector made on a hand that looks like it, all
21 at once. So bias by view, pose, size and joint, their correlation, swapped fingers and outliers
come as they were seen, with no formula between. Where the measured hands themselves will do, they
say more: no two hands look quite alike.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.skeleton_batch import pose_skeletons
from hand_mesh_ros.reconstruction.landmark_view import LandmarkViews, view_landmarks
from hand_mesh_ros.rotations import rotation_from_axis_angle

DATA = Path(__file__).parent / "data" / "detector_noise.npz"
COVERED_NOISE_SCALE = 3.0
"""How many times as large errors are where a thing covers a keypoint that the detector saw
without it: `tools/measure_covered_landmarks.py`."""
_CANDIDATES = 3000
"""Measured hands looked through for each call; a new random choice each time."""
_NEAREST = 6
_SIZE_WEIGHT = 0.5
"""Of the logarithm of the size in the image, beside keypoints in units of the hand's size."""
_HELD_OUT_EVERY = 4


@dataclass(frozen=True, eq=False)
class LandmarkObservation:
    """What a detector says of N hands."""

    rays: np.ndarray
    """(N, 21, 2) x/z, y/z in the camera."""
    confidence: np.ndarray
    """(N, 21) from 0 (missing) to 1 (exact), see `confidence_of`."""
    xy_error: np.ndarray
    """(N, 21, 2) the errors that each one has, unscaled, in its own view and units."""


def confidence_of(noise_scale: np.ndarray | float) -> np.ndarray:
    """1 for an exact landmark, 0.5 for one with the detector's usual errors, less for worse."""
    return 1.0 / (1.0 + np.asarray(noise_scale, float))


@dataclass(frozen=True, eq=False)
class MeasuredHands:
    """N right hands that a detector was shown, and its errors."""

    angles_rad: np.ndarray
    """(N, D) of `Anatomy`."""
    shape: np.ndarray
    """(N, S)"""
    R_camera_hand: np.ndarray
    """(N, 3, 3)"""
    t_camera_wrist_m: np.ndarray
    """(N, 3)"""
    focal_px: np.ndarray
    """(N,)"""
    xy_error: np.ndarray
    """(N, 21, 2) detected minus true, in the true landmarks' view and its units."""

    def __len__(self) -> int:
        """Of the hands."""
        return len(self.angles_rad)

    def __getitem__(self, chosen: np.ndarray) -> MeasuredHands:
        """Some of them, by index or mask."""
        return MeasuredHands(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def keypoints_camera_m(self, model: HandModel) -> np.ndarray:
        """(N, 21, 3) m, "detector" convention."""
        local = keypoints_of_hands(model, self.angles_rad, self.shape)
        return local @ self.R_camera_hand.transpose(0, 2, 1) + self.t_camera_wrist_m[:, None]


def keypoints_of_hands(model: HandModel, angles_rad: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(N, 21, 3) m, "detector" convention, hand frame, of (N, D) angles and (N, S) shapes."""
    skeletons = pose_skeletons(model, Anatomy.of(model), angles_rad, shape)
    return skeletons.keypoints(model.keypoint_regressors["detector"], shape)


class LandmarkNoise:
    """Measured errors of one detector."""

    def __init__(self, hands: MeasuredHands, model: HandModel) -> None:
        """Take measurements.

        Args:
            hands: those that were shown.
            model: the right hand that they are of.
        """
        self.hands = hands
        xyz, views = seen_by_itself(hands.keypoints_camera_m(model))
        self._feature = _features(xyz, hands.focal_px * views.scale)

    def __len__(self) -> int:
        """Measured hands."""
        return len(self.hands)

    @classmethod
    def load(cls, *, held_out: bool = False, path: Path = DATA) -> LandmarkNoise:
        """The measurements that come with the package, of the open hand.

        Every fourth hand is held out: training never sees its errors, evaluation no others.
        """
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name].astype(np.float32) for name in file.files}
        R_camera_hand = rotation_from_axis_angle(data.pop("rotation_rad"))
        hands = MeasuredHands(R_camera_hand=R_camera_hand, **data)
        chosen = (np.arange(len(hands)) % _HELD_OUT_EVERY == 0) == held_out
        return cls(hands[chosen], load_open_hand())

    def observe(
        self,
        keypoints_camera_m: np.ndarray,
        focal_px: np.ndarray,
        rng: np.random.Generator,
        *,
        noise_scale: np.ndarray | float = 1.0,
        xy_error: np.ndarray | None = None,
    ) -> LandmarkObservation:
        """What the detector might say of these hands.

        Args:
            keypoints_camera_m: (N, 21, 3) m, "detector" convention, right hands.
            focal_px: (N,) of the cameras: small hands are seen worse.
            rng: source of all randomness.
            noise_scale: (N, 21) or broadcast to it, factor on the errors; 0 leaves true landmarks.
            xy_error: (N, 21, 2) errors to take; None: those of hands that look alike.
        """
        views = view_landmarks(keypoints_camera_m[..., :2] / keypoints_camera_m[..., 2:])
        if xy_error is None:
            xy_error = self.errors_of_alike(keypoints_camera_m, focal_px, rng)
        scale = np.broadcast_to(np.asarray(noise_scale, float), keypoints_camera_m.shape[:2])
        xy = views.xy + scale[..., None] * xy_error
        return LandmarkObservation(rays_of(xy, views), confidence_of(scale), xy_error)

    def errors_of_alike(
        self,
        keypoints_camera_m: np.ndarray,
        focal_px: np.ndarray,
        rng: np.random.Generator,
        *,
        mixed_share: float = 0.0,
    ) -> np.ndarray:
        """(N, 21, 2) errors of measured hands that look like each one.

        Args:
            keypoints_camera_m: (N, 21, 3) m, as for `observe`.
            focal_px: (N,) likewise.
            rng: source of all randomness.
            mixed_share: of hands whose errors are mixed from those of two that look like it, and
                are as large: there are only so many measured ones.
        """
        xyz, views = seen_by_itself(keypoints_camera_m)
        feature = _features(xyz, focal_px * views.scale)
        xy_error = self.hands.xy_error[self._alike(feature, rng)]
        mixed = np.flatnonzero(rng.random(len(feature)) < mixed_share)
        if len(mixed):
            other = self.hands.xy_error[self._alike(feature[mixed], rng)]
            turn = rng.uniform(0.0, 0.5 * np.pi, (len(mixed), 1, 1))
            xy_error[mixed] = np.cos(turn) * xy_error[mixed] + np.sin(turn) * other
        return xy_error

    def _alike(self, feature: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N,) for each hand one of the measured hands that look most like it."""
        candidates = rng.choice(len(self), min(_CANDIDATES, len(self)), replace=False)
        others = self._feature[candidates]
        squared = (others * others).sum(1) - 2.0 * feature @ others.T  # (N, candidates)
        nearest = np.argpartition(squared, _NEAREST, axis=1)[:, :_NEAREST]
        chosen = rng.integers(_NEAREST, size=len(feature))
        return candidates[nearest[np.arange(len(feature)), chosen]]


def seen_by_itself(keypoints_camera_m: np.ndarray) -> tuple[np.ndarray, LandmarkViews]:
    """(N, 21, 3) true landmarks in each hand's own view: image place, then depth about the mean.

    All in units of the hand's size in that image.
    """
    views = view_landmarks(keypoints_camera_m[..., :2] / keypoints_camera_m[..., 2:])
    z = np.einsum("nkc,nc->nk", keypoints_camera_m, views.R_camera_view[:, :, 2])
    middle = z.mean(1, keepdims=True)
    depth = (z - middle) / (middle * views.scale[:, None])
    return np.concatenate([views.xy, depth[..., None]], axis=2), views


def rays_of(xy: np.ndarray, views: LandmarkViews) -> np.ndarray:
    """(N, 21, 2) x/z, y/z in the camera of points given in the hands' own views."""
    seen = xy * views.scale[:, None, None] + views.mean[:, None]
    towards = np.concatenate([seen, np.ones_like(seen[..., :1])], axis=2)
    towards = np.einsum("nab,nkb->nka", views.R_camera_view, towards)
    return towards[..., :2] / towards[..., 2:]


def _features(xyz: np.ndarray, size_px: np.ndarray) -> np.ndarray:
    """(N, 64) what hands are compared by."""
    log_size = _SIZE_WEIGHT * np.log(size_px)[:, None]
    return np.concatenate([xyz.reshape(len(xyz), 63), log_size], axis=1).astype(np.float32)
