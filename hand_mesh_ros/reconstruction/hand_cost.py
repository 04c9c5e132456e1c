"""What a fit of the hand model to one detection costs, and how the cost changes (numpy).

Least squares over the wrist's position, the whole hand's rotation, D joint angles and S shape
coefficients: landmarks as rays, joint limits, usual shapes, and either what the lifter made of the
landmarks or the detector's own depth and usual angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.hand_models.anatomy import DIP_PER_PIP, DIP_PER_PIP_STD_DEG, Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.reconstruction.kinematics import HandKinematics
from hand_mesh_ros.reconstruction.lifter import LiftedHand
from hand_mesh_ros.rotations import rotation_from_axis_angle

NEAREST_M = 0.02
"""A hand with a keypoint nearer to the camera than this costs infinitely much."""
_ALONG_XY, _AGAINST_Z = np.eye(2, 3), np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class EvidenceWeights:
    """How much each kind of evidence counts."""

    landmark_stddev: float = 0.015
    """Expected error of a landmark, as a share of the hand's size in the image."""
    relative_stddev_m: float = 0.06
    """Expected error of the detector's own relative depth, m."""
    lifted_stddevs: float = 1.0
    """The lifter's deviations count as this many times as large: it erred on all keypoints at once,
    and it has seen the landmarks already."""
    limit_stddev_rad: float = 0.05
    """How far joint limits give."""
    length_stddev_m: float = 0.0005
    """How exactly a known hand length is kept."""
    calibrated_shape_stddev: float = 0.1
    """How exactly a calibrated hand's shape is kept; 0.1 is about 0.6% of its size."""
    cauchy: float = 2.5
    """Landmarks farther off than this many standard deviations lose their pull."""


@dataclass
class HandState:
    """The unknowns of one hand, in the frame of the (mirrored) camera."""

    t_m: np.ndarray
    R: np.ndarray
    angles_rad: np.ndarray
    shape: np.ndarray

    def moved(self, step: np.ndarray) -> HandState:
        """After a step in all unknowns: (3 + 3 + D + S,)."""
        num_angles = len(self.angles_rad)
        return HandState(
            t_m=self.t_m + step[:3],
            R=rotation_from_axis_angle(step[3:6]) @ self.R,
            angles_rad=self.angles_rad + step[6 : 6 + num_angles],
            shape=self.shape + step[6 + num_angles :],
        )


@dataclass(frozen=True)
class KnownShape:
    """What is known about one hand's shape: at first how hands are, later how this one was."""

    mean: np.ndarray
    """(S,)"""
    frames: int = 0
    fixed_stddev: float | None = None
    """Of a calibrated hand, whose shape no frame changes any more."""

    @property
    def stddev(self) -> float:
        """Of each coefficient."""
        if self.fixed_stddev is not None:
            return self.fixed_stddev
        # Frames of one hand err alike, so many of them say little more than a few do.
        return max(0.5, (1.0 + 0.05 * self.frames) ** -0.5)

    def updated(self, shape: np.ndarray) -> KnownShape:
        """With what one more frame says."""
        if self.fixed_stddev is not None:
            return self
        frames = self.frames + 1
        return KnownShape(self.mean + (shape - self.mean) / min(frames + 1, 50), frames)


@dataclass(frozen=True)
class Evidence:
    """What one detection says, as the fit needs it."""

    rays: np.ndarray
    """(21, 2) undistorted x/z, y/z."""
    usable: np.ndarray
    """(21,) bool, which of them are finite."""
    ray_stddev: float
    relative_m: np.ndarray | None
    """(21, 3) m about its mean, camera axes."""
    shape: KnownShape
    lifted: LiftedHand | None = None
    """What the lifter made of the landmarks; then `relative_m` is not used."""


class HandCost:
    """The cost of one right hand model, for any evidence."""

    def __init__(
        self,
        model: HandModel,
        anatomy: Anatomy,
        weights: EvidenceWeights,
        known_hand_length_m: float | None,
    ) -> None:
        self._weights = weights
        self._anatomy = anatomy
        self._known_hand_length_m = known_hand_length_m
        self.kinematics = HandKinematics(model, anatomy, "detector")
        num_shape = model.shape_dirs_m.shape[2]
        rows, target = _usual_angles(anatomy)
        self._usual_normal, self._usual_rad = rows.T @ rows, np.linalg.solve(rows, target)
        self._chain_m = model.middle_chain(np.zeros(num_shape))
        unit_chains = [model.middle_chain(unit) for unit in np.eye(num_shape)]
        self._chain_dirs_m = np.stack(unit_chains, axis=2) - self._chain_m[:, :, None]
        length, gradient = self._length(np.zeros(num_shape))
        unknown = float(np.linalg.norm(gradient)) / length
        known = weights.length_stddev_m / length
        self.size_stddev = unknown if known_hand_length_m is None else known
        """Of the hand's size as a share of it: that of people, or of the length that is known."""

    def linearise(
        self, state: HandState, evidence: Evidence
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Normal matrix, gradient and cost of all residuals at a state."""
        # Letters: K 21 keypoints, P = 3 + 3 + D + S unknowns.
        weights = self._weights
        posed = self.kinematics.pose(state.angles_rad, state.R, state.shape)
        # Keypoints about the wrist, and in the camera frame by all unknowns.
        local, J = posed.keypoints_m, posed.jacobian
        num = J.shape[2]
        X = local + state.t_m
        if X[:, 2].min() < NEAREST_M:
            return np.eye(num), np.zeros(num), np.inf

        inverse_z = 1.0 / X[:, 2:]
        seen = X[:, :2] * inverse_z
        residual = (seen - evidence.rays) / evidence.ray_stddev  # (K, 2)
        residual[~evidence.usable] = 0.0
        # Cauchy weights: a landmark on the wrong finger stops pulling.
        squared = (residual * residual).sum(1) / weights.cauchy**2
        cost = float(weights.cauchy**2 * np.log1p(squared).sum())
        root_weight = np.sqrt(evidence.usable / (1.0 + squared))[:, None]  # (K, 1)
        # d(ray) / d(keypoint), first times z, then in standard deviations: (K, 2, 3).
        to_ray = seen[:, :, None] * _AGAINST_Z + _ALONG_XY
        to_ray *= (inverse_z * root_weight / evidence.ray_stddev)[:, :, None]
        J_ray = (to_ray @ J).reshape(-1, num)  # (2 K, P)
        normal = J_ray.T @ J_ray
        gradient = (root_weight * residual).reshape(-1) @ J_ray

        if evidence.lifted is not None:
            cost += self._add_lifted(local, J, evidence.lifted, normal, gradient)
        elif evidence.relative_m is not None:
            # Depth alone: the image says more about x and y. The detector's own scale is a guess.
            relative = evidence.relative_m
            centred = local - local.sum(0) / 21.0
            scale = (centred * relative).sum() / max(float((relative * relative).sum()), 1e-12)
            difference = (centred - scale * relative)[:, 2] / weights.relative_stddev_m
            J_depth = J[:, 2] - J[:, 2].sum(0) / 21.0  # (K, P)
            J_depth /= weights.relative_stddev_m
            normal += J_depth.T @ J_depth
            gradient += J_depth.T @ difference
            cost += float(difference @ difference)
        return normal, gradient, cost + self._add_priors(state, evidence, normal, gradient)

    def _add_lifted(
        self,
        local: np.ndarray,
        J: np.ndarray,
        lifted: LiftedHand,
        normal: np.ndarray,
        gradient: np.ndarray,
    ) -> float:
        """Add what the lifter says of the keypoints about their centre; returns its cost."""
        across, along = 1.0 / (self._weights.lifted_stddevs * lifted.stddev_m.T)
        to_view = lifted.R_camera_view.T * np.array([across, across, along]).T[:, :, None]
        goal = lifted.keypoints_m - lifted.keypoints_m.sum(0) / 21.0
        centred = local - local.sum(0) / 21.0
        # A larger hand farther away gives the same landmarks: the lifter knows no size.
        scale = (centred * goal).sum() / (goal * goal).sum()
        difference = (to_view @ (centred - scale * goal)[:, :, None]).reshape(-1)
        J_view = to_view @ (J - J.sum(0) / 21.0)  # (K, 3, P)
        J_view = J_view.reshape(-1, J.shape[2])
        normal += J_view.T @ J_view
        gradient += difference @ J_view
        return float(difference @ difference)

    def _add_priors(
        self, state: HandState, evidence: Evidence, normal: np.ndarray, gradient: np.ndarray
    ) -> float:
        """Add usual angles, joint limits, shape and known length in place; returns their cost."""
        known = evidence.shape
        weights, angles, shape = self._weights, state.angles_rad, state.shape
        of_angles, of_shape = slice(6, 6 + len(angles)), slice(6 + len(angles), len(gradient))
        diagonal = normal.reshape(-1)[:: len(gradient) + 1]  # a view

        usual = self._usual_rad if evidence.lifted is None else evidence.lifted.angles_rad
        off = angles - usual
        pull = self._usual_normal @ off
        cost = off @ pull
        normal[of_angles, of_angles] += self._usual_normal

        anatomy, limit_weight = self._anatomy, weights.limit_stddev_rad**-2
        over = angles - np.minimum(np.maximum(angles, anatomy.lower_rad), anatomy.upper_rad)
        diagonal[of_angles] += limit_weight * (over != 0.0)
        gradient[of_angles] += pull + limit_weight * over
        cost += limit_weight * (over @ over)

        unusual, shape_weight = shape - known.mean, known.stddev**-2
        diagonal[of_shape] += shape_weight
        gradient[of_shape] += shape_weight * unusual
        cost += shape_weight * (unusual @ unusual)

        # A calibrated hand's length is in its shape.
        if self._known_hand_length_m is not None and known.fixed_stddev is None:
            length, slope = self._length(shape)
            error = (length - self._known_hand_length_m) / weights.length_stddev_m
            slope = slope / weights.length_stddev_m
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
