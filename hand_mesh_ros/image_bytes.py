"""Encoded images (JPEG, PNG and what else OpenCV knows) to pixels, without trusting their headers.

OpenCV makes room for whatever a header claims before it looks at the rest: a file of a hundred
bytes can cost it gigabytes and ten seconds.
"""

from __future__ import annotations

import struct
from typing import Literal

import cv2
import numpy as np

MAX_PIXELS = 1 << 25
"""A little more than 8K video (7680 x 4320)."""
# Pixels that a byte can stand for at most: a block of 8 x 8 takes a bit of a JPEG's Huffman code,
# deflate makes 1032 bytes of one, and a pixel of a PNG may be one bit.
_MOST_PER_BYTE = {"jpeg": 8 * 64, "png": 8 * 1032}

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Start of frame, all kinds; C4, C8 and CC between them are other things.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length

Format = Literal["jpeg", "png", "other"]


class ImageBytesError(ValueError):
    """Bytes that are no image, or one that is too large; the text says why in one line."""


def decode_image(data: np.ndarray | bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Pixels as `cv2.imdecode` gives them (BGR); raises ImageBytesError."""
    data = np.frombuffer(data, np.uint8)
    _check_headers(data)
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:
        raise ImageBytesError(f"OpenCV refuses it ({error.err or 'no reason given'})") from error
    if pixels is None:
        raise ImageBytesError("not an image that OpenCV can decode, or not a whole one")
    return pixels


def format_of(data: np.ndarray | bytes) -> Format:
    """What the first bytes say that it is."""
    head = bytes(data[: len(_PNG)])
    return "png" if head == _PNG else "jpeg" if head.startswith(_JPEG) else "other"


def _check_headers(data: np.ndarray) -> None:
    kind, size = format_of(data), None
    if kind == "png":
        size = _png_size(data.data)
    elif kind == "jpeg":
        size = _jpeg_size(data.data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise ImageBytesError(
            f"says that it has {size[0]} x {size[1]} pixels, expected at most {MAX_PIXELS}"
        )
    if size is not None and size[0] * size[1] > _MOST_PER_BYTE[kind] * data.size:
        raise ImageBytesError(
            f"says that it has {size[0]} x {size[1]} pixels, they do not fit into {data.size} bytes"
        )


def _png_size(data: memoryview) -> tuple[int, int]:
    """Width and height; every chunk is looked at, as OpenCV makes room for each."""
    at, size, has_pixels = len(_PNG), None, False
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise ImageBytesError(
                f"PNG of {len(data)} bytes says that {length} more come, expected a whole one"
            )
        if name == b"IHDR" and length >= 8 and size is None:
            size = struct.unpack_from(">II", data, at + 8)
        at += 12 + length
        has_pixels |= name == b"IDAT"
        if name == b"IEND":
            break
    else:
        raise ImageBytesError(f"PNG of {len(data)} bytes without its end (IEND)")
    if size is None or not has_pixels:
        raise ImageBytesError(f"PNG of {len(data)} bytes without a header and pixels (IHDR, IDAT)")
    return size


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Width and height; None where no frame begins: OpenCV refuses that by itself."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            at += 1  # readers skip what stands between segments
            continue
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == 0xFF or marker in _JPEG_BARE or marker == 0:
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + max(struct.unpack_from(">H", data, at + 2)[0], 2)
    return None
