"""Frames from still images, and the door to every source that a user can name."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.image_bytes import ImageBytesError, decode_image
from hand_mesh_ros.sources.base import (
    DEFAULT_FRAME_ID,
    Source,
    SourceError,
    nominal_stamp_ns,
)
from hand_mesh_ros.sources.calibration import camera_for_file, camera_from_yaml, fitted
from hand_mesh_ros.sources.video import VideoSource
from hand_mesh_ros.sources.webcam import WebcamSource
from hand_mesh_ros.types import Frame

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
_WEBCAM = re.compile(r"(?:webcam:|/dev/video)?(\d+)")

log = logging.getLogger(__name__)


def open_source(
    spec: str,
    *,
    fov_deg: float = 60.0,
    camera_info_path: str | Path | None = None,
    rate_hz: float | None = None,
    start_ns: int = 0,
    repeat: int = 1,
    frame_id: str = DEFAULT_FRAME_ID,
) -> Source:
    """Open what the user named: an image, a folder, a video, or "webcam:0", "/dev/video0", "0".

    Args:
        spec: path or device.
        fov_deg: horizontal field of view assumed where no calibration is found.
        camera_info_path: calibration (YAML as of ROS camera_info) for every frame; else files
            beside the images are used, see `calibration.camera_for_file`.
        rate_hz: pace of still images (default 10), or asked of a webcam (default 30); a video has
            its own.
        start_ns: stamp of the first frame; a webcam has the clock's time.
        repeat: how often stills are shown one after the other, 0 for ever.
        frame_id: TF frame of the images.

    Raises:
        SourceError: nothing there, or nothing that can be read as images.
    """
    if rate_hz is not None and not rate_hz > 0.0:
        raise SourceError(f"the rate must be above 0 Hz, got {rate_hz}")
    camera = None if camera_info_path is None else camera_from_yaml(Path(camera_info_path))
    path = Path(spec).expanduser()
    device = _WEBCAM.fullmatch(spec)
    # A file called "0" is still a file; /dev/video0 exists, but only as a device.
    if device and not (path.is_file() or path.is_dir()):
        return WebcamSource(
            int(device[1]),
            rate_hz=rate_hz or 30.0,
            fov_deg=fov_deg,
            camera=camera,
            frame_id=frame_id,
        )
    if not path.exists():
        raise SourceError(
            f"no such image, folder or video: {spec}; give a path, or webcam:0 for a camera"
        )
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(
            list_images(path) if path.is_dir() else [path],
            rate_hz=rate_hz or 10.0,
            fov_deg=fov_deg,
            camera=camera,
            start_ns=start_ns,
            repeat=repeat,
            frame_id=frame_id,
        )
    return VideoSource(path, fov_deg=fov_deg, camera=camera, start_ns=start_ns, frame_id=frame_id)


def list_images(folder: Path) -> list[Path]:
    """Images of a folder (not below it) in natural order: 2.png before 10.png.

    Raises:
        SourceError: there is none.
    """
    found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    found = [p for p in found if not p.name.startswith(".")]
    if not found:
        raise SourceError(
            f"no images in the folder {folder}; expected files ending in "
            + ", ".join(sorted(IMAGE_SUFFIXES))
        )
    return sorted(found, key=_natural_key)


class ImageSource:
    """Still images, each with its own size and camera; one that cannot be read is skipped."""

    def __init__(
        self,
        paths: list[Path],
        *,
        rate_hz: float = 10.0,
        fov_deg: float = 60.0,
        camera: Camera | None = None,
        start_ns: int = 0,
        repeat: int = 1,
        frame_id: str = DEFAULT_FRAME_ID,
    ) -> None:
        """Take images by their paths.

        Args:
            paths: in the order to show.
            rate_hz: nominal pace.
            fov_deg: assumed where no calibration is found.
            camera: for all images, or None to look beside each one.
            start_ns: stamp of the first frame.
            repeat: how often all of them are shown, 0 for ever.
            frame_id: TF frame of the images.
        """
        self.paths, self.rate_hz = paths, rate_hz
        self._fov_deg, self._camera = fov_deg, camera
        self._start_ns, self._repeat, self._frame_id = start_ns, repeat, frame_id
        self._unreadable: set[Path] = set()

    @property
    def num_frames(self) -> int | None:
        """How many frames will come, as far as the images can be read; None for ever."""
        readable = len(self.paths) - len(self._unreadable)
        return readable * self._repeat if self._repeat else None

    def __iter__(self) -> Iterator[Frame]:
        index, rounds = 0, 0
        while self._repeat == 0 or rounds < self._repeat:
            for path in self.paths:
                image = None if path in self._unreadable else self._read(path)
                if image is not None:
                    stamp_ns = nominal_stamp_ns(index, self.rate_hz, self._start_ns)
                    yield Frame(image, self._camera_of(path, image), stamp_ns, self._frame_id)
                    index += 1
            if len(self._unreadable) == len(self.paths):
                raise SourceError(
                    f"none of {len(self.paths)} image(s) could be read as an image, "
                    f"the first: {self.paths[0]}; check that the files are whole"
                )
            rounds += 1

    def close(self) -> None:
        """Nothing to let go of."""

    def _read(self, path: Path) -> np.ndarray | None:
        # Not cv2.imread: it prints complaints of its own, and fails on some non-ASCII paths.
        try:
            image = decode_image(path.read_bytes())
        except (OSError, ImageBytesError) as error:
            log.warning("skipped %s: %s", path, error)
            self._unreadable.add(path)
            return None
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def _camera_of(self, path: Path, image: np.ndarray) -> Camera:
        height, width = image.shape[:2]
        if self._camera is not None:
            return fitted(self._camera, width, height, str(path))
        return camera_for_file(path, width, height, self._fov_deg)


def _natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Runs of digits count as numbers; the plain name decides between "1" and "01"."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p)) if p.isdigit() else (1, p) for p in parts], path.name
