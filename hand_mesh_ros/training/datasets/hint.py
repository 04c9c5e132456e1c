"""HInt (Pavlakos et al., CVPR 2024): one hand an image, 2D points with occlusion, nothing in 3D.

A .json beside each .jpg; the side is in the file's name. Frames of Ego4D have to be extracted by
the user, so labels without an image are left out. Any data in that form can be read.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.training.datasets.base import DatasetError, HandDataset, HandSample
from hand_mesh_ros.training.datasets.image_file import ReadImage, read_image
from hand_mesh_ros.training.datasets.label_files import (
    existing_folder,
    read_json,
    require_array,
    require_choice,
)
from hand_mesh_ros.training.datasets.registry import register_dataset

SPLITS = ("train", "val", "test")
SUBSETS = ("newdays_img", "epick_img", "ego4d_img", "ego4d_seq")
_SIDE_OF_SUFFIX = {"_l": Side.LEFT, "_r": Side.RIGHT}

log = logging.getLogger(__name__)


@register_dataset("hint")
class HInt(HandDataset):
    """`{TRAIN,VAL,TEST}_{newdays_img,epick_img,ego4d_img,ego4d_seq}/NAME_{l,r}.{jpg,json}`."""

    def __init__(
        self,
        root: Path | str,
        *,
        split: str = "test",
        subset: str = "newdays_img",
        fov_deg: float = 60.0,
    ) -> None:
        """Choose what to read; nothing is read yet.

        Args:
            root: the folder with TEST_newdays_img and the like.
            split: "train", "val" or "test".
            subset: "newdays_img", "epick_img", "ego4d_img" or "ego4d_seq" (not in "train").
            fov_deg: horizontal field of view assumed for every image.
        """
        self.split = require_choice("split", split, SPLITS)
        require_choice("subset", subset, SUBSETS)
        self.folder = existing_folder(
            Path(root) / f"{split.upper()}_{subset}", "HInt: pairs of NAME_l.jpg and NAME_l.json"
        )
        self._fov_deg = fov_deg

    def __len__(self) -> int:
        return len(self._labels)

    def _sample(self, index: int) -> HandSample:
        path = self._labels[index]
        entries = read_json(path, "a list with one hand")
        if not isinstance(entries, list) or len(entries) != 1:
            raise DatasetError(f"{path}: expected a list with one hand, got {entries!r:.60}")
        image = read_image(path.with_suffix(".jpg"))  # nothing else tells its size
        return HandSample(
            sample_id=f"{self.folder.name}/{path.stem}",
            load_image=ReadImage(image),
            camera=Camera.from_fov(image.shape[1], image.shape[0], self._fov_deg),
            side=_SIDE_OF_SUFFIX[path.stem[-2:]],
            box_px=require_array(entries[0], "bbox", (1, 4), path)[0],
            keypoints_px=require_array(entries[0], "keypoints", (21, 2), path),
            keypoints_valid=np.ones(21, bool),
            keypoints_visible=require_array(entries[0], "occlusion", (21,), path) == 0.0,
        )

    @cached_property
    def _labels(self) -> list[Path]:
        labels = sorted(self.folder.glob("*.json"))
        if not labels:
            raise DatasetError(f"{self.folder}: has no .json; expected NAME_l.jpg and NAME_l.json")
        for path in labels:
            if path.stem[-2:] not in _SIDE_OF_SUFFIX:
                raise DatasetError(f"{path}: expected a name ending in _l or _r, it says the side")
        found = [path for path in labels if path.with_suffix(".jpg").is_file()]
        if not found:
            raise DatasetError(
                f"{self.folder}: {len(labels)} labels, but none of their images, such as "
                f"{labels[0].with_suffix('.jpg').name}; Ego4D's have to be extracted first"
            )
        if len(found) < len(labels):
            log.warning(
                "%s: %d of %d labels have no image",
                self.folder,
                len(labels) - len(found),
                len(labels),
            )
        return found
