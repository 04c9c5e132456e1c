"""MediaPipe's own relative 3D landmarks: what there is without any of this package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hand_mesh_ros.evaluation.detections import SharedDetector, labelled_one
from hand_mesh_ros.evaluation.models import ModelError, ModelOptions, Prediction
from hand_mesh_ros.evaluation.samples import Convention, SeenSample
from hand_mesh_ros.rotations import rotations_to_directions


def build(argument: str, options: ModelOptions) -> MediaPipeModel:
    """`mediapipe`, on the detections that all models of the evaluation share."""
    if argument:
        raise ModelError("mediapipe takes no argument")
    options.detector.open()  # says now what is missing, not after the first image
    return MediaPipeModel(options.detector)


class MediaPipeModel:
    """The detector's keypoints relative to the hand's centre; no mesh, no place in the camera."""

    name = "mediapipe"
    keypoint_convention: Convention = "detector"
    needs_image = True

    def __init__(self, detector: SharedDetector) -> None:
        self._detector = detector

    def predict(self, samples: Sequence[SeenSample]) -> list[Prediction | None]:
        """One image after the other."""
        return [self._predict(seen) for seen in samples]

    def close(self) -> None:
        """The detector belongs to whoever gave it."""

    def _predict(self, seen: SeenSample) -> Prediction | None:
        labels = seen.sample.labels
        if seen.image is None:
            raise ValueError(f"{self.name} was given no image of {labels.sample_id}")
        hand = labelled_one(
            self._detector.detect(seen.image, 0),
            labels,
            box_px=lambda d: d.box_px,
            side=lambda d: d.side,
        )
        if hand is None or hand.keypoints_rel_m is None:
            return None
        # It cuts out the hand and looks straight at it, so its axes are not the camera's.
        middle = np.append(labels.camera.rays(hand.keypoints_px.mean(0)[None])[0], 1.0)
        return Prediction(
            side=hand.side,
            keypoints_m=hand.keypoints_rel_m @ rotations_to_directions(middle[None])[0].T,
            keypoints_px=hand.keypoints_px,
            in_camera_space=False,
        )
