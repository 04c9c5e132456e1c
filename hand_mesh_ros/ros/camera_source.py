"""Which camera took an image: by CameraInfo, or by assumption when none comes."""

from __future__ import annotations

import logging
from typing import Any

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.ros.camera_info import camera_from_info, same_calibration


class CameraSource:
    """Keeps the newest CameraInfo; the camera object stays the same while the calibration does."""

    def __init__(self, *, timeout_s: float, assumed_fov_deg: float, log: logging.Logger) -> None:
        self._timeout_ns = round(timeout_s * 1e9)
        self._assumed_fov_deg = assumed_fov_deg
        self._log = log
        self._info: Any = None
        self._camera: Camera | None = None
        self._waiting_since_ns: int | None = None

    def update(self, info: Any) -> None:
        """Take a decoded sensor_msgs/CameraInfo."""
        self._info = info

    def camera_of(self, width: int, height: int, stamp_ns: int) -> Camera | None:
        """Camera of an image of that size (px) and time; None while a CameraInfo is awaited.

        Raises CameraInfoError.
        """
        camera, why_assumed = None, "camera_info is uncalibrated (K[0] = 0)"
        if self._info is not None:
            camera = camera_from_info(self._info, image_width=width, image_height=height)
        elif self._is_waiting(stamp_ns):
            return None
        else:
            why_assumed = f"no camera_info in {self._timeout_ns / 1e9:g} s of images"
        if camera is None:
            camera = Camera.from_fov(width, height, self._assumed_fov_deg)
        if self._camera is None or not same_calibration(camera, self._camera):
            self._camera = camera
            if camera.assumed:
                self._log.warning(
                    f"{why_assumed}: assuming a horizontal field of view of "
                    f"{self._assumed_fov_deg:g} deg (assumed_fov_deg), so distances are a guess"
                )
            else:
                self._log.info(f"camera: {describe(camera)}")
        return self._camera

    def _is_waiting(self, stamp_ns: int) -> bool:
        if self._camera is not None:
            return False
        if self._waiting_since_ns is None or stamp_ns < self._waiting_since_ns:
            self._waiting_since_ns = stamp_ns
        return stamp_ns - self._waiting_since_ns < self._timeout_ns


def describe(camera: Camera) -> str:
    """One line for people."""
    kind = "assumed" if camera.assumed else f"calibrated, {camera.distortion_model}"
    return f"{camera.width} x {camera.height}, focal length {camera.K[0, 0]:.1f} px, {kind}"
