"""sensor_msgs/CameraInfo to a `Camera`, or a clear line about why it cannot be trusted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hand_mesh_ros.camera import Camera


class CameraInfoError(ValueError):
    """A CameraInfo that contradicts itself or the image; the text says how in one line."""


def camera_from_info(info: Any, *, image_width: int, image_height: int) -> Camera | None:
    """Camera of an image of that size (px), or None where the info says "uncalibrated" (K[0] = 0).

    K and D of a CameraInfo refer to the full, unbinned sensor; what comes back refers to the image.
    Raises CameraInfoError.
    """
    K = np.array(info.k, np.float64).reshape(3, 3)
    if K[0, 0] == 0.0:
        return None
    model, D = info.distortion_model, np.array(info.d, np.float64)
    # Many simulators leave both empty and mean a camera without distortion.
    if D.size == 0 and model in ("", "plumb_bob", "rational_polynomial"):
        model = "plumb_bob"
    try:
        sensor = Camera(int(info.width), int(info.height), K, distortion_model=model, D=D)
        K = _window_and_binning(K, info, image_width, image_height)
        return replace(sensor, width=image_width, height=image_height, K=K)
    except CameraInfoError:
        raise
    except ValueError as error:
        raise CameraInfoError(f"camera_info: {error}") from error


def image_size_of(info: Any) -> tuple[int, int]:
    """Width and height in pixels of the images that a decoded CameraInfo is for."""
    binning_x, binning_y = _binning(info)
    whole = info.roi if _has_window(info) else info
    return int(whole.width) // binning_x, int(whole.height) // binning_y


def same_calibration(a: Camera, b: Camera) -> bool:
    """Whether two cameras map pixels to rays alike."""
    return (
        (a.width, a.height, a.distortion_model, a.assumed)
        == (b.width, b.height, b.distortion_model, b.assumed)
        and np.array_equal(a.K, b.K)
        and np.array_equal(a.D, b.D)
    )


def _window_and_binning(
    K: np.ndarray, info: Any, image_width: int, image_height: int
) -> np.ndarray:
    """(3, 3) K of the image from the sensor's: window first, then binning (as image_geometry)."""
    expected = image_size_of(info)
    if expected != (image_width, image_height):
        raise CameraInfoError(
            f"camera_info is for {expected[0]} x {expected[1]} pixels, "
            f"the image has {image_width} x {image_height}; both must come from the same stream"
        )
    K = K.copy()
    if _has_window(info):
        K[0, 2] -= info.roi.x_offset
        K[1, 2] -= info.roi.y_offset
    binning_x, binning_y = _binning(info)
    K[0] /= binning_x
    K[1] /= binning_y
    return K


def _binning(info: Any) -> tuple[int, int]:
    """Sensor's pixels to one of the image, along x and y; 0 stands for 1."""
    return max(int(info.binning_x), 1), max(int(info.binning_y), 1)


def _has_window(info: Any) -> bool:
    """Whether images are of a part of the sensor; a region without a size is all of it."""
    return info.roi.width > 0 and info.roi.height > 0
