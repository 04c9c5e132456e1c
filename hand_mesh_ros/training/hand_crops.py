"""Pictures of single hands without labels: a folder of square crops, cut once by a detector."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from hand_mesh_ros.cropping import aim_crop, crop_image
from hand_mesh_ros.detection.base import Detector
from hand_mesh_ros.sources.base import SourceError
from hand_mesh_ros.sources.files import list_images, open_source
from hand_mesh_ros.training.datasets.base import DatasetError
from hand_mesh_ros.training.datasets.image_file import read_image
from hand_mesh_ros.types import Frame

BOX_FACTOR = 2.0
"""Side of a crop over the larger side of the landmarks' box: views are cut out of it later."""
_SMALLEST_PX = 24
"""Smaller hands show too little."""
_JPEG_QUALITY = 92

log = logging.getLogger(__name__)


class HandCrops:
    """The images of a folder as square RGB tensors; read from disk each time."""

    def __init__(self, folder: Path, size_px: int) -> None:
        """List them.

        Raises:
            DatasetError: no such folder, or no image in it.
        """
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder of crops; name one, or what to cut")
        try:
            self._paths = list_images(folder)
        except SourceError as error:
            raise DatasetError(str(error)) from error
        self._size_px = size_px

    def __len__(self) -> int:
        return len(self._paths)

    def images(self, indices: Iterable[int]) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1]: the middle squares of these images.

        Raises:
            ImageError: one cannot be read.
        """
        squares = [self._square(self._paths[i]) for i in indices]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255.0

    def _square(self, path: Path) -> np.ndarray:
        image = read_image(path, upright=True)
        height, width = image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side]
        how = cv2.INTER_AREA if side > self._size_px else cv2.INTER_LINEAR
        return cv2.resize(square, (self._size_px, self._size_px), interpolation=how)


def fill_crop_folder(
    folder: Path, sources: Sequence[str], detector: Detector, *, size_px: int, every: int = 1
) -> int:
    """Cut all hands that a detector finds out of images, folders and videos.

    They are upright right hands, as the networks know them: left ones are mirrored.

    Args:
        folder: for the crops, made if needed.
        sources: as `open_source` takes them.
        detector: as for the live pipeline.
        size_px: side of the crops.
        every: take each that many frames.

    Returns:
        How many crops were written.

    Raises:
        DatasetError: a source cannot be read, no hand was found, or the disk refuses.
    """
    number = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for spec in sources:
            before = number
            for crop in _crops_of(spec, detector, size_px, every):
                _write(folder / f"{number:07d}.jpg", crop)
                number += 1
            log.info("%s: %d hands", spec, number - before)
    except SourceError as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{folder}: cannot write crops ({error.strerror})") from error
    if number == 0:
        raise DatasetError(f"no hand was found in {', '.join(sources)}; nothing to train on")
    return number


def _crops_of(spec: str, detector: Detector, size_px: int, every: int) -> Iterator[np.ndarray]:
    source = open_source(spec)
    detector.reset()
    try:
        for index, frame in enumerate(source):
            if index % every == 0:
                yield from _hands_of(frame, detector, size_px)
    finally:
        source.close()


def _hands_of(frame: Frame, detector: Detector, size_px: int) -> Iterator[np.ndarray]:
    for hand in detector.detect(frame.image, frame.stamp_ns):
        x0, y0, x1, y1 = hand.box_px
        if max(x1 - x0, y1 - y0) < _SMALLEST_PX:
            continue
        rays = frame.camera.rays(hand.keypoints_px)
        view = aim_crop(rays, hand.side, size_px=size_px, box_factor=BOX_FACTOR)
        if view is not None:
            yield crop_image(frame.image, frame.camera, view)


def _write(path: Path, crop_rgb: np.ndarray) -> None:
    bgr = np.ascontiguousarray(crop_rgb[..., ::-1])
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise DatasetError(f"{path}: OpenCV could not encode the crop")
    path.write_bytes(data.tobytes())
