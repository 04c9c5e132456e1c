"""What the stages of the pipeline hand to each other: frozen, with shape, frame and unit stated.

Camera frame: x right, y down, z forward (REP 103 optical), metres. Pixels: x right, y down, the
centre of the top left pixel is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import RootSource, Side


@dataclass(frozen=True, slots=True)
class Frame:
    """One image, the camera that took it, and when."""

    image: np.ndarray
    """(H, W, 3) uint8, RGB."""
    camera: Camera
    stamp_ns: int
    """Nanoseconds of the image's own clock; never the time of processing."""
    frame_id: str
    """TF frame of the camera (optical axes)."""
    depth_m: np.ndarray | None = None
    """(H, W) float32, m along the optical axis, of the image's pixels; NaN or 0: unknown."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One hand as a 2D detector saw it."""

    side: Side
    side_score: float
    """Probability of `side`, 0.5 to 1."""
    score: float
    """Probability that there is a hand, 0 to 1."""
    keypoints_px: np.ndarray
    """(21, 2) float64, px of the source image, detector convention."""
    keypoints_rel_m: np.ndarray | None
    """(21, 3) float64, m, camera axes, about the hand's centre: the detector's own guess."""
    box_px: np.ndarray
    """(4,) float64, x0 y0 x1 y1 of the keypoints, px; may reach beyond the image."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A mesh relative to its wrist, in the axes of the camera."""

    vertices_m: np.ndarray
    """(V, 3) float64, m, wrist at the origin, camera axes."""
    keypoints_m: np.ndarray
    """(21, 3) float64, m, same frame, detector convention (what a landmark detector marks)."""
    joints_m: np.ndarray
    """(16, 3) float64, m, same frame, skeleton joints in MANO order."""
    R_camera_hand: np.ndarray
    """(3, 3) float64, rotation of the hand model's frame (wrist) seen by the camera."""
    pose: np.ndarray | None
    """(48,) float64, axis-angle rad, MANO joint order, the first three are `R_camera_hand`."""
    shape: np.ndarray | None
    """(10,) float64, hand model's shape coefficients."""
    rotation_covariance: np.ndarray
    """(3, 3) float64, rad^2, of `R_camera_hand` about x y z of the camera."""
    size_stddev: float
    """Expected error of the hand's size as a share of it; distance is as uncertain as size is."""
    t_camera_wrist_guess: np.ndarray | None = None
    """(3,) float64, m, where the wrist seems to be, if that fell out on the way."""
    depth_stddev: float | None = None
    """Expected error of that guess's depth as a share of it, of a hand whose size is known, where
    the guess says more than landmarks and mesh do; else None."""
    keypoint_stddev_m: np.ndarray | None = None
    """(21,) float64, m, of a coordinate about the hand's centre, of a hand whose size is known (the
    root's covariance has place and size); None where not estimated."""
    vertex_stddev_m: np.ndarray | None = None
    """(V,) float64, m, or None where not estimated."""
    vertex_colors: np.ndarray | None = None
    """(V, 3) uint8 RGB, or None."""
    score: float | None = None
    """How sure the reconstruction is of this mesh, above 0 to 1; None where it does not say."""
    alternatives: tuple[Reconstruction, ...] = ()
    """All hands that the image may show, this one among them, the likeliest first; their scores are
    probabilities that sum to 1. Empty where only one was made."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where the wrist is in the camera frame, and how well that is known."""

    t_camera_wrist: np.ndarray
    """(3,) float64, m, camera frame."""
    covariance: np.ndarray
    """(3, 3) float64, m^2, camera frame."""
    source: RootSource


@dataclass(frozen=True, slots=True)
class Hand:
    """One hand, metric, in the camera frame: what is published."""

    track_id: int
    side: Side
    side_score: float
    score: float
    """Probability that there is a hand, times the reconstruction's own score where it has one; 0
    where a safety gate marked it."""
    T_camera_wrist: np.ndarray
    """(4, 4) float64, pose of the hand model's wrist frame in the camera frame, m."""
    root_covariance: np.ndarray
    """(6, 6) float64, x y z (m) then rotation about x y z (rad), camera frame."""
    root_source: RootSource
    keypoints_m: np.ndarray
    """(21, 3) float64, m, camera frame, detector convention."""
    keypoints_px: np.ndarray
    """(21, 2) float64, px, source image, as detected."""
    vertices_m: np.ndarray
    """(V, 3) float64, m, camera frame."""
    pose: np.ndarray | None
    """(48,) float64, axis-angle rad, MANO joint order."""
    shape: np.ndarray | None
    """(10,) float64."""
    box_px: np.ndarray
    """(4,) float64, x0 y0 x1 y1, px, clipped to the image."""
    grasp_aperture_m: float
    """Distance between thumb tip and index tip, m."""
    model: str
    """Reconstruction that made it, e.g. "landmark_fit"."""
    hand_model: str
    """Topology it refers to, e.g. "open_hand"."""
    keypoint_stddev_m: np.ndarray | None = None
    vertex_stddev_m: np.ndarray | None = None
    vertex_colors: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A detection with an identity that lasts while the hand is seen."""

    track_id: int
    detection: Detection
    side: Side
    """Side by vote over the track's life; `detection.side` is this frame's alone."""
    side_score: float
    is_new: bool
    """True on the track's first frame: nothing of an earlier hand may be reused."""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything known about one frame."""

    stamp_ns: int
    frame_id: str
    hands: tuple[Hand, ...]
    detections: tuple[Detection, ...] = ()
    stage_s: dict[str, float] = field(default_factory=dict)
    """Seconds spent in each stage, by its name ("detection", "reconstruction", ...)."""
    unsmoothed_hands: tuple[Hand, ...] = ()
    """The sound hands as this frame alone shows them; what a calibration averages."""
    depth_refusals: tuple[str, ...] = ()
    """Why depth did not place a hand, one line for each that was left to its reprojection."""
    hypotheses: tuple[Hand, ...] = ()
    """Of each hand that has several all that it may be, unsmoothed, with its track's id; their
    scores are probabilities among them."""
    safety_reasons: tuple[str, ...] = ()
    """Why a safety gate held a hand back or marked it, one line for each."""
