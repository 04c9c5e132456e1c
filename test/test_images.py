from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from hand_mesh_ros.ros.camera_info import CameraInfoError, camera_from_info
from hand_mesh_ros.ros.images import ImageError, image_from_compressed, image_from_message

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def message(pixels, encoding, *, padding=0, width=8, height=6, is_bigendian=0):
    """An Image whose rows hold `pixels` and then `padding` bytes of rubbish."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rubbish = RNG.integers(0, 256, (len(rows), padding), np.uint8)
    rows = np.concatenate([rows, rubbish], axis=1)
    return SimpleNamespace(
        width=width,
        height=height,
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=is_bigendian,
        data=np.frombuffer(rows.tobytes(), np.uint8),
    )


def test_tight_rgb8_is_a_view_of_the_message():
    msg = message(RGB, "rgb8")
    image = image_from_message(msg)
    np.testing.assert_array_equal(image, RGB)
    assert np.shares_memory(image, msg.data)
    assert image.flags.c_contiguous


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.dstack([RGB, RGB[..., :1]])),
        ("bgra8", np.dstack([RGB[..., ::-1], RGB[..., :1]])),
        ("8UC4", np.dstack([RGB[..., ::-1], RGB[..., :1]])),
    ],
)
def test_colour_in_every_order_with_and_without_padding(encoding, pixels, padding):
    image = image_from_message(message(pixels, encoding, padding=padding))
    np.testing.assert_array_equal(image, RGB)
    assert image.flags.c_contiguous


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_becomes_three_equal_channels(encoding):
    image = image_from_message(message(RGB[..., 0], encoding, padding=3))
    np.testing.assert_array_equal(image, np.repeat(RGB[..., :1], 3, axis=2))


@pytest.mark.parametrize("is_bigendian", [0, 1])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_sixteen_bits_keep_the_high_byte_in_either_byte_order(encoding, is_bigendian):
    values = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)
    stored = values.astype(">u2" if is_bigendian else "<u2")
    image = image_from_message(message(stored, encoding, padding=2, is_bigendian=is_bigendian))
    np.testing.assert_array_equal(image[..., 1], values >> 8)


def test_sixteen_bit_colour():
    stored = (RGB[..., ::-1].astype("<u2") << 8) + 77
    np.testing.assert_array_equal(image_from_message(message(stored, "bgr16")), RGB)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_back_a_flat_colour(pattern):
    colour = {"r": 200, "g": 90, "b": 30}
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    image = image_from_message(message(np.tile(tile, (3, 4)), f"bayer_{pattern}8"))
    np.testing.assert_array_equal(image, np.broadcast_to([200, 90, 30], (6, 8, 3)))


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
def test_packed_yuv_gives_back_a_flat_colour(encoding, order):
    pair = [YUV_ORANGE["yuv".index(c)] for c in order]
    rows = np.tile(np.array(pair, np.uint8), (6, 4))
    image = image_from_message(message(rows, encoding, padding=4))
    assert np.abs(image.astype(int) - ORANGE).max() <= 3


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_planar_yuv_gives_back_a_flat_colour(encoding):
    y, u, v = YUV_ORANGE
    pair = [u, v] if encoding == "nv12" else [v, u]
    rows = np.concatenate([np.full((6, 8), y), np.tile(pair, (3, 4))]).astype(np.uint8)
    image = image_from_message(message(rows, encoding, padding=8))
    assert image.shape == (6, 8, 3)
    assert np.abs(image.astype(int) - ORANGE).max() <= 3


# BT.601, limited range: Y = 16 + 0.257 R + 0.504 G + 0.098 B, and so on.
ORANGE = np.array([220, 120, 40])
YUV_ORANGE = (
    (
        np.array([16, 128, 128])
        + np.array([[0.257, 0.504, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]])
        @ ORANGE
    )
    .round()
    .astype(int)
)


def test_the_last_row_may_lack_its_padding():
    msg = message(RGB, "rgb8", padding=5)
    msg.data = msg.data[:-5]
    np.testing.assert_array_equal(image_from_message(msg), RGB)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "rgb12"}, ["'rgb12'", "rgb8", "nv12"]),
        ({"encoding": ""}, ["''", "unknown"]),
        ({"step": 23}, ["step 23", "at least 24"]),
        ({"step": 2000}, ["144 bytes", "12000"]),
        ({"data": np.zeros(143, np.uint8)}, ["143 bytes", "144"]),
        ({"data": np.zeros(0, np.uint8)}, ["0 bytes", "144"]),
        ({"width": 0}, ["0 x 6"]),
        ({"height": 0}, ["8 x 0"]),
        ({"encoding": "yuv422", "width": 7}, ["7 pixels wide", "even"]),
        ({"encoding": "nv12", "height": 5}, ["8 x 5", "even"]),
        ({"encoding": "mono16", "step": 15}, ["step 15", "at least 16"]),
    ],
)
def test_bad_images_are_refused_in_one_clear_line(changes, words):
    msg = message(RGB, "rgb8")
    for name, value in changes.items():
        setattr(msg, name, value)
    with pytest.raises(ImageError) as error:
        image_from_message(msg)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_compressed_images_come_back_in_rgb():
    png = cv2.imencode(".png", RGB[..., ::-1])[1].ravel()
    msg = SimpleNamespace(format="png", data=png)
    np.testing.assert_array_equal(image_from_compressed(msg), RGB)
    flat = np.full((16, 16, 3), (40, 120, 220), np.uint8)  # BGR
    msg = SimpleNamespace(format="jpeg", data=cv2.imencode(".jpg", flat)[1].ravel())
    assert np.abs(image_from_compressed(msg).astype(int) - ORANGE).max() <= 3


@pytest.mark.parametrize("data", [np.zeros(0, np.uint8), np.arange(100, dtype=np.uint8)])
def test_undecodable_compressed_images_are_refused(data):
    with pytest.raises(ImageError, match=rf"'jpeg', {data.size} bytes\) cannot be decoded"):
        image_from_compressed(SimpleNamespace(format="jpeg", data=data))


def info(**changes):
    values = {
        "width": 640,
        "height": 480,
        "k": np.array([500.0, 0, 320, 0, 510, 240, 0, 0, 1]),
        "d": np.array([0.1, -0.2, 0.001, 0.002, 0.05]),
        "distortion_model": "plumb_bob",
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**{**values, **changes})


def test_camera_info_becomes_the_camera_of_the_image():
    camera = camera_from_info(info(), image_width=640, image_height=480)
    assert (camera.width, camera.height, camera.assumed) == (640, 480, False)
    np.testing.assert_array_equal(camera.K, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    np.testing.assert_array_equal(camera.D, [0.1, -0.2, 0.001, 0.002, 0.05])


def test_window_then_binning_move_the_camera_matrix():
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=300)
    message = info(roi=roi, binning_x=2, binning_y=4)
    camera = camera_from_info(message, image_width=200, image_height=75)
    np.testing.assert_allclose(camera.K, [[250, 0, 110], [0, 127.5, 50], [0, 0, 1]])


def test_uncalibrated_and_undistorted_are_told_apart():
    uncalibrated = info(k=np.zeros(9))
    assert camera_from_info(uncalibrated, image_width=640, image_height=480) is None
    for model in ("", "plumb_bob"):
        message = info(distortion_model=model, d=np.zeros(0))
        camera = camera_from_info(message, image_width=640, image_height=480)
        np.testing.assert_allclose(camera.project(np.array([0.2, 0.1, 1.0])), [420, 291])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": np.array([np.nan, 0, 320, 0, 510, 240, 0, 0, 1])}, ["K", "nan"]),
        ({"k": np.array([500.0, 0, 320, 0, np.inf, 240, 0, 0, 1])}, ["K", "inf"]),
        ({"k": np.array([-500.0, 0, 320, 0, 510, 240, 0, 0, 1])}, ["-500", "positive"]),
        ({"d": np.zeros(3)}, ["plumb_bob", "got 3"]),
        ({"d": np.full(5, np.nan)}, ["nan"]),
        ({"distortion_model": "equidistant", "d": np.zeros(5)}, ["equidistant", "4", "got 5"]),
        ({"distortion_model": "equidistant", "d": np.zeros(0)}, ["equidistant", "4", "got 0"]),
        ({"distortion_model": "mei"}, ["'mei'", "known: plumb_bob"]),
        ({"width": 1280, "height": 720}, ["1280 x 720", "640 x 480"]),
        ({"binning_x": 2}, ["320 x 480", "640 x 480"]),
        ({"d": np.full(5, 1e300)}, ["no camera has"]),
        (
            {"k": np.diag([1e-9, 500.0, 1.0]).ravel(), "width": 1280, "binning_x": 2},
            ["camera_info: ", "no camera has"],
        ),
    ],
)
def test_bad_camera_infos_are_refused_in_one_clear_line(changes, words):
    with pytest.raises(CameraInfoError) as error:
        camera_from_info(info(**changes), image_width=640, image_height=480)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
