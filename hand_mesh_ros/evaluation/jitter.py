"""How much the hands of a still hand tremble, before and after smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.reconstruction.base import Reconstructor
from hand_mesh_ros.smoothing import HandSmoother
from hand_mesh_ros.sources.hand_motion import R_CAMERA_UPRIGHT
from hand_mesh_ros.tracking import Tracker
from hand_mesh_ros.types import Detection, Frame, Hand

FRAME_JITTER = 0.02
"""What is new in a landmark's error from one frame to the next, in units of the hand's root mean
square size in the image: MediaPipe 0.10.21 on renders at 30 Hz."""
_RATE_HZ = 30.0
_SETTLING_FRAMES = 30


@dataclass(frozen=True)
class Jitter:
    """Root mean square acceleration of the keypoints of a hand that does not move, m/s^2."""

    before_mps2: float
    """As reconstructed from each frame alone."""
    after_mps2: float
    """As published."""


def still_hand_jitter(
    reconstructor: Reconstructor, smoother: HandSmoother | None, *, frames: int = 90, seed: int = 0
) -> Jitter:
    """Show a relaxed hand, half a metre away, whose landmarks tremble as a detector's do."""
    rng = np.random.default_rng(seed)
    camera = Camera.from_fov(640, 480, 60.0)
    detector = _TremblingLandmarks(reconstructor.hand_model, camera, rng)
    pipeline = Pipeline(
        detector=detector, tracker=Tracker(), reconstructor=reconstructor, smoother=smoother
    )
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    before, after = [], []
    for number in range(_SETTLING_FRAMES + frames):
        stamp_ns = round(number * 1e9 / _RATE_HZ)
        result = pipeline.process(Frame(image, camera, stamp_ns, "camera"))
        if number >= _SETTLING_FRAMES:
            before.append(_keypoints(result.unsmoothed_hands))
            after.append(_keypoints(result.hands))
    pipeline.reset()
    return Jitter(_rms_acceleration(before), _rms_acceleration(after))


def _keypoints(hands: tuple[Hand, ...]) -> np.ndarray:
    if len(hands) != 1:
        raise RuntimeError(f"the still hand was reconstructed {len(hands)} times in a frame, not 1")
    return hands[0].keypoints_m


def _rms_acceleration(keypoints_m: list[np.ndarray]) -> float:
    """m/s^2, of (T, 21, 3) m one frame apart."""
    second = np.diff(np.array(keypoints_m), n=2, axis=0) * _RATE_HZ**2  # (T - 2, 21, 3)
    return float(np.sqrt((second**2).sum(2).mean()))


class _TremblingLandmarks:
    """A detector that sees one still hand."""

    def __init__(self, model: HandModel, camera: Camera, rng: np.random.Generator) -> None:
        shape = np.zeros(model.shape_dirs_m.shape[2])
        anatomy = Anatomy.of(model)
        posed = model.pose_hand(anatomy.pose(anatomy.mean_rad, R_CAMERA_UPRIGHT), shape)
        points = model.keypoints(posed, shape, "detector")
        points = points - points.mean(0) + [0.03, -0.02, 0.5]
        self._truth_px = camera.project(points)
        spread = self._truth_px - self._truth_px.mean(0)
        self._stddev_px = FRAME_JITTER * np.sqrt((spread**2).sum(1).mean())
        self._rng = rng

    def detect(self, image_rgb: np.ndarray, stamp_ns: int) -> list[Detection]:
        keypoints = self._truth_px + self._stddev_px * self._rng.standard_normal((21, 2))
        box = np.concatenate([keypoints.min(0), keypoints.max(0)])
        return [Detection(Side.RIGHT, 1.0, 1.0, keypoints, None, box)]

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass
