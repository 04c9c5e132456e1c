"""Rendered Handpose Dataset (Zimmermann and Brox, ICCV 2017): rendered people, 320 x 320 px.

42 points an image: the left hand, then the right; each the wrist, then every finger from its tip
to its base. Camera axes are OpenCV's, metres. Its skeleton is not MANO's.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.safe_pickle import PickleReadError, load_plain_data
from hand_mesh_ros.training.datasets.base import (
    MIN_LABELLED,
    DatasetError,
    HandDataset,
    HandSample,
    box_around,
)
from hand_mesh_ros.training.datasets.image_file import ImageFile
from hand_mesh_ros.training.datasets.label_files import (
    existing_file,
    existing_folder,
    require_array,
    require_choice,
)
from hand_mesh_ros.training.datasets.registry import register_dataset

SIZE_PX = 320
SPLITS = ("training", "evaluation")
MAX_LABEL_BYTES = 1 << 28  # the training labels have about 100 MB
idx_rhd_to_keypoints = np.array(
    [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
)
_POINTS_OF = {Side.LEFT: slice(0, 21), Side.RIGHT: slice(21, 42)}


class _Hand(NamedTuple):
    number: int
    side: Side


@register_dataset("rhd")
class Rhd(HandDataset):
    """`training/{color/%05d.png, anno_training.pickle}`, and the same for evaluation."""

    def __init__(self, root: Path | str, *, split: str = "training") -> None:
        """Choose what to read; nothing is read yet.

        A picture gives a sample for each hand with at least `MIN_LABELLED` visible points; the
        others are behind the body or outside the image.

        Args:
            root: the folder RHD_published_v2.
            split: "training" or "evaluation".
        """
        self.split = require_choice("split", split, SPLITS)
        self.folder = existing_folder(root, "RHD: training and evaluation") / split

    def __len__(self) -> int:
        return len(self._hands)

    def _sample(self, index: int) -> HandSample:
        hand = self._hands[index]
        entry = self._labels[hand.number]
        camera = Camera(SIZE_PX, SIZE_PX, require_array(entry, "K", (3, 3), self._path))
        uv = require_array(entry, "uv_vis", (42, 3), self._path)[_POINTS_OF[hand.side]]
        xyz = require_array(entry, "xyz", (42, 3), self._path)[_POINTS_OF[hand.side]]
        keypoints_px, keypoints_m = uv[idx_rhd_to_keypoints, :2], xyz[idx_rhd_to_keypoints]
        return HandSample(
            sample_id=f"{self.split}/{hand.number:05d}/{hand.side.name.lower()}",
            load_image=ImageFile(
                self.folder / "color" / f"{hand.number:05d}.png", SIZE_PX, SIZE_PX
            ),
            camera=camera,
            side=hand.side,
            box_px=box_around(keypoints_px),
            keypoints_px=keypoints_px,
            keypoints_valid=np.ones(21, bool),
            keypoints_visible=uv[idx_rhd_to_keypoints, 2] > 0.0,
            keypoints_m=keypoints_m,
            root_m=keypoints_m[0],
        )

    @cached_property
    def _hands(self) -> list[_Hand]:
        found = []
        for number, entry in sorted(self._labels.items()):
            visible = require_array(entry, "uv_vis", (42, 3), self._path)[:, 2] > 0.0
            for side in Side:
                if visible[_POINTS_OF[side]].sum() >= MIN_LABELLED:
                    found.append(_Hand(number, side))
        return found

    @cached_property
    def _labels(self) -> dict[int, dict[str, Any]]:
        existing_file(self._path, "the labels of all images")
        try:
            labels = load_plain_data(self._path, max_file_bytes=MAX_LABEL_BYTES)
        except PickleReadError as error:
            raise DatasetError(str(error)) from error
        if not isinstance(labels, dict) or not all(isinstance(key, int) for key in labels):
            raise DatasetError(f"{self._path}: expected a dictionary from image number to labels")
        return labels

    @property
    def _path(self) -> Path:
        return self.folder / f"anno_{self.split}.pickle"
