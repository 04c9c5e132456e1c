"""Figures of some hands apart from the others: by side, size in the image, view, skin, occlusion.

The mean over all hands hides a group for which a model is bad; the worst group beside the best one
does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hand_mesh_ros.evaluation.samples import EvaluationSample
from hand_mesh_ros.evaluation.skin_tones import TONES, tone_of
from hand_mesh_ros.evaluation.summary import EvaluationSummary, summarised, unmeasured
from hand_mesh_ros.evaluation.tally import ModelResult
from hand_mesh_ros.evaluation.view_angle import view_angles_deg

MOST_WORST_OVER_BEST = 1.25
"""A model is said to treat groups alike while its worst has no more than so many times the error of
its best."""
_SIZE_BORDERS_PX = (80.0, 160.0)
"""About thirds of the synthetic set's hands."""
_EDGE_ON_DEG = (60.0, 120.0)
_HEAVY_SHARE = 0.25


@dataclass(frozen=True)
class Grouping:
    """One way to divide hands."""

    name: str
    groups: tuple[str, ...]
    """Names, in the order of tables."""
    group_of: Callable[[EvaluationSample], str | None]
    """None where the sample does not say."""


def _side(sample: EvaluationSample) -> str | None:
    return None if sample.labels.side is None else sample.labels.side.name.lower()


def _size(sample: EvaluationSample) -> str:
    x0, y0, x1, y1 = sample.labels.box_px
    return SIZE.groups[int(np.searchsorted(_SIZE_BORDERS_PX, max(x1 - x0, y1 - y0), "right"))]


def _view(sample: EvaluationSample) -> str | None:
    if not sample.has_3d or sample.labels.side is None:
        return None
    angle = view_angles_deg(sample.true_keypoints_m("anatomical")[0], sample.labels.side)
    return VIEW.groups[int(np.searchsorted(_EDGE_ON_DEG, angle, "right"))]


def _skin(sample: EvaluationSample) -> str | None:
    return None if sample.skin_ita_deg is None else tone_of(sample.skin_ita_deg)


def _occlusion(sample: EvaluationSample) -> str | None:
    hidden = sample.hidden_share
    if hidden is None:
        return None
    return OCCLUSION.groups[0 if hidden == 0.0 else 1 if hidden <= _HEAVY_SHARE else 2]


SIDE = Grouping("side", ("left", "right"), _side)
SIZE = Grouping("size", ("below 80 px", "80 to 160 px", "160 px and more"), _size)
"""By the larger side of the keypoints' box."""
VIEW = Grouping("view", ("palm", "edge", "back"), _view)
"""By the angle at which the palm is seen: below 60 degrees, between, above 120."""
SKIN = Grouping("skin", TONES, _skin)
OCCLUSION = Grouping("occlusion", ("none", "some", "heavy"), _occlusion)
"""By the share of keypoints that things hide: none, up to a quarter, more."""


class Membership:
    """Which hands of an evaluation are in which group; grows while they are read."""

    def __init__(self, groupings: Sequence[Grouping]) -> None:
        self._groupings = tuple(groupings)
        self._indices: dict[str, dict[str, list[int]]] = {
            grouping.name: {group: [] for group in grouping.groups} for grouping in groupings
        }

    def add(self, index: int, sample: EvaluationSample) -> None:
        """Note the groups of the hand of that number."""
        for grouping in self._groupings:
            group = grouping.group_of(sample)
            if group is not None:
                self._indices[grouping.name][group].append(index)

    def __getitem__(self, grouping: str) -> Mapping[str, Sequence[int]]:
        """Numbers of the hands of each group."""
        return self._indices[grouping]


@dataclass(frozen=True)
class GroupFigures:
    """One model on the hands of one group."""

    hands: int
    """In the group, answered or not."""
    summary: EvaluationSummary
    """Of those that were answered; `missed` counts a hand taken for the other one as well."""

    @property
    def answered_share(self) -> float | None:
        """None of a group without hands."""
        return self.summary.samples / self.hands if self.hands else None

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"hands": self.hands, **self.summary.as_json()}


def figures_of(result: ModelResult, indices: Sequence[int]) -> GroupFigures:
    """A model's figures on the hands of these numbers alone."""
    hands = len(indices)
    if result.errors is None or result.indices is None:
        return GroupFigures(hands, unmeasured(samples=0, missed=hands))
    chosen = np.isin(result.indices, np.asarray(indices, int))
    answered = int(chosen.sum())
    if answered == 0:
        return GroupFigures(hands, unmeasured(samples=0, missed=hands))
    return GroupFigures(hands, summarised(result.errors.rows(chosen), missed=hands - answered))


def grouped(result: ModelResult, members: Mapping[str, Sequence[int]]) -> dict[str, GroupFigures]:
    """A model's figures on each group."""
    return {group: figures_of(result, indices) for group, indices in members.items()}


def worst_over_best(groups: Mapping[str, GroupFigures]) -> float | None:
    """Largest PA-MPJPE of a group over the smallest; infinite where one was never answered.

    None with fewer than two groups that have hands.
    """
    errors = [g.summary.pa_mpjpe_mm for g in groups.values() if g.hands]
    if len(errors) < 2:
        return None
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return float("inf")
    return max(known) / min(known) if min(known) > 0.0 else 1.0 if max(known) == 0.0 else np.inf


def answered_by_all(results: Sequence[ModelResult]) -> list[int]:
    """Numbers of the hands for which every model has errors that has any."""
    answered = [set(r.indices.tolist()) for r in results if r.indices is not None]
    return sorted(set.intersection(*answered)) if answered else []
