"""The lifter's hand in a crop: what networks start from that correct it, trained and live alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.hand_size import HandSize
from hand_mesh_ros.reconstruction.hand_cost import NEAREST_M
from hand_mesh_ros.reconstruction.landmark_view import show_a_hand
from hand_mesh_ros.reconstruction.lifter import Lifter

LIFTED_INPUTS = ("lifted_rotations", "lifted_shape", "lifted_uv", "lifted_stddev_m")
"""Names of what networks take."""


@dataclass(frozen=True, eq=False)
class LiftedStart:
    """The lifter's hand, as long as the template."""

    inputs: Mapping[str, np.ndarray]
    """By `LIFTED_INPUTS`, float32: (16, 3, 3) rotations into the crop's camera, (10,) shape, (21,
    2) anatomical keypoints in crop units, (21,) m their deviations about the hand's centre."""
    centre_m: np.ndarray
    """(3,) m, mean of the keypoints that a detector marks, axes of the crop's camera."""
    depth_stddev: float
    """Of its depth, as a share of it."""


class LiftedStarts:
    """Lifts the landmarks of single crops.

    Not fitted to the landmarks: a fit lies closer on them and is the worse hand for it where they
    are off (PA-MPJPE 5.1 instead of 4.8 mm), and the network sees landmarks and image itself.
    """

    def __init__(self, model: HandModel, *, weights: str = "lifter") -> None:
        """Load the lifter.

        Args:
            model: the right hand.
            weights: of the lifter: a name in the package or a file.

        Raises:
            CheckpointError: they cannot be read, or are for another hand model.
        """
        self._lifter = Lifter.load(weights, model)
        self._model, self._size = model, HandSize(model)
        self._anatomy = Anatomy.of(model)
        self._keypoints = vertex_keypoint_weights(model, "anatomical")
        self._template_m = model.hand_length_m(np.zeros(model.shape_dirs_m.shape[2]))

    def of_crop(
        self, landmark_cue: np.ndarray, K_crop: np.ndarray, size_px: int
    ) -> LiftedStart | None:
        """Of one crop of a right hand; None where its landmarks make no hand.

        Args:
            landmark_cue: (21, 3) u, v in crop units and weight.
            K_crop: (3, 3) px.
            size_px: S.
        """
        px = np.asarray(landmark_cue, float)[:, :2] * size_px - 0.5
        px[~(landmark_cue[:, 2] > 0.0)] = np.nan
        camera = Camera(width=size_px, height=size_px, K=np.asarray(K_crop, float))
        rays = camera.rays(px)
        if not show_a_hand(rays):
            return None
        hand = self._lifter.lift(rays)
        wrist = hand.t_camera_wrist
        if wrist[2] + hand.keypoints_m[:, 2].min() < NEAREST_M:
            return None
        rotations = self._anatomy.rotations(hand.angles_rad)
        rotations[0] = hand.R_camera_hand
        posed = self._model.pose_rotations(rotations, hand.shape)
        # Moved onto the landmarks.
        off_px = np.nanmean(px - camera.project(hand.keypoints_m + wrist), axis=0)
        keypoints_px = camera.project(self._keypoints @ posed.vertices_m + wrist) + off_px
        ratio = self._template_m / self._model.hand_length_m(hand.shape)
        values = (
            rotations,
            self._size.scaled(hand.shape, ratio),
            (keypoints_px + 0.5) / size_px,
            ratio * hand.keypoint_stddev_m,
        )
        return LiftedStart(
            {k: v.astype(np.float32) for k, v in zip(LIFTED_INPUTS, values, strict=True)},
            centre_m=ratio * (hand.keypoints_m.mean(0) + wrist),
            depth_stddev=hand.depth_stddev,
        )
