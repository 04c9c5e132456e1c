"""Pose and shape of the hand model fitted to a detector's landmarks: the default reconstruction.

Levenberg-Marquardt over the wrist's position, the whole hand's rotation, 21 joint angles and 10
shape coefficients. Data: the 21 landmarks as rays (so lens and cropping don't matter). With a
lifter, which is the default, its answer is where every hand starts (off it by as much as in the
track's last frame) and, by its deviations, what it is held to. Without one (for hand models that it
was not trained for): the detector's own depth, weakly, usual angles, DIP following PIP, and a track
starts from its last frame. Both: joint limits and usual shapes. Left hands are fitted as right ones
in a mirror.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

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
from hand_mesh_ros.reconstruction.landmark_view import show_a_hand
from hand_mesh_ros.reconstruction.lifter import LiftedHand, Lifter
from hand_mesh_ros.rotations import rotation_between, rotations_to_directions
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
    lifted_steps: int = 1
    """For a hand that starts from what the lifter made of it; none for one that was off it in the
    last frame by about as much."""
    unlike_a_hand_cost: float = 300.0
    """Above this the lifter and the landmarks contradict each other. Of measured hands, which the
    lifter had not seen, 90% cost below 129, 99% below 237 and 99.7% below this."""
    small_step: float = 0.02
    """Stop when no unknown (m, rad, units of shape) changes by more than this."""
    trusted_step: float = 0.5
    """A last step of at most this is taken without looking whether it helped."""


PALM_KEYPOINTS = np.array([0, 1, 5, 9, 13, 17])
MOST_COST_RATIO = 1.5
"""A frame that costs more than this many times the last one is looked at afresh."""
TURN_ERRORS_TOGETHER = 4.0
"""Landmarks, and what the lifter makes of them, err together: the turn's variance is so many times
what errors that have nothing to do with each other would make it (40 synthetic videos)."""
USUAL_COST = 40.0
"""Of a fit whose evidence is as good as the configuration says."""
_IDENTITY = np.eye(3)


@dataclass(frozen=True)
class _Correction:
    """From the lifter's hand to the fitted one. From frame to frame it hardly changes."""

    t_share: np.ndarray
    """(3,) of the depth."""
    R: np.ndarray
    angles_rad: np.ndarray

    @classmethod
    def between(cls, start: HandState, end: HandState) -> _Correction:
        return cls(
            (end.t_m - start.t_m) / start.t_m[2],
            end.R @ start.R.T,
            end.angles_rad - start.angles_rad,
        )

    def applied(self, start: HandState) -> HandState:
        return HandState(
            start.t_m + start.t_m[2] * self.t_share,
            self.R @ start.R,
            start.angles_rad + self.angles_rad,
            start.shape,
        )


@dataclass(frozen=True)
class _Seen:
    """What is kept of a track."""

    state: HandState
    shape: KnownShape
    correction: _Correction | None
    cost: float


@dataclass(frozen=True)
class _Fitted:
    """Where a descent ended."""

    state: HandState
    cost: float
    rotation_covariance: np.ndarray
    """(3, 3) rad^2, about x y z of the (mirrored) camera."""
    centre_m: np.ndarray | None = None
    """(3,) where the lifter saw the mean keypoint, if it was its hand that was refined."""
    depth_stddev: float | None = None
    """Of that, as a share."""
    keypoint_stddev_m: np.ndarray | None = None
    """(21,) m, likewise."""
    correction: _Correction | None = None
    """Likewise."""


class LandmarkFit:
    """Fits a hand model to each track's landmarks."""

    back_end = "numpy, needs no engine"

    def __init__(
        self,
        model: HandModel,
        *,
        lifter: Lifter | None = None,
        known_hand_length_m: float | None = None,
        config: LandmarkFitConfig | None = None,
    ) -> None:
        """Prepare the fit of a right hand model.

        Args:
            model: the right hand.
            lifter: what every hand starts from, trained for that model; None: the fit alone.
            known_hand_length_m: fixes the hand's size.
            config: weights and steps.
        """
        self.config = config or LandmarkFitConfig()
        self.name = "landmark_fit" if lifter is None else "lifter"
        self._lifter = lifter
        self.hand_model = model
        self.anatomy = Anatomy.of(model)
        self._mirrored_model = model.mirrored()
        self._cost = HandCost(model, self.anatomy, self.config.weights, known_hand_length_m)
        self._last: dict[int, _Seen] = {}
        self._calibrations: dict[Side, HandCalibration] = {}

    def use_calibrations(self, calibrations: Mapping[Side, HandCalibration]) -> None:
        """Keep the shape and size of these sides as calibrated; tracks start afresh."""
        self._calibrations = dict(calibrations)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks."""
        self._last.clear()

    def reconstruct(self, frame: Frame, tracks: list[Track]) -> list[Reconstruction | None]:
        """Fit each track's hand; None with fewer than six usable landmarks, or all on a line."""
        seen: dict[int, _Seen] = {}
        results: list[Reconstruction | None] = []
        for track in tracks:
            last = None if track.is_new else self._last.get(track.track_id)
            shape = self._shape_at_first(track.side)
            if last is not None and shape.fixed_stddev is None:
                shape = last.shape
            evidence = self._evidence(frame, track, shape)
            fitted = None if evidence is None else self._fit(evidence, track, last)
            if fitted is None:
                results.append(None)
                continue
            state = fitted.state
            seen[track.track_id] = _Seen(
                state, shape.updated(state.shape), fitted.correction, fitted.cost
            )
            results.append(self._reconstruction(fitted, track.side))
        self._last = seen
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
        if not show_a_hand(rays):
            return None
        usable = np.isfinite(rays).all(axis=1)
        if track.side is Side.LEFT:
            rays = rays * [-1.0, 1.0]
        seen = rays[usable]
        extent = float((seen.max(0) - seen.min(0)).max())
        stddev = max(self.config.weights.landmark_stddev * extent, 1e-6)
        if self._lifter is not None:
            return Evidence(rays, usable, stddev, None, shape, lifted=self._lifter.lift(rays))
        return Evidence(rays, usable, stddev, _relative_m(track, seen), shape)

    def _fit(self, evidence: Evidence, track: Track, last: _Seen | None) -> _Fitted | None:
        """The state of least cost; None where no hand in front of the camera fits."""
        lifted = evidence.lifted
        if lifted is None:
            return self._fit_alone(evidence, last)
        fitted = self._fit_lifted(lifted, evidence, last)
        if fitted is None or fitted.cost > self.config.unlike_a_hand_cost:
            # The lifter knows no hand with such landmarks: then at least the image is right.
            relative = _relative_m(track, evidence.rays[evidence.usable])
            alone = self._fit_alone(replace(evidence, lifted=None, relative_m=relative), last)
            if alone is not None and (fitted is None or alone.cost < fitted.cost):
                return alone
        return fitted

    def _fit_lifted(
        self, lifted: LiftedHand, evidence: Evidence, last: _Seen | None
    ) -> _Fitted | None:
        """The lifted hand, moved towards the landmarks."""
        start, fitted = self._lifted_start(lifted, evidence.shape), None
        if last is not None and last.correction is not None:
            fitted = self._descend(last.correction.applied(start), evidence, 0)
            if fitted is not None and fitted.cost > MOST_COST_RATIO * last.cost:
                fitted = None
        if fitted is None:
            fitted = self._descend(start, evidence, self.config.lifted_steps)
        if fitted is None:
            return None
        # Where the lifter saw the hand, if that is as large as the fitted one.
        centre = lifted.t_camera_wrist + lifted.keypoints_m.sum(0) / 21.0
        return replace(
            fitted,
            centre_m=self._size_ratio(fitted.state.shape, lifted) * centre,
            depth_stddev=lifted.depth_stddev,
            keypoint_stddev_m=lifted.keypoint_stddev_m,
            correction=_Correction.between(start, fitted.state),
        )

    def _fit_alone(self, evidence: Evidence, last: _Seen | None) -> _Fitted | None:
        """Without a lifter: from the last frame, and from wherever the hand may be."""
        best = None
        if last is not None:
            best = self._descend(last.state, evidence, self.config.warm_steps)
        starts = self._starts(evidence)
        # A start in the wrong valley stays there, frame after frame: look for a better one.
        while best is None or best.cost > self.config.doubtful_cost:
            start = next(starts, None)
            if start is None:
                break
            found = self._descend(start, evidence, self.config.max_steps)
            if found is not None and (best is None or found.cost < best.cost):
                best = found
        return best

    def _lifted_start(self, lifted: LiftedHand, known: KnownShape) -> HandState:
        """The lifted hand with the shape that its track is known to have, as far off as it is."""
        if not known.frames and known.fixed_stddev is None:
            return HandState(
                lifted.t_camera_wrist, lifted.R_camera_hand, lifted.angles_rad, lifted.shape
            )
        t = lifted.t_camera_wrist * self._size_ratio(known.mean, lifted)
        return HandState(t, lifted.R_camera_hand, lifted.angles_rad, known.mean)

    def _size_ratio(self, shape: np.ndarray, lifted: LiftedHand) -> float:
        """Length of a hand of that shape over that of the lifted one."""
        return self.hand_model.hand_length_m(shape) / lifted.hand_length_m

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
        answers[3:6, 1:] = _IDENTITY
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
        usable = evidence.usable
        rays = evidence.rays[usable]
        palm = np.column_stack([evidence.rays, np.zeros(21)])[PALM_KEYPOINTS]
        if evidence.relative_m is not None:
            palm = evidence.relative_m[PALM_KEYPOINTS]
        palm = palm[usable[PALM_KEYPOINTS]]
        for depth_sign in (1.0, -1.0):
            R = rotation_between(
                rest[PALM_KEYPOINTS][usable[PALM_KEYPOINTS]], palm * [1.0, 1.0, depth_sign]
            )
            posed = (rest @ R.T)[usable]
            z = np.sqrt(posed[:, :2].var(0).sum() / max(rays.var(0).sum(), 1e-12))
            t = z * np.append(rays.mean(0), 1.0) - posed.mean(0)
            t[2] = max(t[2], 0.05)
            yield HandState(t, R, angles, shape)

    def _reconstruction(self, fitted: _Fitted, side: Side) -> Reconstruction:
        state = fitted.state
        misfit = max(1.0, fitted.cost / USUAL_COST)
        rotation_covariance = TURN_ERRORS_TOGETHER * misfit * fitted.rotation_covariance
        local, model = self.anatomy.rotations(state.angles_rad), self.hand_model
        t, centre = state.t_m, fitted.centre_m
        local[0] = state.R
        if side is Side.LEFT:
            local, t, model = mirror_rotation(local), mirror_points(t), self._mirrored_model
            centre = None if centre is None else mirror_points(centre)
            rotation_covariance = mirror_rotation(rotation_covariance)
        posed = model.pose_rotations(local, state.shape)
        keypoints = model.keypoints(posed, state.shape, "detector")
        if centre is not None:
            t = centre - keypoints.sum(0) / 21.0
        calibration = self._calibrations.get(side)
        return Reconstruction(
            vertices_m=posed.vertices_m,
            keypoints_m=keypoints,
            joints_m=posed.joints_m,
            R_camera_hand=local[0],
            pose=model.pose_of(local),
            shape=state.shape,
            rotation_covariance=rotation_covariance,
            size_stddev=self._cost.size_stddev if calibration is None else calibration.size_stddev,
            t_camera_wrist_guess=t,
            depth_stddev=fitted.depth_stddev,
            keypoint_stddev_m=fitted.keypoint_stddev_m,
        )


def _damped_step(normal: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray:
    damped = normal.copy()
    damped.reshape(-1)[:: len(gradient) + 1] *= 1.0 + damping
    return -np.linalg.solve(damped, gradient)


def _relative_m(track: Track, rays: np.ndarray) -> np.ndarray | None:
    """(21, 3) m about their mean, the detector's own 3D as a right hand, camera axes.

    Args:
        track: of the hand.
        rays: (M, 2) of its landmarks, finite, as a right hand's.
    """
    relative = track.detection.keypoints_rel_m
    if relative is None:
        return None
    if track.side is Side.LEFT:
        relative = mirror_points(relative)
    # The detector looks along the hand's own line of sight, not the camera's axis.
    middle = np.append(rays.mean(0), 1.0)
    return (relative - relative.mean(0)) @ rotations_to_directions(middle[None])[0].T
