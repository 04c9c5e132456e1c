"""Frames of a video file, at its own pace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.sources.base import DEFAULT_FRAME_ID, NS_PER_S, SourceError
from hand_mesh_ros.sources.calibration import camera_for_file, fitted
from hand_mesh_ros.types import Frame

_RATE_IF_UNKNOWN_HZ = 30.0


class VideoSource:
    """A video file; every iteration starts at its beginning."""

    def __init__(
        self,
        path: Path,
        *,
        fov_deg: float = 60.0,
        camera: Camera | None = None,
        start_ns: int = 0,
        frame_id: str = DEFAULT_FRAME_ID,
    ) -> None:
        """Open a video.

        Args:
            path: file.
            fov_deg: horizontal field of view assumed where no calibration is found.
            camera: calibration, or None to look beside the file.
            start_ns: added to the video's own time.
            frame_id: TF frame of the images.

        Raises:
            SourceError: it has no frame that can be decoded, or another size than the calibration.
        """
        self._path, self._start_ns, self._frame_id = path, start_ns, frame_id
        capture = open_capture(str(path))
        try:
            found, first = capture.read()
            rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        finally:
            capture.release()
        if not found:
            raise SourceError(
                f"no frame of {path} can be decoded as video; expected an image, a folder of "
                "images, or a video such as mp4 or avi (try: ffprobe on the file)"
            )
        self.rate_hz = rate_hz if 0.0 < rate_hz < 1e4 else _RATE_IF_UNKNOWN_HZ
        self.num_frames = count if count > 0 else None
        height, width = first.shape[:2]
        self.camera = (
            camera_for_file(path, width, height, fov_deg)
            if camera is None
            else fitted(camera, width, height, str(path))
        )

    def __iter__(self) -> Iterator[Frame]:
        capture = open_capture(str(self._path))
        time_s = -1.0 / self.rate_hz
        try:
            while True:
                found, image = capture.read()
                if not found:
                    return
                # Presentation time: the pace of a phone's video varies. Not every container has it.
                shown_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
                time_s = shown_s if shown_s > time_s else time_s + 1.0 / self.rate_hz
                stamp_ns = self._start_ns + round(time_s * NS_PER_S)
                yield Frame(rgb(image), self.camera, stamp_ns, self._frame_id)
        finally:
            capture.release()

    def close(self) -> None:
        """Nothing to let go of: each iteration closes what it opened."""


def open_capture(what: str | int) -> cv2.VideoCapture:
    """An OpenCV capture of a file or device, opened without the library's own complaints."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first file is opened
    if not hasattr(cv2, "setLogLevel"):  # distributions' older OpenCV
        return cv2.VideoCapture(what)
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        return cv2.VideoCapture(what)
    finally:
        cv2.setLogLevel(level)


def rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB of what OpenCV captured: BGR, or one channel of grey."""
    grey = image.ndim == 2 or image.shape[2] == 1
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB)
