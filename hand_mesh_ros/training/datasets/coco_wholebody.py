"""Hands of COCO-WholeBody (Jin et al., ECCV 2020): photographs, 2D labels alone.

Its 21 points are in MediaPipe's order, and "left" is the person's left. Nothing is known of the
cameras, so they are assumed.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.training.datasets.base import MIN_LABELLED, HandDataset, HandSample
from hand_mesh_ros.training.datasets.image_file import ImageFile
from hand_mesh_ros.training.datasets.label_files import (
    existing_folder,
    read_json,
    require,
    require_array,
    require_choice,
)
from hand_mesh_ros.training.datasets.registry import register_dataset

SPLITS = ("train", "val")


class _Hand(NamedTuple):
    person: int
    image: dict[str, Any]
    side: Side
    points: np.ndarray
    box_px: np.ndarray


@register_dataset("coco_wholebody")
class CocoWholeBody(HandDataset):
    """`annotations/coco_wholebody_{train,val}_v1.0.json`, `train2017`, `val2017`."""

    def __init__(self, root: Path | str, *, split: str = "train", fov_deg: float = 60.0) -> None:
        """Choose what to read; nothing is read yet.

        Only hands that the annotators call valid, with at least `MIN_LABELLED` labelled points.

        Args:
            root: the folder with `annotations`, `train2017` and `val2017`.
            split: "train" or "val".
            fov_deg: horizontal field of view assumed for every photograph.
        """
        self.root = existing_folder(root, "COCO: annotations, train2017, val2017")
        self.split = require_choice("split", split, SPLITS)
        self._fov_deg = fov_deg

    def __len__(self) -> int:
        return len(self._hands)

    def _sample(self, index: int) -> HandSample:
        hand = self._hands[index]
        camera = Camera.from_fov(hand.image["width"], hand.image["height"], self._fov_deg)
        path = self.root / f"{self.split}2017" / hand.image["file_name"]
        # v is 0 for "not labelled"; what it says of occlusion is not reliable for hands.
        valid = hand.points[:, 2] > 0.0
        return HandSample(
            sample_id=f"{self.split}/{hand.person}/{hand.side.name.lower()}",
            load_image=ImageFile(path, camera.width, camera.height),
            camera=camera,
            side=hand.side,
            box_px=hand.box_px,
            keypoints_px=np.where(valid[:, None], hand.points[:, :2], np.nan),
            keypoints_valid=valid,
        )

    @cached_property
    def _hands(self) -> list[_Hand]:
        path = self.root / "annotations" / f"coco_wholebody_{self.split}_v1.0.json"
        data = read_json(path, "images and annotations of COCO-WholeBody")
        images = {require(image, "id", path): image for image in require(data, "images", path)}
        found = []
        for person in require(data, "annotations", path):
            image = require(images, require(person, "image_id", path), path)
            for side in Side:
                name = f"{side.name.lower()}hand"
                if not require(person, f"{name}_valid", path):
                    continue
                points = require_array(person, f"{name}_kpts", (21, 3), path)
                if (points[:, 2] > 0.0).sum() < MIN_LABELLED:
                    continue
                x, y, width, height = require_array(person, f"{name}_box", (4,), path)
                box_px = np.array([x, y, x + width, y + height])
                found.append(_Hand(require(person, "id", path), image, side, points, box_px))
        return found
