"""The lifter alone, on landmarks: what the network says, before the fit refines it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hand_mesh_ros.conventions import Side, mirror_points
from hand_mesh_ros.evaluation.models import ModelError, ModelOptions, Prediction
from hand_mesh_ros.evaluation.samples import Convention, SeenSample
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.mano import load_mano
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.reconstruction.landmark_view import show_a_hand
from hand_mesh_ros.reconstruction.lifter import NETWORK, Lifter


def build(argument: str, options: ModelOptions) -> LifterModel:
    """`lifter[:CHECKPOINT]`, on a sample's own landmarks, with no image."""
    return LifterModel(argument, options)


class LifterModel:
    """Runs a lifter's weights on every hand by itself."""

    needs_image = False

    def __init__(self, checkpoint: str, options: ModelOptions) -> None:
        """Load weights: those of that name or path, or the package's own.

        Raises:
            CheckpointError: no such weights, or of another hand model.
        """
        self.name = f"{NETWORK}:{checkpoint}" if checkpoint else NETWORK
        self.keypoint_convention: Convention = options.keypoints
        self._model = load_mano(Path(options.mano_dir)) if options.mano_dir else load_open_hand()
        self._anatomy = Anatomy.of(self._model)
        self._lifter = Lifter.load(checkpoint or NETWORK, self._model)
        self._known_hand_length = options.known_hand_length

    def predict(self, samples: Sequence[SeenSample]) -> list[Prediction | None]:
        """One answer a sample; None where the landmarks that are left show no hand."""
        return [self._predict(seen) for seen in samples]

    def close(self) -> None:
        """Nothing to free."""

    def _predict(self, seen: SeenSample) -> Prediction | None:
        sample, labels = seen.sample, seen.sample.labels
        if sample.load_landmarks is None:
            raise ModelError(
                "this data set has no landmarks without images; expected --dataset synthetic, or "
                "a model on images (pipeline:lifter)"
            )
        landmarks = sample.load_landmarks()
        rays = np.where(landmarks.confidence[:, None] > 0.0, landmarks.rays, np.nan)
        if not show_a_hand(rays):
            return None
        left = labels.side is Side.LEFT
        rays = rays * [-1.0, 1.0] if left else rays
        hand = self._lifter.lift(rays, landmarks.confidence)
        local = self._anatomy.rotations(hand.angles_rad)
        local[0] = hand.R_camera_hand
        posed = self._model.pose_rotations(local, hand.shape)
        scale = 1.0
        if self._known_hand_length and sample.hand_length_m is not None:
            scale = sample.hand_length_m / self._model.hand_length_m(hand.shape)
        keypoints = self._model.keypoints(posed, hand.shape, self.keypoint_convention)
        keypoints = scale * (keypoints + hand.t_camera_wrist)
        vertices = scale * (posed.vertices_m + hand.t_camera_wrist)
        if left:
            keypoints, vertices = mirror_points(keypoints), mirror_points(vertices)
        return Prediction(
            side=None,
            keypoints_m=keypoints,
            keypoints_px=labels.camera.project(keypoints),
            in_camera_space=True,
            vertices_m=vertices,
            hand_model=self._model.name,
            keypoint_stddev_m=hand.keypoint_stddev_m,
        )
