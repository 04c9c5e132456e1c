"""What a camera sends, small and as plain as can be."""

import numpy as np

from hand_mesh_ros.ros.messages import header, image_message
from hand_mesh_ros.ros.typestore import Typestore

STORE = Typestore("jazzy")
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 33_000_000
WIDTH, HEIGHT = 64, 48


def image(stamp_ns=START_NS, frame_id="cam"):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return image_message(STORE, pixels, stamp_ns, frame_id)


def camera_info(**changes):
    region = STORE.type("sensor_msgs/msg/RegionOfInterest")
    values = {
        "header": header(STORE, START_NS, "cam"),
        "height": HEIGHT,
        "width": WIDTH,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": np.array([50.0, 0, 32, 0, 50, 24, 0, 0, 1]),
        "r": np.eye(3).ravel(),
        "p": np.zeros(12),
        "binning_x": 0,
        "binning_y": 0,
        "roi": region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    }
    return STORE.type("sensor_msgs/msg/CameraInfo")(**{**values, **changes})


def stamp_ns(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
