"""Training samples of the lifter: random hands, what a detector says of them, and their truth."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.hand_models.random_views import random_rotations, random_views
from hand_mesh_ros.reconstruction.landmark_view import view_landmarks
from hand_mesh_ros.reconstruction.lifter import lifter_features, root_of
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.training.landmark_noise import (
    LandmarkNoise,
    MeasuredHands,
    keypoints_of_hands,
)
from hand_mesh_ros.training.typed_config import check_ranges, option

_FLESH_M = 0.02
"""From the outermost keypoints to the skin, so that whole hands are in view."""
_NEARLY_RAD = np.radians(3.0)
"""How far a measured hand is bent and turned: its errors would hardly be others."""
# Of a hand that moves as hands usually do, from one frame to the next at 30 Hz.
_BEND_RAD, _TURN_RAD, _MOVE_M = np.radians(1.5), np.radians(1.5), 0.004
_JITTER = 0.02
"""What is new in the detector's errors from one frame to the next, in units of the hand's root mean
square size in the image: measured on renders at 30 Hz, where errors correlate by 0.96 to 0.99."""


@dataclass(frozen=True)
class LifterDataOptions:
    """What the lifter learns from."""

    poses: int = option(200_000, "different poses and shapes; views are new each time", minimum=1)
    measured_share: float = option(
        0.6,
        "of hands that the detector was shown, nearly as they were, with its own errors",
        minimum=0.0,
        maximum=1.0,
    )
    exact_share: float = option(
        0.15, "of hands whose landmarks are exact", minimum=0.0, maximum=1.0
    )
    scaled_share: float = option(
        0.15, "of hands with 0 to 1.5 times the detector's errors", minimum=0.0, maximum=1.0
    )
    mixed_share: float = option(
        0.5,
        "of the others whose errors are a mixture of two measured hands' errors",
        minimum=0.0,
        maximum=1.0,
    )
    dropout_share: float = option(0.1, "of hands with landmarks left out", minimum=0.0, maximum=1.0)
    dropout: float = option(0.3, "of their landmarks, at most", minimum=0.0, maximum=0.7)
    previous_share: float = option(
        0.4, "of hands that were seen in the last frame too", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.exact_share + self.scaled_share > 1.0:
            raise ValueError(
                f"exact_share + scaled_share is {self.exact_share + self.scaled_share:g}, "
                "expected at most 1"
            )


@dataclass(frozen=True, eq=False)
class LifterBatch:
    """N hands, float32; truth is about the view of the observed landmarks."""

    features: np.ndarray
    """(N, F) of the network, without a previous frame."""
    previous_features: np.ndarray
    """(N, F) of the frame before; rows of hands that were not seen then are 0."""
    R_view_previous: np.ndarray
    """(N, 3, 3) from the last frame's view to this one's; 0 where there was none."""
    angles_rad: np.ndarray
    """(N, D)"""
    shape: np.ndarray
    """(N, S)"""
    R_view_hand: np.ndarray
    """(N, 3, 3)"""
    keypoints: np.ndarray
    """(N, 21, 3) about their mean, view axes, in units of the hand's length."""
    root: np.ndarray
    """(N, 3) see `reconstruction.lifter.root_of`."""

    def arrays(self) -> dict[str, np.ndarray]:
        """By name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class LifterData:
    """Draws batches; holds poses, shapes and measured noise."""

    def __init__(
        self, model: HandModel, options: LifterDataOptions, noise: LandmarkNoise, *, seed: int
    ) -> None:
        """Draw the poses: a minute for 200,000 of them."""
        prior, rng = PosePrior(model), np.random.default_rng(seed)
        self._model, self._anatomy = model, prior.anatomy
        self._options, self._noise = options, noise
        self._shape = rng.standard_normal((options.poses, model.shape_dirs_m.shape[2]))
        self._angles = prior.angles_rad(self._shape, rng)

    def batch(self, n: int, rng: np.random.Generator) -> LifterBatch:
        """N hands in new views, and among them measured ones as they were seen."""
        options = self._options
        num_measured = round(options.measured_share * n)
        shown = _joined(self._drawn(n - num_measured, rng), self._measured(num_measured, rng))
        angles, shape, R = shown.angles_rad, shown.shape, shown.R_camera_hand
        focal_px, length_m = shown.focal_px, self._model.hand_lengths_m(shape)
        keypoints = shown.keypoints_camera_m(self._model)
        scale = self._noise_scales(n, rng)
        seen = self._noise.observe(
            keypoints, focal_px, rng, noise_scale=scale[:, None], xy_error=shown.xy_error
        )
        confidence = self._with_gaps(seen.confidence, rng)
        view = view_landmarks(seen.rays, confidence > 0.0)

        features = lifter_features(view, confidence)

        # A moment ago: the same hand, turned, bent and moved a little.
        had = np.flatnonzero(rng.random(n) < options.previous_share)
        before, R_view_previous = np.zeros_like(features), np.zeros((n, 3, 3), np.float32)
        if len(had):
            motion = _speeds(len(had), rng)
            last = self._moment_before(angles[had], shape[had], keypoints[had], R[had], motion, rng)
            last_seen = self._noise.observe(
                last,
                focal_px[had],
                rng,
                noise_scale=scale[had, None],
                xy_error=seen.xy_error[had],
            )
            jitter = _JITTER * scale[had, None, None]
            last_view = view_landmarks(last_seen.rays)
            last_view.xy[:] += jitter * rng.standard_normal(last_view.xy.shape)
            before[had] = lifter_features(last_view, last_seen.confidence)
            R_view_previous[had] = np.einsum(
                "nba,nbc->nac", view.R_camera_view[had], last_view.R_camera_view
            )

        in_view = keypoints @ view.R_camera_view
        centre = in_view.mean(1)
        relative = (in_view - centre[:, None]) / length_m[:, None, None]
        batch = LifterBatch(
            features=features,
            previous_features=before,
            R_view_previous=R_view_previous,
            angles_rad=angles,
            shape=shape,
            R_view_hand=np.einsum("nba,nbc->nac", view.R_camera_view, R),
            keypoints=relative,
            root=root_of(centre, relative * length_m[:, None, None], view),
        )
        return LifterBatch(**{k: v.astype(np.float32) for k, v in batch.arrays().items()})

    def _drawn(self, n: int, rng: np.random.Generator) -> MeasuredHands:
        """Hands of the prior from all sides, with the errors of some that look like them."""
        pick = rng.integers(len(self._shape), size=n)
        angles, shape = self._angles[pick], self._shape[pick]
        local = keypoints_of_hands(self._model, angles, shape)
        middle = 0.5 * (local.min(1) + local.max(1))
        radius = np.linalg.norm(local - middle[:, None], axis=2).max(1) + _FLESH_M
        views, R = random_views(radius, rng), random_rotations(n, rng)
        t = views.centre_camera_m - np.einsum("nab,nb->na", R, middle)
        focal_px = views.K[:, 0, 0]
        keypoints = np.einsum("nab,nkb->nka", R, local) + t[:, None]
        xy_error = self._noise.errors_of_alike(
            keypoints, focal_px, rng, mixed_share=self._options.mixed_share
        )
        return MeasuredHands(angles, shape, R, t, focal_px, xy_error)

    def _measured(self, n: int, rng: np.random.Generator) -> MeasuredHands:
        """Hands that the detector was shown, bent and turned a little, for there are few."""
        hands = self._noise.hands[rng.integers(len(self._noise), size=n)]
        angles = hands.angles_rad + _NEARLY_RAD * rng.standard_normal(hands.angles_rad.shape)
        turn = rotation_from_axis_angle(_NEARLY_RAD * rng.standard_normal((n, 3)))
        return replace(
            hands,
            angles_rad=np.clip(angles, self._anatomy.lower_rad, self._anatomy.upper_rad),
            R_camera_hand=turn @ hands.R_camera_hand,
        )

    def _noise_scales(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(N,) factors on the measured errors."""
        options, kind = self._options, rng.random(n)
        scaled = kind < options.exact_share + options.scaled_share
        # Not always the very errors that were measured: there are only so many of them.
        scale = np.where(scaled, rng.uniform(0.0, 1.5, n), rng.uniform(0.75, 1.25, n))
        return np.where(kind < options.exact_share, 0.0, scale)

    def _with_gaps(self, confidence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N, 21) with some landmarks of some hands left out."""
        n = len(confidence)
        share = self._options.dropout * rng.random((n, 1))
        share = np.where(rng.random((n, 1)) < self._options.dropout_share, share, 0.0)
        return np.where(rng.random((n, 21)) < share, 0.0, confidence)

    def _moment_before(
        self,
        angles: np.ndarray,
        shape: np.ndarray,
        keypoints_m: np.ndarray,
        R: np.ndarray,
        speed: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """(N, 21, 3) m, camera frame: where the keypoints were a frame ago."""
        n = len(angles)
        angles = angles + _BEND_RAD * speed[:, None] * rng.standard_normal(angles.shape)
        angles = np.clip(angles, self._anatomy.lower_rad, self._anatomy.upper_rad)
        turn = rotation_from_axis_angle(_TURN_RAD * speed[:, None] * rng.standard_normal((n, 3)))
        local = keypoints_of_hands(self._model, angles, shape)
        posed = np.einsum("nab,nbc,nkc->nka", turn, R, local - local.mean(1, keepdims=True))
        centre = keypoints_m.mean(1) + _MOVE_M * speed[:, None] * rng.standard_normal((n, 3))
        return posed + centre[:, None]


def _joined(*parts: MeasuredHands) -> MeasuredHands:
    names = [field.name for field in fields(MeasuredHands)]
    return MeasuredHands(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _speeds(n: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) how fast hands move, about 1; some rest, some are thrown."""
    return np.exp(0.8 * rng.standard_normal(n))
