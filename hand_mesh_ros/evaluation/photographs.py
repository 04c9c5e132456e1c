"""Photographs that nobody labelled: does a hand lie where the detector says, does it stay itself?

Each photograph is shown as it is and in variants that leave the hand what it is: turned, smaller,
darker. A model that answers with two hands of different form is wrong about at least one of them.
Neither figure is an error against a truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.detection.base import Detector
from hand_mesh_ros.evaluation.metrics import pa_error_m
from hand_mesh_ros.evaluation.samples import EvaluationSample
from hand_mesh_ros.evaluation.tally import ModelResult
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.sources.calibration import fitted
from hand_mesh_ros.training.datasets.base import DatasetError, HandSample, ImageError, box_around
from hand_mesh_ros.training.datasets.image_folder import ImageFolder


@dataclass(frozen=True)
class Variant:
    """What is done to a photograph."""

    name: str
    turn_deg: float = 0.0
    """The camera turns about its optical axis."""
    scale: float = 1.0
    brightness: float = 1.0

    def of(self, image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
        """The image that results, (H, W, 3) uint8 RGB, and the camera that would have taken it."""
        if self.brightness != 1.0:
            image = cv2.convertScaleAbs(image, alpha=self.brightness)
        if self.scale != 1.0:
            width, height = (round(self.scale * side) for side in (camera.width, camera.height))
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            camera = fitted(camera, width, height, self.name)
        return (image, camera) if self.turn_deg == 0.0 else self._turned(image, camera)

    def moved(self, points_px: np.ndarray, camera: Camera, variant_camera: Camera) -> np.ndarray:
        """(N, 2) px of the photograph, in the image of `of`."""
        rays = camera.rays(points_px)
        directions = np.column_stack([rays, np.ones(len(rays))])
        return variant_camera.project(directions @ self._R_variant_photograph.T)

    @property
    def _R_variant_photograph(self) -> np.ndarray:
        return rotation_from_axis_angle(np.array([0.0, 0.0, np.radians(self.turn_deg)]))

    def _turned(self, image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
        """On a canvas that loses no corner."""
        K = camera.K
        to_variant = K @ self._R_variant_photograph @ np.linalg.inv(K)  # px, last row 0 0 1
        right, bottom = camera.width - 1.0, camera.height - 1.0
        corners = np.array([[0, 0, 1], [right, 0, 1], [0, bottom, 1], [right, bottom, 1]])
        at = corners @ to_variant[:2].T
        low = np.floor(at.min(0))
        width, height = (np.ceil(at.max(0)) - low + 1.0).astype(int).tolist()
        to_variant[:2, 2] -= low
        K = K.copy()
        K[:2, 2] -= low
        turned = cv2.warpAffine(image, to_variant[:2], (width, height), flags=cv2.INTER_LINEAR)
        return turned, Camera(width, height, K, assumed=camera.assumed)


VARIANTS = (
    Variant("turned by 15 deg", turn_deg=15.0),
    Variant("turned by -15 deg", turn_deg=-15.0),
    Variant("at 0.8 of its size", scale=0.8),
    Variant("at 0.6 of its brightness", brightness=0.6),
)
_SHOWN = (Variant("as it is"), *VARIANTS)


class Photographs:
    """Every hand that a detector finds in a folder of photographs, in every variant.

    Sample `len(VARIANTS) + 1` times h is hand h as it is, its variants follow.
    """

    def __init__(self, folder: Path, detector: Detector) -> None:
        """Look for hands in all of them.

        Args:
            folder: of images, each with its camera matrix beside it where that is known.
            detector: whose landmarks the models' hands are compared with.

        Raises:
            DatasetError: no image, or no hand in any.
        """
        self._folder = ImageFolder(folder)
        self.damaged: list[str] = []
        self._hands: list[tuple[int, np.ndarray]] = []
        for number in range(len(self._folder)):
            try:
                photograph = self._folder[number]
            except ImageError as error:
                self.damaged.append(str(error))
                continue
            detector.reset()
            for hand in detector.detect(photograph.load_image(), 0):
                self._hands.append((number, hand.keypoints_px))
        self.photographs = len(self._folder) - len(self.damaged)
        self.with_hands = len({number for number, _ in self._hands})
        if not self._hands:
            raise DatasetError(f"{folder}: the detector finds no hand in {self.photographs} images")

    @property
    def hands(self) -> int:
        """How many the detector found."""
        return len(self._hands)

    def __len__(self) -> int:
        return len(self._hands) * len(_SHOWN)

    def __getitem__(self, index: int) -> EvaluationSample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)} of photographs")
        number, keypoints_px = self._hands[index // len(_SHOWN)]
        variant, photograph = _SHOWN[index % len(_SHOWN)], self._folder[number]
        image, camera = variant.of(photograph.load_image(), photograph.camera)
        there_px = variant.moved(keypoints_px, photograph.camera, camera)
        labels = HandSample(
            sample_id=f"{photograph.sample_id}, {variant.name}",
            load_image=lambda: image,
            camera=camera,
            side=None,
            box_px=box_around(there_px),
            keypoints_px=there_px,
            keypoints_valid=np.ones(21, bool),
        )
        return EvaluationSample(labels)


@dataclass(frozen=True)
class PhotographFigures:
    """One model on photographs; None where no hand was answered."""

    hands: int
    found: int
    """Of these, as they are."""
    variants: int
    variants_found: int
    variants_other_side: int
    """Of these: taken for the other hand than the photograph's own."""
    offset_share: dict[str, float] | None
    """Mean distance of the 21 keypoints from the detector's landmarks over the larger side of
    their box: median and p90 over hands."""
    disagreement_mm: dict[str, float] | None
    """Mean distance of the keypoints of a variant's hand from those of the photograph's own after
    Procrustes alignment: median and p90 over variants."""

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return dict(vars(self))


def photograph_figures(result: ModelResult, hands: int) -> PhotographFigures:
    """What a model's answers on `Photographs` with so many hands amount to."""
    answers = {case.index: case for case in result.cases}
    own = [answers[i] for i in range(0, hands * len(_SHOWN), len(_SHOWN)) if i in answers]
    offsets = [case.error for case in own if case.error is not None]
    disagreements_mm: list[float] = []
    other_side = 0
    for case in own:
        for index in range(case.index + 1, case.index + len(_SHOWN)):
            if index in answers:
                first, second = case.prediction, answers[index].prediction
                disagreements_mm.append(1e3 * pa_error_m(second.keypoints_m, first.keypoints_m))
                other_side += second.side is not first.side
    return PhotographFigures(
        hands=hands,
        found=len(own),
        variants=hands * len(VARIANTS),
        variants_found=len(answers) - len(own),
        variants_other_side=other_side,
        offset_share=_distribution(offsets),
        disagreement_mm=_distribution(disagreements_mm),
    )


def _distribution(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    median, p90 = np.percentile(values, (50, 90))
    return {"median": float(median), "p90": float(p90)}
