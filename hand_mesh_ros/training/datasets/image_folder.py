"""A plain folder of pictures: no labels, for pictures of results and training without labels."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from hand_mesh_ros.sources.base import SourceError
from hand_mesh_ros.sources.calibration import camera_for_file
from hand_mesh_ros.sources.files import list_images
from hand_mesh_ros.training.datasets.base import (
    DatasetError,
    HandDataset,
    HandSample,
    box_of_image,
)
from hand_mesh_ros.training.datasets.image_file import ReadImage, read_image
from hand_mesh_ros.training.datasets.label_files import existing_folder
from hand_mesh_ros.training.datasets.registry import register_dataset


@register_dataset("image_folder")
class ImageFolder(HandDataset):
    """The images of one folder in natural order, each as one sample without a label."""

    def __init__(self, root: Path | str, *, fov_deg: float = 60.0) -> None:
        """Choose what to read; nothing is read yet.

        Args:
            root: the folder; calibrations beside the images are used, see `camera_for_file`.
            fov_deg: horizontal field of view assumed where there is none.
        """
        self.folder = existing_folder(root, "images")
        self._fov_deg = fov_deg

    def __len__(self) -> int:
        return len(self._paths)

    def _sample(self, index: int) -> HandSample:
        path = self._paths[index]
        image = read_image(path, upright=True)  # nothing else tells its size
        try:
            camera = camera_for_file(path, image.shape[1], image.shape[0], self._fov_deg)
        except SourceError as error:
            raise DatasetError(str(error)) from error
        return HandSample(
            sample_id=path.name,
            load_image=ReadImage(image),
            camera=camera,
            side=None,
            box_px=box_of_image(camera),
            keypoints_px=np.full((21, 2), np.nan),
            keypoints_valid=np.zeros(21, bool),
        )

    @cached_property
    def _paths(self) -> list[Path]:
        try:
            return list_images(self.folder)
        except SourceError as error:
            raise DatasetError(str(error)) from error
