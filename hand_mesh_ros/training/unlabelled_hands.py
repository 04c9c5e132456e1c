"""Pictures of single hands to pre-train on, rendered or from a folder; and some with labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.hand_crops import HandCrops, fill_crop_folder
from hand_mesh_ros.training.synthetic import SyntheticBatch, SyntheticImages
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.typed_config import check_ranges, option

_LABELLED_BANK_SEED = 0x7A11D
"""Poses of the hands with labels: others than training draws."""


@dataclass(frozen=True)
class UnlabelledConfig:
    """Where images come from."""

    crops_dir: str = option("", "folder of square crops of hands; empty: rendered hands")
    crops_from: tuple[str, ...] = option(
        (), "images, folders and videos; cut into crops_dir by the detector while that has no image"
    )
    every: int = option(5, "take each that many frames of crops_from", minimum=1)
    engine: SyntheticConfig = field(
        default_factory=SyntheticConfig,
        metadata={"text": "of rendered hands; size_px is the network's"},
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.crops_from and not self.crops_dir:
            raise ValueError("crops_from is given without crops_dir, the folder to cut into")


class UnlabelledHands:
    """Draws images; what is needed is opened, rendered or cut at the first draw."""

    def __init__(
        self, config: UnlabelledConfig, model: HandModel, *, size_px: int, labelled_poses: int
    ) -> None:
        """Keep what to draw.

        Args:
            config: where images come from.
            model: the right hand that is rendered.
            size_px: side of the images.
            labelled_poses: how many poses `labelled` draws from; training draws others.
        """
        self._config, self._model, self._size_px = config, model, size_px
        self._labelled_poses = labelled_poses

    @property
    def from_disk(self) -> bool:
        """Whether images are read, not rendered."""
        return bool(self._config.crops_dir)

    def images(self, n: int, rng: np.random.Generator, device: torch.device) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1], decided by the state of `rng`; those of files on the CPU.

        Raises:
            DatasetError: the folder, a source or an image cannot be read.
        """
        if self.from_disk:
            return self._crops.images(rng.integers(len(self._crops), size=n))
        return self._engine.batch(n, int(rng.integers(2**62)), device).image

    def labelled(self, n: int, rng: np.random.Generator, device: torch.device) -> SyntheticBatch:
        """N rendered hands, decided by the state of `rng`."""
        return self._labelled_engine.batch(n, int(rng.integers(2**62)), device)

    @cached_property
    def _engine(self) -> SyntheticImages:
        return SyntheticImages(self._model, replace(self._config.engine, size_px=self._size_px))

    @cached_property
    def _labelled_engine(self) -> SyntheticImages:
        config = replace(
            self._config.engine,
            size_px=self._size_px,
            bank_size=self._labelled_poses,
            bank_seed=_LABELLED_BANK_SEED,
            background_folder=None,
        )
        return SyntheticImages(self._model, config)

    @cached_property
    def _crops(self) -> HandCrops:
        folder = Path(self._config.crops_dir).expanduser()
        empty = not folder.is_dir() or not any(folder.iterdir())
        if self._config.crops_from and empty:
            # Imported late: crops that are there already need no detector.
            from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands

            detector = MediaPipeHands()
            try:
                fill_crop_folder(
                    folder,
                    self._config.crops_from,
                    detector,
                    size_px=self._size_px,
                    every=self._config.every,
                )
            finally:
                detector.close()
        return HandCrops(folder, self._size_px)
