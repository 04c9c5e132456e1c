"""Our conversion of images, the same for both graphs, against ROS's own cv_bridge."""

import importlib.util

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy is not importable")
# A mark, not a skip of the module: launch_testing's plugin would leave out the whole folder.
MISSING = importlib.util.find_spec("cv_bridge") is None
pytestmark = pytest.mark.skipif(MISSING, reason="needs cv_bridge beside ROS 2")

if not MISSING:
    import cv_bridge
from sensor_msgs.msg import Image

from hand_mesh_ros.ros.images import KNOWN_ENCODINGS, image_from_message

# What cv_bridge leaves to others; and the names without a colour, which it will not make rgb8.
UNKNOWN_TO_CV_BRIDGE = {"nv12", "nv21", "uyvy", "yuyv"}
WITHOUT_COLOUR = {"8UC1", "8UC3", "8UC4", "16UC1", "16UC3", "16UC4"}
BYTES_A_PIXEL = {"rgba": 4, "bgra": 4, "rgb": 3, "bgr": 3, "yuv": 2}


def message(encoding: str) -> Image:
    """Random smooth pixels, so that demosaicing has something to work on."""
    values = next((n for name, n in BYTES_A_PIXEL.items() if encoding.startswith(name)), 1)
    wide = 2 if encoding.endswith("16") else 1
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    phase = np.arange(values)
    pixels = 127 + 90 * np.sin(x[..., None] / 9 + phase) * np.cos(y[..., None] / 7)
    pixels = pixels.astype(np.uint8) if wide == 1 else (257 * pixels).astype("<u2")
    image = Image(height=48, width=64, encoding=encoding, step=64 * values * wide)
    image.data = pixels.tobytes()
    return image


@pytest.mark.parametrize("encoding", sorted(set(KNOWN_ENCODINGS) - WITHOUT_COLOUR))
def test_same_picture(encoding):
    if encoding in UNKNOWN_TO_CV_BRIDGE:
        pytest.skip(f"cv_bridge of this distribution does not know {encoding}")
    ours = image_from_message(message(encoding))
    theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message(encoding), "rgb8")
    assert ours.shape == theirs.shape == (48, 64, 3)
    # Sixteen bits are rounded there and cut here.
    assert np.abs(ours.astype(int) - theirs).max() <= (1 if encoding.endswith("16") else 0)
