"""What an evaluation is made on: hands with all the truth that is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from hand_mesh_ros.evaluation.landmarks import Landmarks
from hand_mesh_ros.evaluation.metrics import hand_length_m
from hand_mesh_ros.training.datasets.base import HandDataset, HandSample, ImageError, NoHandError

Convention = Literal["anatomical", "detector"]
"""Which 21 points are meant; see `HandModel.keypoint_regressors`."""


@dataclass(frozen=True, eq=False)
class EvaluationSample:
    """One hand, what a data set says of it, and what only a synthetic one knows."""

    labels: HandSample
    """Its keypoints are anatomical."""
    hand_model: str = "mano"
    """Whose topology `labels.vertices_m` has."""
    detector_keypoints_m: np.ndarray | None = None
    """(21, 3) m, camera frame: the truth in the detector's convention, where it is known."""
    load_landmarks: Callable[[], Landmarks] | None = None
    """What a detector might say of this hand, for models that see no image."""
    skin_ita_deg: float | None = None
    """Individual typology angle of the skin that was painted, see `skin_tones`; None: not known."""
    hidden_share: float | None = None
    """Of the keypoints that would show by themselves: hidden by things before the hand, 0 to 1;
    None: not known."""

    @property
    def has_3d(self) -> bool:
        """Whether all 21 keypoints are known in 3D."""
        return self.labels.keypoints_m is not None and bool(self.labels.keypoints_valid.all())

    def true_keypoints_m(self, convention: Convention) -> tuple[np.ndarray, Convention]:
        """(21, 3) m of that convention or, where the truth has none of it, anatomical ones."""
        if convention == "detector" and self.detector_keypoints_m is not None:
            return self.detector_keypoints_m, "detector"
        if self.labels.keypoints_m is None:
            raise ValueError(f"{self.labels.sample_id} has no 3D keypoints; ask `has_3d` first")
        return self.labels.keypoints_m, "anatomical"

    @property
    def hand_length_m(self) -> float | None:
        """True length of the flat hand, as `HandModel.hand_length_m` counts it."""
        if not self.has_3d or self.labels.keypoints_m is None:
            return None
        return float(hand_length_m(self.labels.keypoints_m))


@dataclass(frozen=True, eq=False)
class SeenSample:
    """A sample with its image loaded."""

    sample: EvaluationSample
    image: np.ndarray | None
    """(H, W, 3) uint8 RGB; None in an evaluation of models that need none."""


class EvaluationSet(Protocol):
    """Hands by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> EvaluationSample:
        """The sample; raises ImageError or NoHandError, see there."""
        ...


class DatasetSamples:
    """The hands of a data set."""

    def __init__(self, dataset: HandDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> EvaluationSample:
        return EvaluationSample(self._dataset[index])


@dataclass
class Losses:
    """What was asked for and could not be looked at; grows while samples are read."""

    corrupt_images: list[str]
    """Why, each in one line that names the file."""
    without_hand: int = 0
    """Frames of the set that show no labelled hand."""


def read_samples(
    samples: EvaluationSet,
    *,
    limit: int | None,
    seed: int,
    with_images: bool,
    losses: Losses,
) -> Iterator[tuple[int, SeenSample]]:
    """Give samples and their numbers; damaged ones are noted in `losses` and the rest goes on.

    Args:
        samples: all of them.
        limit: a random subset of that many hands; None: all, in their order.
        seed: of the subset.
        with_images: whether images are loaded.
        losses: where what is lost is noted.
    """
    order = np.arange(len(samples))
    if limit is not None and limit < len(samples):
        order = np.random.default_rng(seed).permutation(len(samples))
    given = 0
    for index in order.tolist():
        if given == limit:
            return
        try:
            sample = samples[index]
            image = sample.labels.load_image() if with_images else None
        except NoHandError:
            losses.without_hand += 1
            continue
        except ImageError as error:
            losses.corrupt_images.append(str(error))
            continue
        given += 1
        yield index, SeenSample(sample, image)
