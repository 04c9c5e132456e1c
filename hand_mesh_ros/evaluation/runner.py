"""The evaluation itself: every model on every hand, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

from hand_mesh_ros.evaluation.groups import Grouping, Membership
from hand_mesh_ros.evaluation.models import EvaluatedModel
from hand_mesh_ros.evaluation.samples import EvaluationSet, Losses, read_samples
from hand_mesh_ros.evaluation.tally import ModelResult, Tally

BATCH = 16

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All models on one set."""

    results: tuple[ModelResult, ...]
    """In the order of the models."""
    hands: int
    """That the models were shown."""
    unlabelled: int
    """Of these: hands without a label to compare with."""
    losses: Losses
    groups: Membership
    """Which of the hands are in which group."""


def evaluate(
    samples: EvaluationSet,
    models: Sequence[EvaluatedModel],
    *,
    limit: int | None = None,
    seed: int = 0,
    keep_meshes: bool = False,
    groupings: Sequence[Grouping] = (),
    show_progress: bool = True,
) -> Evaluation:
    """Show the hands of a set to all models and measure their answers.

    Args:
        samples: the set.
        models: each is asked about all hands, batch by batch.
        limit: a random subset of that many hands; None: all, in their order.
        seed: of the subset.
        keep_meshes: in the results' cases, for a submission.
        groupings: by which figures will be asked for.
        show_progress: with a bar on the terminal.
    """
    tallies = [Tally(model, keep_meshes=keep_meshes) for model in models]
    losses, hands, unlabelled = Losses([]), 0, 0
    groups = Membership(groupings)
    seen = read_samples(
        samples,
        limit=limit,
        seed=seed,
        with_images=any(model.needs_image for model in models),
        losses=losses,
    )
    total = len(samples) if limit is None else min(limit, len(samples))
    with tqdm(total=total, unit="hand", disable=not show_progress, leave=False) as bar:
        for batch in _batches(seen, BATCH):
            shown = [sample for _, sample in batch]
            for index, seen_sample in batch:
                groups.add(index, seen_sample.sample)
            for model, tally in zip(models, tallies, strict=True):
                for (index, sample), answer in zip(batch, model.predict(shown), strict=True):
                    tally.add(index, sample, answer)
            hands += len(batch)
            unlabelled += sum(not s.sample.labels.keypoints_valid.any() for s in shown)
            bar.update(len(batch))
    return Evaluation(tuple(tally.result() for tally in tallies), hands, unlabelled, losses, groups)


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
