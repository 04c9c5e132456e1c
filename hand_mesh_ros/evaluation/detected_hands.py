"""The held-out hands that the detector was shown, with what it said of each: errors of its own."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.landmarks import Landmarks
from hand_mesh_ros.evaluation.samples import EvaluationSample
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.datasets.base import DatasetError, HandSample, box_around
from hand_mesh_ros.training.landmark_noise import LandmarkNoise

_WIDTH, _HEIGHT = 640, 480
"""Of the images that were shown, see `tools/measure_detector_noise.py`."""


class DetectedHands:
    """Right hands that training never sees; what was shown of them is not kept, so no images.

    Hands of `SyntheticHands` take the errors of others that look like them; no two do, quite, and
    a hand's own errors are the harder ones.
    """

    def __init__(self, model: HandModel) -> None:
        """Read them.

        Args:
            model: the right open hand.

        Raises:
            OSError: the package is not complete.
        """
        self._model, self._anatomy = model, Anatomy.of(model)
        self._noise = LandmarkNoise.load(held_out=True)

    def __len__(self) -> int:
        return len(self._noise)

    def __getitem__(self, index: int) -> EvaluationSample:
        if not 0 <= index < len(self):
            raise IndexError(f"hand {index} of {len(self)}")
        hand = self._noise.hands[np.array([index])]
        R, t, shape = hand.R_camera_hand[0], hand.t_camera_wrist_m[0], hand.shape[0]
        local = self._anatomy.rotations(hand.angles_rad[0])
        local[0] = R
        posed = self._model.pose_rotations(local, shape)
        keypoints_m, detector_m = (
            self._model.keypoints(posed, shape, name) + t for name in ("anatomical", "detector")
        )
        camera = _camera(float(hand.focal_px[0]))
        seen = self._noise.observe(
            detector_m[None], hand.focal_px, np.random.default_rng(0), xy_error=hand.xy_error
        )
        keypoints_px = camera.project(keypoints_m)
        labels = HandSample(
            sample_id=f"detected/{index}",
            load_image=_no_image,
            camera=camera,
            side=Side.RIGHT,
            box_px=box_around(keypoints_px),
            keypoints_px=keypoints_px,
            keypoints_valid=np.ones(21, bool),
            keypoints_m=keypoints_m,
            root_m=keypoints_m[0],
            vertices_m=posed.vertices_m + t,
            pose=self._model.pose_of(local),
            shape=shape,
        )
        landmarks = Landmarks(seen.rays[0], seen.confidence[0])
        return EvaluationSample(labels, self._model.name, detector_m, lambda: landmarks)


def _camera(focal_px: float) -> Camera:
    fov_deg = np.degrees(2.0 * np.arctan(0.5 * _WIDTH / focal_px))
    return Camera.from_fov(_WIDTH, _HEIGHT, float(fov_deg))


def _no_image() -> np.ndarray:
    raise DatasetError(
        "the hands that the detector was shown were kept without their images; expected models "
        "of landmarks (lifter, landmarks:NAME), or --dataset synthetic"
    )
