import struct

import cv2
import numpy as np
import pytest

from hand_mesh_ros.image_bytes import MAX_PIXELS, ImageBytesError, decode_image, format_of

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


def encoded(extension, *flags):
    return cv2.imencode(extension, PIXELS, list(flags))[1].tobytes()


def with_jpeg_size(data, width, height):
    data = bytearray(data)
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("extension", [".png", ".bmp", ".ppm"])
def test_pixels_come_back(extension):
    np.testing.assert_array_equal(decode_image(encoded(extension)), PIXELS)


@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_jpegs_of_both_kinds_are_read(flags):
    assert decode_image(encoded(".jpg", *flags)).shape == (12, 16, 3)


def test_the_first_bytes_say_what_it_is():
    kinds = [format_of(encoded(e)) for e in (".jpg", ".png", ".bmp")]
    assert kinds == ["jpeg", "png", "other"]
    assert format_of(b"") == "other"


def test_a_header_that_promises_too_much_is_not_believed():
    side = 30_000
    png = bytearray(encoded(".png"))
    png[16:24] = struct.pack(">II", side, side)
    for data in (bytes(png), with_jpeg_size(encoded(".jpg"), side, side)):
        with pytest.raises(ImageBytesError, match=rf"{side} x {side} pixels.*{MAX_PIXELS}"):
            decode_image(data)


def test_a_size_that_so_few_bytes_cannot_have_is_not_believed():
    data = with_jpeg_size(encoded(".jpg"), 4000, 2000)
    with pytest.raises(ImageBytesError, match=rf"they do not fit into {len(data)} bytes"):
        decode_image(data)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_the_emptiest_image_is_read(extension):
    flags = [cv2.IMWRITE_JPEG_OPTIMIZE, 1] if extension == ".jpg" else [cv2.IMWRITE_PNG_BILEVEL, 1]
    data = cv2.imencode(extension, np.zeros((2160, 3840), np.uint8), flags)[1]
    assert decode_image(data).shape == (2160, 3840, 3)


def test_a_chunk_that_promises_too_much_is_not_believed():
    png = bytearray(encoded(".png"))
    png[33:37] = struct.pack(">I", 3 << 30)  # the length of what follows the header
    with pytest.raises(ImageBytesError, match=rf"says that {3 << 30} more come"):
        decode_image(bytes(png))


def test_a_png_without_pixels_is_refused():
    """Found by fuzzing: OpenCV reads on behind the end, and makes room for what it finds there."""
    data = encoded(".png").replace(b"IDAT", b"JDAT")
    with pytest.raises(ImageBytesError, match="without a header and pixels"):
        decode_image(data + b"\xff" * 6)


def test_a_png_that_was_cut_off_is_refused():
    with pytest.raises(ImageBytesError, match=r"without its end \(IEND\)"):
        decode_image(encoded(".png")[:-12])


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ImageBytesError, match="not an image"):
        decode_image(data)
