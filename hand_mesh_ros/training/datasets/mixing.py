"""Several datasets as one, in given shares."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from hand_mesh_ros.training.datasets.base import DatasetError, HandDataset, HandSample


class MixedDataset(HandDataset):
    """One epoch of a mixture: exact shares, shuffled, the same for the same seed and epoch.

    Within a dataset every sample comes once before any comes again.
    """

    def __init__(
        self,
        parts: Sequence[tuple[HandDataset, float]],
        *,
        length: int | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        """Plan an epoch.

        Args:
            parts: each dataset and its weight; the shares are weights over their sum.
            length: samples in an epoch; None: as many as all datasets have together.
            seed: of the shuffling.
            epoch: shuffles anew, see `for_epoch`.

        Raises:
            DatasetError: no parts, an empty one, or a weight that is not above 0.
        """
        if not parts:
            raise DatasetError("a mixture needs at least one dataset, got none")
        self._datasets = tuple(dataset for dataset, _ in parts)
        self._weights = np.array([weight for _, weight in parts], np.float64)
        if not (np.isfinite(self._weights).all() and (self._weights > 0.0).all()):
            raise DatasetError(f"weights must be above 0, got {self._weights.tolist()}")
        sizes = [len(dataset) for dataset in self._datasets]
        if 0 in sizes:
            raise DatasetError(f"dataset {sizes.index(0)} of the mixture is empty")
        if length is not None and length < 1:
            raise DatasetError(f"an epoch needs at least one sample, got length {length}")
        self._sizes, self._length = sizes, sum(sizes) if length is None else length
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return self._length

    def _sample(self, index: int) -> HandSample:
        part, item = self.place_of(index)
        return self._datasets[part][item]

    def place_of(self, index: int) -> tuple[int, int]:
        """Which dataset (by number) and which of its samples an index stands for."""
        part, item = self._plan[index]
        return int(part), int(item)

    def for_epoch(self, epoch: int) -> MixedDataset:
        """The same mixture, shuffled for another epoch."""
        parts = list(zip(self._datasets, self._weights.tolist(), strict=True))
        return MixedDataset(parts, length=self._length, seed=self._seed, epoch=epoch)

    @cached_property
    def _plan(self) -> np.ndarray:
        """(length, 2) number of the dataset, number of its sample."""
        rng = np.random.default_rng((self._seed, self._epoch))
        plan = []
        for part, (count, size) in enumerate(zip(self._counts(), self._sizes, strict=True)):
            rounds = [rng.permutation(size) for _ in range(-(-count // size))]
            items = np.concatenate([np.empty(0, np.int64), *rounds])[:count]
            plan.append(np.stack([np.full(count, part), items], axis=1))
        return rng.permutation(np.concatenate(plan))

    def _counts(self) -> list[int]:
        """Samples of each dataset; what rounding leaves goes to the largest remainders."""
        wanted = self._length * self._weights / self._weights.sum()
        counts = np.floor(wanted).astype(int)
        left = self._length - int(counts.sum())
        counts[np.argsort(counts - wanted, kind="stable")[:left]] += 1
        return counts.tolist()
