"""The lifter's hand in a crop: what networks start from that correct it, trained and live alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.hand_size import HandSize
from hand_mesh_ros.reconstruction.landmark_fit import LandmarkFit
from hand_mesh_ros.reconstruction.lifter import Lifter
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.types import Detection, Frame, Track

_UNKNOWN_STDDEV_M = 0.02
"""Of a hand whose landmarks the lifter does not take for a hand's."""


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
    depth_stddev: float | None
    """Of its depth, as a share of it; None where the lifter had no part in it."""


class LiftedStarts:
    """Lifts and fits the landmarks of single crops, as the model `lifter` does those of a frame."""

    def __init__(self, model: HandModel, *, weights: str = "lifter") -> None:
        """Load the lifter.

        Args:
            model: the right hand.
            weights: of the lifter: a name in the package or a file.

        Raises:
            CheckpointError: they cannot be read, or are for another hand model.
        """
        self._fit = LandmarkFit(model, lifter=Lifter.load(weights, model))
        self._model, self._size = model, HandSize(model)
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
        known = landmark_cue[:, 2] > 0.0
        if not known.any():
            return None
        px[~known] = np.nan
        detection = Detection(
            side=Side.RIGHT,
            side_score=1.0,
            score=1.0,
            keypoints_px=px,
            keypoints_rel_m=None,
            box_px=np.concatenate([np.nanmin(px, axis=0), np.nanmax(px, axis=0)]),
        )
        camera = Camera(width=size_px, height=size_px, K=np.asarray(K_crop, float))
        frame = Frame(np.zeros((1, 1, 3), np.uint8), camera, 0, "crop")
        track = Track(0, detection, Side.RIGHT, 1.0, is_new=True)
        (hand,) = self._fit.reconstruct(frame, [track])
        if hand is None or hand.pose is None or hand.shape is None:
            return None
        wrist = hand.t_camera_wrist_guess
        if wrist is None:
            return None
        # Where the lifter saw it, before the fit: moved onto the landmarks.
        off_px = np.nanmean(px - camera.project(hand.keypoints_m + wrist), axis=0)
        keypoints_px = camera.project(self._keypoints @ hand.vertices_m + wrist) + off_px
        ratio = self._template_m / self._model.hand_length_m(hand.shape)
        stddev_m = hand.keypoint_stddev_m
        if stddev_m is None:
            stddev_m = np.full(21, _UNKNOWN_STDDEV_M)
        values = (
            rotation_from_axis_angle(self._model.full_pose(hand.pose).reshape(16, 3)),
            self._size.scaled(hand.shape, ratio),
            (keypoints_px + 0.5) / size_px,
            ratio * stddev_m,
        )
        return LiftedStart(
            {k: v.astype(np.float32) for k, v in zip(LIFTED_INPUTS, values, strict=True)},
            centre_m=ratio * (hand.keypoints_m.mean(0) + wrist),
            depth_stddev=hand.depth_stddev,
        )
