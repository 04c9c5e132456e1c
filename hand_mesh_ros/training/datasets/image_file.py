"""Image files decoded when they are asked for, with damage noticed and named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hand_mesh_ros.image_bytes import ImageBytesError, decode_image
from hand_mesh_ros.training.datasets.base import ImageError


@dataclass(frozen=True)
class ImageFile:
    """Loads one file as (H, W, 3) uint8 RGB; can be sent to worker processes."""

    path: Path
    width: int
    height: int

    def __call__(self) -> np.ndarray:
        """Decode it; raises ImageError naming the file."""
        image = read_image(self.path)
        if image.shape[:2] != (self.height, self.width):
            raise ImageError(
                f"{self.path}: {image.shape[1]} x {image.shape[0]} px, its labels are for "
                f"{self.width} x {self.height}; use the images as the dataset has them"
            )
        return image


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image that had to be read anyway, because nothing else tells its size."""

    image: np.ndarray

    def __call__(self) -> np.ndarray:
        """The image."""
        return self.image


def read_image(path: Path, *, upright: bool = False) -> np.ndarray:
    """Read a file as (H, W, 3) uint8 RGB.

    Args:
        path: the file.
        upright: turn it as its EXIF orientation says. Labels refer to the pixels as stored.

    Raises:
        ImageError: it is missing, cut off or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot read this image ({error.strerror})") from error
    flags = cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = decode_image(data, flags)
    except ImageBytesError as error:
        raise ImageError(f"{path}: {error}; copy or download it again") from error
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
