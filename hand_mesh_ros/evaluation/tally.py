"""One model's answers, counted and measured as they come in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.calibration import CalibrationReport, calibration
from hand_mesh_ros.evaluation.hand_errors import HandErrors, Hands, hand_errors
from hand_mesh_ros.evaluation.metrics import hint_pck
from hand_mesh_ros.evaluation.models import EvaluatedModel, Prediction
from hand_mesh_ros.evaluation.samples import Convention, EvaluationSample, SeenSample
from hand_mesh_ros.evaluation.summary import EvaluationSummary, joined, summarised, unmeasured
from hand_mesh_ros.evaluation.view_angle import view_angles_deg


@dataclass(frozen=True, eq=False)
class Case:
    """One answered hand, for pictures and submissions."""

    index: int
    """Of the sample in its set."""
    prediction: Prediction
    error: float | None
    """PA-MPJPE, mm; with 2D labels alone the mean distance, box sides; None without labels."""


@dataclass(frozen=True)
class Pck2d:
    """PCK@0.05 of the keypoints in the image; None where no label is of that kind."""

    pck_all: float | None
    pck_visible: float | None
    pck_occluded: float | None


@dataclass(frozen=True, eq=False)
class ModelResult:
    """Everything measured of one model on one set."""

    name: str
    keypoint_convention: Convention
    true_keypoint_convention: Convention
    """Differs from the model's where the set has no truth in the model's convention."""
    summary: EvaluationSummary
    wrong_side: int
    """Hands taken for the other one; like missed ones, the means know nothing of them."""
    pck: Pck2d | None
    """Only of sets without 3D labels."""
    calibration: CalibrationReport | None
    """None where the model gives no deviations."""
    errors: HandErrors | None
    indices: np.ndarray | None
    """(B,) numbers of the hands in `errors` in their set."""
    view_angles_deg: np.ndarray | None
    """(B,) of the hands in `errors`."""
    cases: tuple[Case, ...]


class Tally:
    """Collects a model's answers on one set."""

    def __init__(self, model: EvaluatedModel, *, keep_meshes: bool = False) -> None:
        """Start at nothing; the meshes of a large set, if kept, fill gigabytes."""
        self._keep_meshes = keep_meshes
        self._name = model.name
        self._convention: Convention = model.keypoint_convention
        self._true_convention: Convention = "anatomical"
        self._missed = self._wrong_side = 0
        self._errors: list[HandErrors] = []
        self._indices: list[int] = []
        self._view_angles_deg: list[float] = []
        self._deviations: list[tuple[np.ndarray, np.ndarray]] = []
        self._in_image: list[_InImage] = []
        self._cases: list[Case] = []

    def add(self, index: int, seen: SeenSample, prediction: Prediction | None) -> None:
        """Count one answer; None or one that is not finite is a missed hand."""
        sample = seen.sample
        if prediction is None or not _is_finite(prediction):
            self._missed += 1
            return
        if None not in (prediction.side, sample.labels.side) and (
            prediction.side is not sample.labels.side
        ):
            self._wrong_side += 1
            return
        error = None
        if sample.has_3d:
            error = self._measure(index, sample, prediction)
        elif sample.labels.keypoints_valid.any():
            in_image = _InImage.of(sample, prediction)
            self._in_image.append(in_image)
            error = in_image.mean_share
        if not self._keep_meshes:
            prediction = replace(prediction, vertices_m=None)
        self._cases.append(Case(index, prediction, error))

    def result(self) -> ModelResult:
        """What the answers so far amount to."""
        errors = joined(self._errors) if self._errors else None
        return ModelResult(
            name=self._name,
            keypoint_convention=self._convention,
            true_keypoint_convention=self._true_convention,
            summary=unmeasured(samples=len(self._in_image), missed=self._missed)
            if errors is None
            else summarised(errors, missed=self._missed),
            wrong_side=self._wrong_side,
            pck=_pck(self._in_image) if self._in_image and errors is None else None,
            calibration=_calibrated(self._deviations),
            errors=errors,
            indices=np.array(self._indices) if errors is not None else None,
            view_angles_deg=np.array(self._view_angles_deg) if errors is not None else None,
            cases=tuple(self._cases),
        )

    def _measure(self, index: int, sample: EvaluationSample, prediction: Prediction) -> float:
        true_m, self._true_convention = sample.true_keypoints_m(self._convention)
        true_vertices_m = sample.labels.vertices_m
        errors = hand_errors(
            Hands(
                prediction.keypoints_m[None],
                None if prediction.vertices_m is None else prediction.vertices_m[None],
                prediction.hand_model,
                prediction.in_camera_space,
            ),
            Hands(
                true_m[None],
                None if true_vertices_m is None else true_vertices_m[None],
                sample.hand_model,
            ),
        )
        self._errors.append(errors)
        self._indices.append(index)
        side = Side.RIGHT if sample.labels.side is None else sample.labels.side
        self._view_angles_deg.append(float(view_angles_deg(true_m, side)))
        if prediction.keypoint_stddev_m is not None:
            error_m = _about_the_centre_m(prediction.keypoints_m, true_m)
            self._deviations.append((error_m, prediction.keypoint_stddev_m))
        return float(errors.pa_mpjpe_mm[0])


@dataclass(frozen=True, eq=False)
class _InImage:
    """One hand as 2D labels see it."""

    keypoints_px: np.ndarray
    target_px: np.ndarray
    box_side_px: float
    valid: np.ndarray
    visible: np.ndarray | None

    @classmethod
    def of(cls, sample: EvaluationSample, prediction: Prediction) -> _InImage:
        labels = sample.labels
        x0, y0, x1, y1 = labels.box_px
        return cls(
            keypoints_px=prediction.keypoints_px,
            target_px=labels.keypoints_px,
            box_side_px=max(float(x1 - x0), float(y1 - y0)),
            valid=labels.keypoints_valid,
            visible=labels.keypoints_visible,
        )

    @property
    def mean_share(self) -> float:
        """Mean distance of the labelled keypoints, box sides."""
        distance = np.linalg.norm(self.keypoints_px - self.target_px, axis=1)[self.valid]
        return float(distance.mean()) / self.box_side_px


def _pck(hands: list[_InImage]) -> Pck2d:
    keypoints_px, target_px, valid = (
        np.stack([getattr(hand, name) for hand in hands])
        for name in ("keypoints_px", "target_px", "valid")
    )  # (B, 21, 2), (B, 21, 2), (B, 21)
    sides = np.array([hand.box_side_px for hand in hands])

    def share(counted: np.ndarray) -> float | None:
        return hint_pck(
            keypoints_px, target_px, box_side_px=sides, confidence=counted.astype(float)
        )

    visible = [hand.visible for hand in hands]
    known = [v for v in visible if v is not None]
    if len(known) < len(visible):
        return Pck2d(share(valid), None, None)
    seen = np.stack(known)
    return Pck2d(share(valid), share(valid & seen), share(valid & ~seen))


def _about_the_centre_m(keypoints_m: np.ndarray, true_m: np.ndarray) -> np.ndarray:
    """(21, 3) m, errors of two hands laid together by their centres and made equally large.

    That is what deviations speak of: the root's own covariance has place and size.
    """
    found, true = keypoints_m - keypoints_m.mean(0), true_m - true_m.mean(0)
    return found * (found * true).sum() / (found * found).sum() - true


def _calibrated(deviations: list[tuple[np.ndarray, np.ndarray]]) -> CalibrationReport | None:
    if not deviations:
        return None
    error_m = np.concatenate([error for error, _ in deviations])  # (20 B, 3)
    stddev_m = np.concatenate([stddev for _, stddev in deviations])  # (20 B) or (20 B, 3)
    estimated = stddev_m > 0.0 if stddev_m.ndim == 1 else (stddev_m > 0.0).all(1)
    if not estimated.any():
        return None
    return calibration(error_m[estimated], stddev_m[estimated])


def _is_finite(prediction: Prediction) -> bool:
    vertices_m = prediction.vertices_m
    return bool(
        np.isfinite(prediction.keypoints_m).all()
        and (vertices_m is None or np.isfinite(vertices_m).all())
    )
