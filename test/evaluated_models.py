"""Models whose errors are known, for tests of the evaluation."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.conventions import mirror_points
from hand_mesh_ros.evaluation.models import Prediction


class Shifted:
    """Gives the truth, shifted by (3) m; every `miss`-th hand is missed."""

    keypoint_convention = "anatomical"

    def __init__(self, name="shifted", shift_m=(0.0, 0.0, 0.0), *, miss=0, needs_image=True):
        self.name, self.needs_image = name, needs_image
        self._shift_m, self._miss = np.array(shift_m), miss
        self.shown = []

    def predict(self, samples):
        return [self._predict(seen) for seen in samples]

    def close(self):
        self.closed = True

    def _predict(self, seen):
        self.shown.append(seen)
        if self._miss and len(self.shown) % self._miss == 0:
            return None
        return self.answer(seen.sample)

    def answer(self, sample):
        labels = sample.labels
        if labels.keypoints_m is None:
            return Prediction(None, np.zeros((21, 3)), labels.keypoints_px + 1.0, False)
        keypoints_m = labels.keypoints_m + self._shift_m
        vertices_m = None if labels.vertices_m is None else labels.vertices_m + self._shift_m
        return Prediction(
            labels.side,
            keypoints_m,
            labels.camera.project(keypoints_m),
            True,
            vertices_m,
            sample.hand_model,
        )


class OtherHand(Shifted):
    """Takes every hand for its mirror image."""

    def answer(self, sample):
        labels = sample.labels
        return Prediction(
            labels.side.opposite, mirror_points(labels.keypoints_m), labels.keypoints_px, True
        )


class Deviating(Shifted):
    """Off by its own deviation (1 or 4 mm) and, all of it, by a metre: deviations are about the
    wrist."""

    def answer(self, sample):
        stddev_m = np.where(np.arange(21) % 2, 1e-3, 4e-3)
        signs = np.random.default_rng(0).standard_normal((21, 3))
        signs[0] = 0.0
        return Prediction(
            sample.labels.side,
            sample.labels.keypoints_m + 1.0 + signs * stddev_m[:, None],
            sample.labels.keypoints_px,
            True,
            keypoint_stddev_m=stddev_m,
        )


class BentAway(Shifted):
    """The truth with its middle finger's tip `index` mm off, so that later hands are worse."""

    def answer(self, sample):
        keypoints_m = sample.labels.keypoints_m.copy()
        keypoints_m[12, 0] += 1e-3 * (1 + len(self.shown))
        return Prediction(
            sample.labels.side, keypoints_m, sample.labels.camera.project(keypoints_m), True
        )
