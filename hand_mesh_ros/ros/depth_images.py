"""sensor_msgs/Image with depth to metres: units by encoding (REP 118), never by a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.ros.camera_info import CameraInfoError, camera_from_info, same_calibration

_MM = 1e-3
# name -> type of a pixel, and its unit in metres.
_ENCODINGS: dict[str, tuple[str, float]] = {
    "16UC1": ("u2", _MM),  # raw, 0 unknown
    "mono16": ("u2", _MM),  # what some drivers call it
    "32FC1": ("f4", 1.0),  # canonical, NaN unknown
}


class DepthImageError(ValueError):
    """A depth image that cannot be used for this image; the text says why in one line."""


def depth_from_message(message: Any) -> np.ndarray:
    """(H, W) float32 m of a decoded sensor_msgs/Image, NaN where unknown; raises DepthImageError.

    Unknown is 0 in 16UC1, and what is not positive and finite in 32FC1.
    """
    width, height, encoding = int(message.width), int(message.height), message.encoding
    if width == 0 or height == 0:
        raise DepthImageError(f"depth image is {width} x {height} pixels, expected at least 1 x 1")
    if encoding not in _ENCODINGS:
        raise DepthImageError(
            f"depth image encoding {encoding!r} is unknown, "
            "expected 16UC1 (millimetres) or 32FC1 (metres)"
        )
    kind, unit_m = _ENCODINGS[encoding]
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    step, size, row_bytes = int(message.step), len(message.data), width * dtype.itemsize
    what = f"{encoding} depth image of {width} x {height} pixels"
    if step < row_bytes:
        raise DepthImageError(f"{what} has step {step}, expected at least {row_bytes} bytes a row")
    # The last row may come without its padding.
    if size < step * (height - 1) + row_bytes:
        raise DepthImageError(f"{what} with step {step} has {size} bytes, expected {step * height}")
    raw = np.ndarray((height, width), dtype, message.data, strides=(step, dtype.itemsize))
    depth_m = raw.astype(np.float32)
    depth_m[~((depth_m > 0.0) & (depth_m < np.inf))] = np.nan
    return depth_m if unit_m == 1.0 else depth_m * np.float32(unit_m)


def check_aligned(message: Any, info: Any | None, frame_id: str, camera: Camera) -> None:
    """Raise DepthImageError unless each depth pixel looks along the same ray as the image's.

    Args:
        message: the depth image.
        info: its CameraInfo, or None where none came; then size and frame must do.
        frame_id: of the image.
        camera: of the image.
    """
    mend = "publish depth aligned to the image (aligned_depth_to_color, registered)"
    size = int(message.width), int(message.height)
    if size != (camera.width, camera.height):
        raise DepthImageError(
            f"depth image has {size[0]} x {size[1]} pixels, the image has "
            f"{camera.width} x {camera.height}: {mend}"
        )
    if message.header.frame_id != frame_id:
        raise DepthImageError(
            f"depth image is in frame {message.header.frame_id!r}, "
            f"the image in {frame_id!r}: {mend}"
        )
    if info is None or camera.assumed:
        return
    try:
        of_depth = camera_from_info(info, image_width=size[0], image_height=size[1])
    except CameraInfoError as error:
        raise DepthImageError(f"depth/{error}") from error
    if of_depth is not None and not same_calibration(of_depth, camera):
        raise DepthImageError(
            f"depth is seen through another lens (focal length {of_depth.K[0, 0]:.1f} px) than the "
            f"image ({camera.K[0, 0]:.1f} px): {mend}"
        )
