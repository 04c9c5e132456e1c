"""The default reconstruction: pose and shape of the hand model fitted to a detector's landmarks.

Levenberg-Marquardt over the wrist's position, the whole hand's rotation, 21 joint angles and 10
shape coefficients. Data: the 21 landmarks as rays (so lens and cropping don't matter) and, weakly,
the detector's own depth. Priors: joint limits, usual angles, usual shapes, DIP following PIP. A
track starts from its last frame. Left hands are fitted as right ones in a mirror.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.conventions import (
    Side,
    mirror_points,
    mirror_rotation,
)
from hand_mesh_ros.hand_calibration import HandCalibration
from hand_mesh_ros.hand_models.anatomy import DIP_PER_PIP, DIP_PER_PIP_STD_DEG, Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.reconstruction.kinematics import HandKinematics
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.types import Detection, Frame, Reconstruction, Track


@dataclass(frozen=True)
class LandmarkFitConfig:
    """How much each kind of evidence counts, and when to stop."""

    landmark_stddev: float = 0.015
    """Expected error of a landmark, as a share of the hand's size in the image."""
    relative_stddev_m: float = 0.06
    """Expected error of the detector's own relative depth, m."""
    limit_stddev_rad: float = 0.05
    """How far joint limits give."""
    length_stddev_m: float = 0.0005
    """How exactly a known hand length is kept."""
    calibrated_shape_stddev: float = 0.1
    """How exactly a calibrated hand's shape is kept; 0.1 is about 0.6% of its size."""
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
    cauchy: float = 2.5
    """Landmarks farther off than this many standard deviations lose their pull."""


PALM_KEYPOINTS = np.array([0, 1, 5, 9, 13, 17])
MIN_LANDMARKS = 6
USUAL_COST = 40.0
"""Of a fit whose evidence is as good as the configuration says."""


@dataclass
class _State:
    """The unknowns of one hand, in the frame of the (mirrored) camera."""

    t_m: np.ndarray
    R: np.ndarray
    angles_rad: np.ndarray
    shape: np.ndarray

    def moved(self, step: np.ndarray) -> _State:
        num_angles = len(self.angles_rad)
        return _State(
            t_m=self.t_m + step[:3],
            R=rotation_from_axis_angle(step[3:6]) @ self.R,
            angles_rad=self.angles_rad + step[6 : 6 + num_angles],
            shape=self.shape + step[6 + num_angles :],
        )


@dataclass(frozen=True)
class _Fitted:
    """Where a descent ended."""

    state: _State
    cost: float
    rotation_covariance: np.ndarray
    """(3, 3) rad^2, about x y z of the (mirrored) camera."""


@dataclass(frozen=True)
class _KnownShape:
    """What is known about one hand's shape: at first how hands are, later how this one was."""

    mean: np.ndarray
    """(S,)"""
    frames: int = 0
    fixed_stddev: float | None = None
    """Of a calibrated hand, whose shape no frame changes any more."""

    @property
    def stddev(self) -> float:
        if self.fixed_stddev is not None:
            return self.fixed_stddev
        # Frames of one hand err alike, so many of them say little more than a few do.
        return max(0.5, 1.0 / np.sqrt(1.0 + 0.05 * self.frames))

    def updated(self, shape: np.ndarray) -> _KnownShape:
        if self.fixed_stddev is not None:
            return self
        frames = self.frames + 1
        return _KnownShape(self.mean + (shape - self.mean) / min(frames + 1, 50), frames)


@dataclass(frozen=True)
class _Evidence:
    """What one detection says, as the fit needs it."""

    rays: np.ndarray
    """(21, 2) undistorted x/z, y/z."""
    ray_stddev: float
    relative_m: np.ndarray | None
    """(21, 3) m about its mean, camera axes."""
    shape: _KnownShape


class LandmarkFit:
    """Fits a hand model to each track's landmarks."""

    name = "landmark_fit"

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
        self.known_hand_length_m = known_hand_length_m
        self.anatomy = Anatomy.of(model)
        self._mirrored_model = model.mirrored()
        self._kinematics = HandKinematics(model, self.anatomy, "detector")
        num_shape = model.shape_dirs_m.shape[2]
        self._usual_rows, self._usual_target = _usual_angles(self.anatomy)
        self._usual_normal = self._usual_rows.T @ self._usual_rows
        self._chain_m = model.middle_chain(np.zeros(num_shape))
        unit_chains = [model.middle_chain(unit) for unit in np.eye(num_shape)]
        self._chain_dirs_m = np.stack(unit_chains, axis=2) - self._chain_m[:, :, None]
        length, gradient = self._length(np.zeros(num_shape))
        unknown = float(np.linalg.norm(gradient)) / length
        known = self.config.length_stddev_m / length
        self._size_stddev = unknown if known_hand_length_m is None else known
        self._last: dict[int, tuple[_State, _KnownShape]] = {}
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
        states: dict[int, tuple[_State, _KnownShape]] = {}
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

    def _shape_at_first(self, side: Side) -> _KnownShape:
        calibration = self._calibrations.get(side)
        if calibration is None:
            return _KnownShape(np.zeros(self.hand_model.shape_dirs_m.shape[2]))
        return _KnownShape(calibration.shape, fixed_stddev=self.config.calibrated_shape_stddev)

    def _evidence(self, frame: Frame, track: Track, shape: _KnownShape) -> _Evidence | None:
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
        return _Evidence(rays, max(self.config.landmark_stddev * extent, 1e-6), relative, shape)

    def _fit(self, evidence: _Evidence, last: _State | None) -> tuple[_State, np.ndarray] | None:
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

    def _descend(self, state: _State, evidence: _Evidence, steps_left: int) -> _Fitted | None:
        """Levenberg-Marquardt from a state; None where the hand is not in front of the camera."""
        normal, gradient, cost = self._linearise(state, evidence)
        damping = 1e-3
        while steps_left and damping < 1e4:
            step = _damped_step(normal, gradient, damping)
            if np.abs(step).max() < self.config.small_step:
                break
            moved = state.moved(step)
            candidate = self._linearise(moved, evidence)
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

    def _starts(self, evidence: _Evidence) -> Iterator[_State]:
        """The palm turned as the detector's relative 3D says, then as if its depth were reversed.

        In an image, a palm seen from a little left and one seen from a little right look alike.
        """
        angles, shape = self.anatomy.mean_rad, evidence.shape.mean
        rest = self._kinematics.pose(angles, np.eye(3), shape).keypoints_m
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
            yield _State(t, R, angles, shape)

    def _linearise(
        self, state: _State, evidence: _Evidence
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Normal matrix, gradient and cost of all residuals at a state."""
        # Letters: K 21 keypoints, P = 3 + 3 + D + S unknowns.
        config = self.config
        posed = self._kinematics.pose(state.angles_rad, state.R, state.shape)
        local = posed.keypoints_m
        num_angles, num = len(state.angles_rad), 6 + len(state.angles_rad) + len(state.shape)
        J = np.zeros((21, 3, num))  # keypoints in the camera frame, by all unknowns
        J[:, [0, 1, 2], [0, 1, 2]] = 1.0
        # d(rotation vector x point) / d(rotation vector)
        J[:, 0, 4], J[:, 0, 5] = local[:, 2], -local[:, 1]
        J[:, 1, 3], J[:, 1, 5] = -local[:, 2], local[:, 0]
        J[:, 2, 3], J[:, 2, 4] = local[:, 1], -local[:, 0]
        J[:, :, 6 : 6 + num_angles] = posed.d_angles
        J[:, :, 6 + num_angles :] = posed.d_shape
        X = local + state.t_m
        if X[:, 2].min() < 0.02:
            return np.eye(num), np.zeros(num), np.inf

        inverse_z = 1.0 / X[:, 2:]
        seen = X[:, :2] * inverse_z
        residual = (seen - evidence.rays) / evidence.ray_stddev  # (K, 2)
        usable = np.isfinite(residual).all(axis=1)
        residual[~usable] = 0.0
        J_ray = (J[:, :2] - seen[:, :, None] * J[:, 2:]) * (inverse_z / evidence.ray_stddev)[
            :, :, None
        ]
        # Cauchy weights: a landmark on the wrong finger stops pulling.
        squared = (residual**2).sum(1) / config.cauchy**2
        weight = np.where(usable, 1.0 / (1.0 + squared), 0.0)
        cost = float(config.cauchy**2 * np.log1p(squared).sum())
        JW = (J_ray * weight[:, None, None]).reshape(-1, num)  # (2 K, P)
        normal = JW.T @ J_ray.reshape(-1, num)
        gradient = JW.T @ residual.reshape(-1)

        if evidence.relative_m is not None:
            # Depth alone: the image says more about x and y. The detector's own scale is a guess.
            relative = evidence.relative_m
            centred = local - local.sum(0) / 21.0
            scale = (centred * relative).sum() / max(float((relative * relative).sum()), 1e-12)
            difference = (centred - scale * relative)[:, 2] / config.relative_stddev_m
            J_depth = J[:, 2] - J[:, 2].sum(0) / 21.0  # (K, P)
            J_depth /= config.relative_stddev_m
            normal += J_depth.T @ J_depth
            gradient += J_depth.T @ difference
            cost += float(difference @ difference)
        return normal, gradient, cost + self._add_priors(state, evidence.shape, normal, gradient)

    def _add_priors(
        self, state: _State, known: _KnownShape, normal: np.ndarray, gradient: np.ndarray
    ) -> float:
        """Add usual angles, joint limits, shape and known length in place; returns their cost."""
        config, angles, shape = self.config, state.angles_rad, state.shape
        of_angles, of_shape = slice(6, 6 + len(angles)), slice(6 + len(angles), len(gradient))
        diagonal = np.einsum("ii->i", normal)  # a view

        usual = self._usual_rows @ angles - self._usual_target
        normal[of_angles, of_angles] += self._usual_normal
        gradient[of_angles] += self._usual_rows.T @ usual
        cost = usual @ usual

        over = angles - np.clip(angles, self.anatomy.lower_rad, self.anatomy.upper_rad)
        limit_weight = config.limit_stddev_rad**-2
        diagonal[of_angles] += np.where(over != 0.0, limit_weight, 0.0)
        gradient[of_angles] += limit_weight * over
        cost += limit_weight * (over @ over)

        unusual, shape_weight = shape - known.mean, known.stddev**-2
        diagonal[of_shape] += shape_weight
        gradient[of_shape] += shape_weight * unusual
        cost += shape_weight * (unusual @ unusual)

        # A calibrated hand's length is in its shape.
        if self.known_hand_length_m is not None and known.fixed_stddev is None:
            length, slope = self._length(shape)
            error = (length - self.known_hand_length_m) / config.length_stddev_m
            slope = slope / config.length_stddev_m
            normal[of_shape, of_shape] += np.outer(slope, slope)
            gradient[of_shape] += error * slope
            cost += error * error
        return float(cost)

    def _length(self, shape: np.ndarray) -> tuple[float, np.ndarray]:
        """Length of the flat hand, m, and its gradient by shape."""
        bones = self._chain_m + self._chain_dirs_m @ shape  # (4, 3)
        lengths = np.sqrt((bones * bones).sum(1))
        return float(lengths.sum()), np.einsum(
            "bc,bcs->s", bones / lengths[:, None], self._chain_dirs_m
        )

    def _reconstruction(
        self, state: _State, rotation_covariance: np.ndarray, side: Side
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
            size_stddev=self._size_stddev if calibration is None else calibration.size_stddev,
            t_camera_wrist_guess=t,
        )


def _damped_step(normal: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray:
    damped = normal.copy()
    np.einsum("ii->i", damped)[:] *= 1.0 + damping
    return -np.linalg.solve(damped, gradient)


def _usual_angles(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Rows and targets: each angle near its usual value, each DIP near its share of the PIP."""
    rows = np.diag(1.0 / anatomy.std_rad)
    target = anatomy.mean_rad / anatomy.std_rad
    for finger in ("index", "middle", "ring", "little"):
        dip = anatomy.angle(f"{finger}_dip_flexion")
        rows[dip, dip] = 1.0 / np.radians(DIP_PER_PIP_STD_DEG)
        rows[dip, anatomy.angle(f"{finger}_pip_flexion")] = -DIP_PER_PIP * rows[dip, dip]
        target[dip] = 0.0
    return rows, target


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
