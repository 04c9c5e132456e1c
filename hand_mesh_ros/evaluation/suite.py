"""A suite: all models of the package on the same hands, part by part, with nothing chosen by hand.

What a part asks is in its own file; here is which parts there are, what each model is called in
them, and what was left out and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hand_mesh_ros.assembly import IMAGE_NETWORKS
from hand_mesh_ros.evaluation.detections import SharedDetector
from hand_mesh_ros.evaluation.groups import OCCLUSION, SIDE, SIZE, SKIN, VIEW, Grouping
from hand_mesh_ros.evaluation.landmarks import MeasuredLandmarks
from hand_mesh_ros.evaluation.models import EvaluatedModel, ModelError, ModelOptions, build_model
from hand_mesh_ros.evaluation.photographs import Photographs
from hand_mesh_ros.evaluation.runner import Evaluation, evaluate
from hand_mesh_ros.evaluation.samples import Convention, EvaluationSet
from hand_mesh_ros.evaluation.synthetic_hands import SyntheticHands
from hand_mesh_ros.evaluation.tally import ModelResult
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.training.datasets.base import DatasetError

MODELS = ("landmarks:lifter", "pipeline:lifter", *IMAGE_NETWORKS, "mediapipe")
"""All that the package brings, in the order of tables; a network without weights is left out."""


class PartSkippedError(Exception):
    """A part cannot be evaluated here; its text is one line that says why."""


@dataclass(frozen=True)
class SuiteSettings:
    """What a user can choose."""

    samples: int = 2000
    """Hands of each part that is rendered."""
    seed: int = 1234
    models: tuple[str, ...] = MODELS
    photographs: Path | None = None
    """Folder of the part of that name."""


@dataclass(frozen=True)
class Part:
    """One set of hands and how models meet it."""

    open: Callable[[SuiteSettings, SharedDetector], EvaluationSet]
    """Raises PartSkippedError."""
    spec_of: Callable[[str], str | None]
    """What is built for a model of the suite; None where it has nothing to answer here."""
    keypoints: Convention = "anatomical"
    groupings: tuple[Grouping, ...] = ()


def _synthetic(settings: SuiteSettings, detector: SharedDetector) -> EvaluationSet:
    try:
        landmarks = MeasuredLandmarks()
    except OSError as error:
        raise PartSkippedError(f"the measured landmark noise cannot be read ({error})") from error
    return SyntheticHands(load_open_hand(), settings.samples, settings.seed, landmarks=landmarks)


def _occlusion(settings: SuiteSettings, detector: SharedDetector) -> EvaluationSet:
    try:
        from hand_mesh_ros.evaluation.occluded_hands import OccludedHands
    except ModuleNotFoundError as error:
        raise PartSkippedError(f"{error}; install it: pip install hand_mesh_ros[train]") from error
    return OccludedHands(load_open_hand(), settings.samples, settings.seed)


def _photographs(settings: SuiteSettings, detector: SharedDetector) -> EvaluationSet:
    if settings.photographs is None:
        raise PartSkippedError("no --photographs DIR was given")
    try:
        return Photographs(settings.photographs, detector)
    except (DatasetError, ImportError, OSError) as error:
        raise PartSkippedError(str(error)) from error


def on_images(spec: str) -> str | None:
    """The same model from the image on, its landmarks found there by the detector.

    Landmarks whose errors were measured on hands that nothing hides know nothing of an occlusion,
    and a photograph comes without any.
    """
    kind = spec.partition(":")[0]
    if kind in IMAGE_NETWORKS:
        return f"pipeline:{spec}"
    return None if kind in ("landmarks", "lifter") else spec


PARTS = {
    "synthetic": Part(_synthetic, lambda spec: spec, groupings=(SIDE, SIZE, VIEW, SKIN)),
    "occlusion": Part(_occlusion, on_images, groupings=(OCCLUSION,)),
    "photographs": Part(_photographs, on_images, keypoints="detector"),
}
SUITES = {"release": ("synthetic", "occlusion", "photographs")}


@dataclass
class PartResult:
    """What came of one part."""

    name: str
    skipped: str | None = None
    """Why there is nothing else."""
    samples: EvaluationSet | None = None
    evaluation: Evaluation | None = None
    specs: dict[str, str] = field(default_factory=dict)
    """What was built for each model of the suite that was evaluated."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why other models were not, one line each."""

    def result_of(self, model: str) -> ModelResult | None:
        """Of a model of the suite."""
        if self.evaluation is None or model not in self.specs:
            return None
        built = list(dict.fromkeys(self.specs.values()))
        return self.evaluation.results[built.index(self.specs[model])]


def run_suite(
    name: str, settings: SuiteSettings, detector: SharedDetector, *, show_progress: bool = True
) -> list[PartResult]:
    """Evaluate all parts of a suite, one after the other.

    Args:
        name: one of `SUITES`.
        settings: the user's.
        detector: for all models; the caller closes it.
        show_progress: with bars on the terminal.
    """
    return [_run_part(part, settings, detector, show_progress) for part in SUITES[name]]


def _run_part(
    name: str, settings: SuiteSettings, detector: SharedDetector, show_progress: bool
) -> PartResult:
    part, result = PARTS[name], PartResult(name)
    wanted = {model: part.spec_of(model) for model in settings.models}
    for model, spec in wanted.items():
        if spec is None:
            result.left_out[model] = "it sees no image, and there are no landmarks without one"
    try:
        if all(spec is None for spec in wanted.values()):
            raise PartSkippedError("no model that looks at images was asked for")
        result.samples = part.open(settings, detector)
    except PartSkippedError as error:
        result.skipped = str(error)
        return result
    options = ModelOptions(keypoints=part.keypoints, detector=detector)
    with contextlib.ExitStack() as stack:
        built = _built(wanted, options, result)
        for model in built:
            stack.callback(model.close)
        if built:
            result.evaluation = evaluate(
                result.samples, built, groupings=part.groupings, show_progress=show_progress
            )
        else:
            result.skipped = "no model could be built"
    return result


def _built(
    wanted: dict[str, str | None], options: ModelOptions, result: PartResult
) -> Sequence[EvaluatedModel]:
    """What can be built here, each once; the rest is noted in `result`."""
    built: dict[str, EvaluatedModel] = {}
    for model, spec in wanted.items():
        if spec is None:
            continue
        try:
            if spec not in built:
                built[spec] = build_model(spec, options)
            result.specs[model] = spec
        except ModelError as error:
            result.left_out[model] = str(error).removeprefix(f"model {spec!r}: ")
    return list(built.values())
