"""Landmarks that a sample brings along, in the form of detections."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.models import ModelError
from hand_mesh_ros.evaluation.samples import EvaluationSample
from hand_mesh_ros.types import Detection


class ObservedLandmarks:
    """A `Detector` that sees no image, but what the sample shown last says of its landmarks."""

    def __init__(self) -> None:
        self._sample: EvaluationSample | None = None

    def show(self, sample: EvaluationSample) -> None:
        """Let the next `detect` give this sample's landmarks."""
        self._sample = sample

    def detect(self, image_rgb: np.ndarray, stamp_ns: int) -> list[Detection]:
        """One hand, or none where a landmark is missing: detectors give all or nothing."""
        sample = self._sample
        if sample is None or sample.load_landmarks is None:
            raise ModelError(
                "this data set has no landmarks without images; expected --dataset synthetic, or "
                "a model on images (pipeline:NAME)"
            )
        seen, labels = sample.load_landmarks(), sample.labels
        if not (np.isfinite(seen.rays).all() and (seen.confidence > 0.0).all()):
            return []
        keypoints_px = labels.camera.project(np.column_stack([seen.rays, np.ones(21)]))
        return [
            Detection(
                side=Side.RIGHT if labels.side is None else labels.side,
                side_score=1.0,
                score=1.0,
                keypoints_px=keypoints_px,
                keypoints_rel_m=None,
                box_px=np.concatenate([keypoints_px.min(0), keypoints_px.max(0)]),
            )
        ]

    def reset(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""
