"""The default reconstruction: pose and shape of the hand model fitted to a detector's landmarks.

Levenberg-Marquardt over the wrist's position, the whole hand's rotation, 21 joint angles and 10
shape coefficients. Data: the 21 landmarks as rays (so lens and cropping don't matter) and, weakly,
the detector's own depth. Priors: joint limits, usual angles, usual shapes, DIP following PIP. A
track starts from its last frame. Left hands are fitted as right ones in a mirror.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from hand_mesh_ros.conventions import (
    Side,
    mirror_points,
    mirror_rotation,
)
from hand_mesh_ros.hand_calibration import HandCalibration
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.reconstruction.hand_cost import (
    Evidence,
    EvidenceWeights,
    HandCost,
    HandState,
    KnownShape,
)
from hand_mesh_ros.types import Detection, Frame, Reconstruction, Track


@dataclass(frozen=True)
class LandmarkFitConfig:
    """How much each kind of evidence counts, and how long to look."""

    weights: EvidenceWeights = field(default_factory=EvidenceWeights)
    max_steps: int = 12
    """For a hand seen for the first time."""
    warm_steps: int = 1
    """For a hand that was fitted in the last frame."""
    doubtful_cost: float = 90.0
    """Above this another start is tried; good fits of the detector's landmarks cost 15 to 60."""
    small_step: float = 0.02
    """Stop when no unknown (m, rad, units of shape) changes by more than this."""
    trusted_step: float = 0.5
    """A last step of at most this is taken without looking whether it helped."""


PALM_KEYPOINTS = np.array([0, 1, 5, 9, 13, 17])
MIN_LANDMARKS = 6
USUAL_COST = 40.0
"""Of a fit whose evidence is as good as the configuration says."""


@dataclass(frozen=True)
class _Fitted:
    """Where a descent ended."""

    state: HandState
    cost: float
    rotation_covariance: np.ndarray
    """(3, 3) rad^2, about x y z of the (mirrored) camera."""


class LandmarkFit:
    """Fits a hand model to each track's landmarks."""

    name = "landmark_fit"
    back_end = "numpy, needs no engine"

    def __init__(
        self,
        model: HandModel,
        *,
        known_hand_length_m: float | None = None,
        config: LandmarkFitConfig | None = None,
    ) -> None:
        """Prepare the fit of a right hand model; `known_hand_length_m` fixes its size."""
        self.config = config or LandmarkFitConfig()
        self.hand_model = model
        self.anatomy = Anatomy.of(model)
        self._mirrored_model = model.mirrored()
        self._cost = HandCost(model, self.anatomy, self.config.weights, known_hand_length_m)
        self._last: dict[int, tuple[HandState, KnownShape]] = {}
        self._calibrations: dict[Side, HandCalibration] = {}

    def use_calibrations(self, calibrations: Mapping[Side, HandCalibration]) -> None:
        """Keep the shape and size of these sides as calibrated; tracks start afresh."""
        self._calibrations = dict(calibrations)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks."""
        self._last.clear()

    def reconstruct(self, frame: Frame, tracks: list[Track]) -> list[Reconstruction | None]:
        """Fit each track's hand; None where fewer than six landmarks are usable."""
        states: dict[int, tuple[HandState, KnownShape]] = {}
        results: list[Reconstruction | None] = []
        for track in tracks:
            last, shape = None, self._shape_at_first(track.side)
            if not track.is_new and track.track_id in self._last:
                last, known = self._last[track.track_id]
                shape = known if shape.fixed_stddev is None else shape
            evidence = self._evidence(frame, track, shape)
            fitted = None if evidence is None else self._fit(evidence, last)
            if fitted is None:
                results.append(None)
                continue
            states[track.track_id] = fitted[0], shape.updated(fitted[0].shape)
            results.append(self._reconstruction(*fitted, track.side))
        self._last = states
        return results

    def _shape_at_first(self, side: Side) -> KnownShape:
        calibration = self._calibrations.get(side)
        if calibration is None:
            return KnownShape(np.zeros(self.hand_model.shape_dirs_m.shape[2]))
        return KnownShape(
            calibration.shape, fixed_stddev=self.config.weights.calibrated_shape_stddev
        )

    def _evidence(self, frame: Frame, track: Track, shape: KnownShape) -> Evidence | None:
        detection: Detection = track.detection
        rays = frame.camera.rays(detection.keypoints_px)
        usable = np.isfinite(rays).all(axis=1)
        if usable.sum() < MIN_LANDMARKS:
            return None
        relative = detection.keypoints_rel_m
        if relative is not None:
            # The detector looks along the hand's own line of sight, not the camera's axis.
            relative = (relative - relative.mean(0)) @ _look_at(rays[usable].mean(0)).T
        if track.side is Side.LEFT:
            rays = rays * [-1.0, 1.0]
            relative = None if relative is None else mirror_points(relative)
        extent = np.ptp(rays[usable], axis=0).max()
        return Evidence(
            rays, max(self.config.weights.landmark_stddev * extent, 1e-6), relative, shape
        )

    def _fit(
        self, evidence: Evidence, last: HandState | None
    ) -> tuple[HandState, np.ndarray] | None:
        """The state of least cost and the covariance of its rotation, (3, 3) rad^2."""
        best = None if last is None else self._descend(last, evidence, self.config.warm_steps)
        starts = self._starts(evidence)
        # A start in the wrong valley stays there, frame after frame: look for a better one.
        while best is None or best.cost > self.config.doubtful_cost:
            start = next(starts, None)
            if start is None:
                break
            found = self._descend(start, evidence, self.config.max_steps)
            if found is not None and (best is None or found.cost < best.cost):
                best = found
        if best is None:
            return None
        worse_than_usual = max(1.0, best.cost / USUAL_COST)
        return best.state, worse_than_usual * best.rotation_covariance

    def _descend(self, state: HandState, evidence: Evidence, steps_left: int) -> _Fitted | None:
        """Levenberg-Marquardt from a state; None where the hand is not in front of the camera."""
        normal, gradient, cost = self._cost.linearise(state, evidence)
        damping = 1e-3
        while steps_left and damping < 1e4:
            step = _damped_step(normal, gradient, damping)
            if np.abs(step).max() < self.config.small_step:
                break
            moved = state.moved(step)
            candidate = self._cost.linearise(moved, evidence)
            if not candidate[2] < cost:
                damping *= 10.0
                continue
            state, (normal, gradient, cost) = moved, candidate
            damping = max(0.2 * damping, 1e-6)
            steps_left -= 1
        if not np.isfinite(cost):
            return None
        # The slope here is known, so one more step is nearly free; a small one needs no check.
        answers = np.zeros((len(gradient), 4))
        answers[3:6, 1:] = np.eye(3)
        answers[:, 0] = -gradient
        answers = np.linalg.solve(normal, answers)
        if np.abs(answers[:, 0]).max() < self.config.trusted_step:
            state = state.moved(answers[:, 0])
        return _Fitted(state, cost, rotation_covariance=answers[3:6, 1:])

    def _starts(self, evidence: Evidence) -> Iterator[HandState]:
        """The palm turned as the detector's relative 3D says, then as if its depth were reversed.

        In an image, a palm seen from a little left and one seen from a little right look alike.
        """
        angles, shape = self.anatomy.mean_rad, evidence.shape.mean
        rest = self._cost.kinematics.pose(angles, np.eye(3), shape).keypoints_m
        usable = np.isfinite(evidence.rays).all(axis=1)
        rays = evidence.rays[usable]
        palm = np.column_stack([evidence.rays, np.zeros(21)])[PALM_KEYPOINTS]
        if evidence.relative_m is not None:
            palm = evidence.relative_m[PALM_KEYPOINTS]
        palm = palm[usable[PALM_KEYPOINTS]]
        for depth_sign in (1.0, -1.0):
            R = _rotation_between(
                rest[PALM_KEYPOINTS][usable[PALM_KEYPOINTS]], palm * [1.0, 1.0, depth_sign]
            )
            posed = (rest @ R.T)[usable]
            z = np.sqrt(posed[:, :2].var(0).sum() / max(rays.var(0).sum(), 1e-12))
            t = z * np.append(rays.mean(0), 1.0) - posed.mean(0)
            t[2] = max(t[2], 0.05)
            yield HandState(t, R, angles, shape)

    def _reconstruction(
        self, state: HandState, rotation_covariance: np.ndarray, side: Side
    ) -> Reconstruction:
        local, t, model = self.anatomy.rotations(state.angles_rad), state.t_m, self.hand_model
        local[0] = state.R
        if side is Side.LEFT:
            local, t, model = mirror_rotation(local), mirror_points(t), self._mirrored_model
            rotation_covariance = mirror_rotation(rotation_covariance)
        posed = model.pose_rotations(local, state.shape)
        calibration = self._calibrations.get(side)
        return Reconstruction(
            vertices_m=posed.vertices_m,
            keypoints_m=model.keypoints(posed, state.shape, "detector"),
            joints_m=posed.joints_m,
            R_camera_hand=local[0],
            pose=model.pose_of(local),
            shape=state.shape,
            rotation_covariance=rotation_covariance,
            size_stddev=self._cost.size_stddev if calibration is None else calibration.size_stddev,
            t_camera_wrist_guess=t,
        )


def _damped_step(normal: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray:
    damped = normal.copy()
    np.einsum("ii->i", damped)[:] *= 1.0 + damping
    return -np.linalg.solve(damped, gradient)


def _look_at(ray: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that takes the optical axis to the line of sight (x/z, y/z)."""
    x, y, z = (np.append(ray, 1.0) / np.sqrt(1.0 + ray @ ray)).tolist()
    k = 1.0 / (1.0 + z)
    return np.array(
        [[1.0 - k * x * x, -k * x * y, x], [-k * x * y, 1.0 - k * y * y, y], [-x, -y, z]]
    )


def _rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that best turns source points to target points, both about their means."""
    source, target = source - source.mean(0), target - target.mean(0)
    U, _, Vt = np.linalg.svd(target.T @ source)
    return U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
