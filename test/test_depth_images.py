from dataclasses import replace

import numpy as np
import pytest

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.ros.camera_node import depth_message
from hand_mesh_ros.ros.depth_images import DepthImageError, check_aligned, depth_from_message
from hand_mesh_ros.ros.messages import header
from hand_mesh_ros.ros.typestore import Typestore

STORE = Typestore("jazzy")
CAMERA = Camera(6, 4, np.array([[50.0, 0, 2.5], [0, 50.0, 1.5], [0, 0, 1]]))


def image(pixels, encoding, *, padding=0, big=False):
    rows = np.ascontiguousarray(pixels)
    rows = rows.astype(rows.dtype.newbyteorder(">" if big else "<")).view(np.uint8)
    rows = np.pad(rows.reshape(len(pixels), -1), ((0, 0), (0, padding)))
    return STORE.type("sensor_msgs/msg/Image")(
        header=header(STORE, 1, "cam"),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def info(**changes):
    region = STORE.type("sensor_msgs/msg/RegionOfInterest")
    values = {
        "header": header(STORE, 1, "cam"),
        "height": 4,
        "width": 6,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": CAMERA.K.reshape(9),
        "r": np.eye(3).ravel(),
        "p": np.zeros(12),
        "binning_x": 0,
        "binning_y": 0,
        "roi": region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    }
    return STORE.type("sensor_msgs/msg/CameraInfo")(**{**values, **changes})


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [False, True])
def test_millimetres_and_metres_give_the_same_depth(padding, big):
    mm = np.array([[0, 1, 500], [65535, 1234, 900]], np.uint16)
    expected = np.array([[np.nan, 0.001, 0.5], [65.535, 1.234, 0.9]])
    got = depth_from_message(image(mm, "16UC1", padding=padding, big=big))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    metres = expected.astype(np.float32)
    got = depth_from_message(image(metres, "32FC1", padding=padding - padding % 4, big=big))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_what_is_no_distance_is_unknown():
    got = depth_from_message(image(np.array([[0, -1, np.inf, np.nan, 2]], np.float32), "32FC1"))
    np.testing.assert_array_equal(got, [[np.nan, np.nan, np.nan, np.nan, 2.0]])


def test_the_message_is_not_written_to():
    message = image(np.zeros((2, 3), np.float32), "32FC1")
    depth_from_message(message)
    assert not message.data.any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "mono8"}, "'mono8' is unknown, expected 16UC1 (millimetres) or 32FC1"),
        ({"step": 5}, "step 5, expected at least 6 bytes"),
        ({"data": np.zeros(11, np.uint8)}, "has 11 bytes, expected 12"),
        ({"width": 0}, "0 x 2"),
    ],
)
def test_bad_depth_images_are_refused(changes, words):
    with pytest.raises(DepthImageError) as refused:
        depth_from_message(replace(image(np.ones((2, 3), np.uint16), "16UC1"), **changes))
    assert words in str(refused.value)


def test_the_last_row_may_lack_its_padding():
    message = image(np.full((2, 3), 700, np.uint16), "16UC1", padding=2)
    short = replace(message, data=message.data[:-2])
    np.testing.assert_allclose(depth_from_message(short), 0.7, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_round_trip_through_the_cameras_message(encoding):
    depth = np.array([[0.5, np.nan, 1.2345], [2.5, 70.0, 0.001]], np.float32)
    message = depth_message(STORE, depth, 5, "cam", encoding)
    got = depth_from_message(STORE.decode(STORE.encode(message), message.__msgtype__))
    if encoding == "16UC1":
        depth = np.array([[0.5, np.nan, 1.234], [2.5, np.nan, 0.001]])  # 65.5 m at most
    np.testing.assert_allclose(got, depth, atol=6e-4)
    assert np.isnan(got[0, 1])


def test_aligned_depth_passes_with_and_without_its_camera_info():
    message = image(np.ones((4, 6), np.uint16), "16UC1")
    check_aligned(message, None, "cam", CAMERA)
    check_aligned(message, info(), "cam", CAMERA)
    check_aligned(message, info(k=np.zeros(9)), "cam", CAMERA)  # uncalibrated: says nothing


@pytest.mark.parametrize(
    ("size", "frame_id", "changes", "words"),
    [
        ((3, 6), "cam", None, "6 x 3 pixels, the image has 6 x 4"),
        ((4, 6), "ir", None, "frame 'cam', the image in 'ir'"),
        ((4, 6), "cam", {"k": np.array([40.0, 0, 2.5, 0, 40, 1.5, 0, 0, 1])}, "40.0 px"),
        ((4, 6), "cam", {"d": np.array([0.1, 0, 0, 0, 0])}, "another lens"),
        ((4, 6), "cam", {"width": 7}, "depth/camera_info is for 7 x 4"),
    ],
)
def test_depth_of_another_view_is_refused(size, frame_id, changes, words):
    message = image(np.ones(size, np.uint16), "16UC1")
    of_depth = None if changes is None else info(**changes)
    with pytest.raises(DepthImageError) as refused:
        check_aligned(message, of_depth, frame_id, CAMERA)
    assert words in str(refused.value)
