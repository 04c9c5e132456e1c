"""sensor_msgs/Image and CompressedImage to RGB arrays, without a copy where the pixels allow it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from hand_mesh_ros.image_bytes import ImageBytesError, decode_image, format_of

# name -> (channels of 8 bits, OpenCV's conversion to RGB or None where the bytes are RGB already).
# OpenCV names a Bayer pattern by its second row, hence RGGB -> BG.
_ENCODINGS_8: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
# Sixteen bits a channel: its more significant byte is the same picture in eight.
_ENCODINGS_16: dict[str, str] = {
    "rgb16": "rgb8",
    "bgr16": "bgr8",
    "rgba16": "rgba8",
    "bgra16": "bgra8",
    "mono16": "mono8",
    "16UC1": "8UC1",
    "16UC3": "8UC3",
    "16UC4": "8UC4",
    "bayer_rggb16": "bayer_rggb8",
    "bayer_bggr16": "bayer_bggr8",
    "bayer_gbrg16": "bayer_gbrg8",
    "bayer_grbg16": "bayer_grbg8",
}
# A plane of brightness, then half as many rows of interleaved colour.
_ENCODINGS_420: dict[str, int] = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
}
KNOWN_ENCODINGS = (*_ENCODINGS_8, *_ENCODINGS_16, *_ENCODINGS_420)


class ImageError(ValueError):
    """An image message whose pixels cannot be read; the text says why in one line."""


def image_from_message(message: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB, C-contiguous, of a decoded sensor_msgs/Image; raises ImageError.

    Of `rgb8` without padding it is a read-only view of the message's own bytes.
    """
    width, height, encoding = int(message.width), int(message.height), message.encoding
    if width == 0 or height == 0:
        raise ImageError(f"image is {width} x {height} pixels, expected at least 1 x 1")
    if encoding in _ENCODINGS_420:
        if width % 2 or height % 2:
            raise ImageError(f"{encoding} image is {width} x {height} pixels, expected even sizes")
        rows = _rows(message, rows=height * 3 // 2, row_bytes=width)
        return cv2.cvtColor(np.ascontiguousarray(rows), _ENCODINGS_420[encoding])
    bytes_per_channel = 2 if encoding in _ENCODINGS_16 else 1
    encoding_8 = _ENCODINGS_16.get(encoding, encoding)
    if encoding_8 not in _ENCODINGS_8:
        raise ImageError(
            f"image encoding {encoding!r} is unknown, expected one of {', '.join(KNOWN_ENCODINGS)}"
        )
    channels, conversion = _ENCODINGS_8[encoding_8]
    if channels == 2 and width % 2:
        raise ImageError(f"{encoding} image is {width} pixels wide, expected an even width")
    rows = _rows(message, rows=height, row_bytes=width * channels * bytes_per_channel)
    if bytes_per_channel == 2:
        rows = rows[:, 0 if message.is_bigendian else 1 :: 2]
    pixels = np.ascontiguousarray(rows).reshape(height, width, channels)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def image_from_compressed(message: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded sensor_msgs/CompressedImage; raises ImageError."""
    data = np.asarray(message.data, np.uint8)
    what = f"compressed image (format {message.format[:40]!r}, {data.size} bytes)"
    if format_of(data) == "other":
        raise ImageError(f"{what} cannot be decoded, expected a complete JPEG or PNG")
    # The camera matrix belongs to the pixels as stored, so no turning by the file's own notes.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = decode_image(data, flags)
    except ImageBytesError as error:
        raise ImageError(
            f"{what} cannot be decoded: {error}; send a complete JPEG or PNG"
        ) from error
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _rows(message: Any, *, rows: int, row_bytes: int) -> np.ndarray:
    """(rows, row_bytes) uint8 view of the pixels, padding at the end of each row left out."""
    step, size = int(message.step), len(message.data)
    what = f"{message.encoding} image of {message.width} x {message.height} pixels"
    if step < row_bytes:
        raise ImageError(f"{what} has step {step}, expected at least {row_bytes} bytes a row")
    # The last row may come without its padding.
    needed = step * (rows - 1) + row_bytes
    if size < needed:
        raise ImageError(f"{what} with step {step} has {size} bytes, expected {step * rows}")
    data = np.frombuffer(message.data, np.uint8)
    return np.lib.stride_tricks.as_strided(
        data, shape=(rows, row_bytes), strides=(step, 1), writeable=False
    )
