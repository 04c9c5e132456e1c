"""Frames of a camera attached to this computer, through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.sources.base import DEFAULT_FRAME_ID, SourceError
from hand_mesh_ros.sources.calibration import fitted
from hand_mesh_ros.sources.video import open_capture, rgb
from hand_mesh_ros.types import Frame

_MOST_FAILED_READS = 10


class WebcamSource:
    """A live camera; endless until it is closed or unplugged."""

    num_frames = None

    def __init__(
        self,
        device: int,
        *,
        rate_hz: float = 30.0,
        size: tuple[int, int] | None = None,
        fov_deg: float = 60.0,
        camera: Camera | None = None,
        frame_id: str = DEFAULT_FRAME_ID,
    ) -> None:
        """Open a camera.

        Args:
            device: its number, N of /dev/videoN.
            rate_hz: asked for; `rate_hz` of the source is what the camera agreed to.
            size: width and height in px asked for; None for the calibration's or the camera's.
            fov_deg: horizontal field of view assumed where there is no calibration.
            camera: calibration.
            frame_id: TF frame of the images.

        Raises:
            SourceError: no such camera, none that gives images, or not of the calibration's shape.
        """
        self._device, self._frame_id = device, frame_id
        self._capture = open_capture(device)
        if size is None and camera is not None:
            size = camera.width, camera.height
        if size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        self._capture.set(cv2.CAP_PROP_FPS, rate_hz)
        # A queue in the driver would only make images older.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        found, image = self._capture.read()
        if not found:
            self.close()
            raise SourceError(
                f"camera {device} gives no image; check that it is plugged in, that this user may "
                f"read /dev/video{device} (group video), and that no other program holds it"
            )
        agreed_hz = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate_hz = agreed_hz if agreed_hz > 0.0 else rate_hz
        height, width = image.shape[:2]
        try:
            self.camera = (
                Camera.from_fov(width, height, fov_deg)
                if camera is None
                else fitted(camera, width, height, f"the image of camera {device}")
            )
        except SourceError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        failed = 0
        while self._capture.isOpened():
            found = self._capture.grab()
            # OpenCV tells no capture time: the moment of arrival is the closest to it.
            stamp_ns = time.time_ns()
            image = None
            if found:
                found, image = self._capture.retrieve()
            if not found or image is None:
                failed += 1
                if failed == _MOST_FAILED_READS:
                    raise SourceError(
                        f"camera {self._device} stopped giving images; was it unplugged?"
                    )
                continue
            failed = 0
            yield Frame(rgb(image), self.camera, stamp_ns, self._frame_id)

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()
