"""Pose and shape of the hand model fitted to a detector's landmarks: the default reconstruction.

Levenberg-Marquardt over the wrist's position, the whole hand's rotation, 21 joint angles and 10
shape coefficients. Data: the 21 landmarks as rays (so lens and cropping don't matter). With a
lifter, which is the default, its answer is where every hand starts and, by its deviations, what it
is held to. Without one (for hand models that it was not trained for): the detector's own depth,
weakly, usual angles, DIP following PIP, and a track starts from its last frame. Both: joint limits
and usual shapes. Left hands are fitted as right ones in a mirror.
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
from hand_mesh_ros.reconstruction.lifter import LiftedHand, Lifter
from hand_mesh_ros.rotations import rotations_to_directions
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
    """For a hand that starts from what the lifter made of it."""
    unlike_a_hand_cost: float = 450.0
    """Above this the lifter and the landmarks contradict each other. With the detector's errors on
    hands in all views 90% cost below 141, 99% below 293; then the lifter still knows better."""
    small_step: float = 0.02
    """Stop when no unknown (m, rad, units of shape) changes by more than this."""
    trusted_step: float = 0.5
    """A last step of at most this is taken without looking whether it helped."""


PALM_KEYPOINTS = np.array([0, 1, 5, 9, 13, 17])
MIN_LANDMARKS = 6
NARROWEST = 0.02
"""Width over length of landmarks, as standard deviations: a hand seen edge-on has 0.1 or more."""
LIFTED_DEPTH_STDDEV = 0.02
"""Of the depth that the lifter sees, as a share of it: on hands and errors that it was not trained
with the median error is 1.9% (so 2.9%), but it errs as the landmarks do, and knows that they do."""
USUAL_COST = 40.0
"""Of a fit whose evidence is as good as the configuration says."""


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
        """Fit each track's hand; None with fewer than six usable landmarks, or all on a line."""
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
            states[track.track_id] = fitted.state, shape.updated(fitted.state.shape)
            results.append(self._reconstruction(fitted, track.side))
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
        if usable.sum() < MIN_LANDMARKS or _on_a_line(rays[usable]):
            return None
        relative = detection.keypoints_rel_m
        if relative is not None:
            # The detector looks along the hand's own line of sight, not the camera's axis.
            middle = np.append(rays[usable].mean(0), 1.0)
            relative = (relative - relative.mean(0)) @ rotations_to_directions(middle[None])[0].T
        if track.side is Side.LEFT:
            rays = rays * [-1.0, 1.0]
            relative = None if relative is None else mirror_points(relative)
        extent = np.ptp(rays[usable], axis=0).max()
        return Evidence(
            rays,
            max(self.config.weights.landmark_stddev * extent, 1e-6),
            relative,
            shape,
            lifted=None if self._lifter is None else self._lifter.lift(rays),
        )

    def _fit(self, evidence: Evidence, last: HandState | None) -> _Fitted | None:
        """The state of least cost; None where no hand in front of the camera fits."""
        lifted = evidence.lifted
        if lifted is None:
            return self._fit_alone(evidence, last)
        start = self._lifted_start(lifted, evidence.shape)
        fitted = self._descend(start, evidence, self.config.lifted_steps)
        if fitted is not None:
            fitted = self._with_what_the_lifter_knows(fitted, lifted)
        if fitted is None or fitted.cost > self.config.unlike_a_hand_cost:
            # The lifter knows no hand with such landmarks: then at least the image is right.
            alone = self._fit_alone(replace(evidence, lifted=None), last)
            if alone is not None and (fitted is None or alone.cost < fitted.cost):
                return alone
        return fitted

    def _with_what_the_lifter_knows(self, fitted: _Fitted, lifted: LiftedHand) -> _Fitted:
        """Its deviations, and the place of its hand if that were as large as the fitted one."""
        shapes = np.stack([fitted.state.shape, lifted.shape])
        lengths = self.hand_model.hand_lengths_m(shapes)
        centre = lifted.t_camera_wrist + lifted.keypoints_m.sum(0) / 21.0
        return replace(
            fitted,
            centre_m=lengths[0] / lengths[1] * centre,
            depth_stddev=LIFTED_DEPTH_STDDEV,
            keypoint_stddev_m=lifted.keypoint_stddev_m,
        )

    def _fit_alone(self, evidence: Evidence, last: HandState | None) -> _Fitted | None:
        """Without a lifter: from the last frame, and from wherever the hand may be."""
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
        return best

    def _lifted_start(self, lifted: LiftedHand, known: KnownShape) -> HandState:
        """The lifted hand with the shape that its track is known to have, as far off as it is."""
        if not known.frames and known.fixed_stddev is None:
            return HandState(
                lifted.t_camera_wrist, lifted.R_camera_hand, lifted.angles_rad, lifted.shape
            )
        lengths = self.hand_model.hand_lengths_m(np.stack([known.mean, lifted.shape]))
        t = lifted.t_camera_wrist * (lengths[0] / lengths[1])
        return HandState(t, lifted.R_camera_hand, lifted.angles_rad, known.mean)

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

    def _reconstruction(self, fitted: _Fitted, side: Side) -> Reconstruction:
        state = fitted.state
        rotation_covariance = max(1.0, fitted.cost / USUAL_COST) * fitted.rotation_covariance
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
    np.einsum("ii->i", damped)[:] *= 1.0 + damping
    return -np.linalg.solve(damped, gradient)


def _on_a_line(rays: np.ndarray) -> bool:
    x, y = (rays - rays.sum(0) / len(rays)).T
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    # The eigenvalues of the covariance: half of the trace, plus and minus this.
    middle, half = 0.5 * (xx + yy), float(np.hypot(0.5 * (xx - yy), xy))
    return middle - half <= NARROWEST**2 * (middle + half)


def _rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that best turns source points to target points, both about their means."""
    source, target = source - source.mean(0), target - target.mean(0)
    U, _, Vt = np.linalg.svd(target.T @ source)
    return U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
