"""What comes over the network: CDR bytes of messages, and what the node makes of them."""

from __future__ import annotations

import cv2
import numpy as np
from camera_samples import START_NS, STORE, camera_info
from fuzz_run import FuzzTarget
from hand_samples import sample_hand, small_hand_model

from hand_mesh_ros.camera import LENS_MODELS, Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.camera_info import CameraInfoError, camera_from_info
from hand_mesh_ros.ros.depth_images import DepthImageError, check_aligned, depth_from_message
from hand_mesh_ros.ros.images import (
    KNOWN_ENCODINGS,
    ImageError,
    image_from_compressed,
    image_from_message,
)
from hand_mesh_ros.ros.typestore import TypestoreError
from hand_mesh_ros.types import Result

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_NUMBERS = (0, 1, 2, 3, 5, 8, 48, 64, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e-300, 1e300, 1.7e308, np.inf, -np.inf, np.nan)


def image_of(width, height, encoding, step, data, *, is_bigendian=0, frame_id="cam"):
    return STORE.type(IMAGE)(
        header=messages.header(STORE, START_NS, frame_id),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=step,
        data=data,
    )


def any_image(rng, encodings):
    """An image message with fields of which most are right."""
    width, height = (int(n) for n in rng.integers(0, 12, 2))
    if rng.random() < 0.1:
        width = int(rng.choice(_NUMBERS))
    if rng.random() < 0.1:
        height = int(rng.choice(_NUMBERS))
    encoding = str(rng.choice(encodings)) if rng.random() < 0.95 else "rgb\x008"
    step = min(width, 4096) * int(rng.integers(0, 9)) + int(rng.integers(0, 3))
    if rng.random() < 0.1:
        step = int(rng.choice(_NUMBERS))
    size = min(step * min(height, 64), 1 << 14) + int(rng.integers(-3, 4))
    data = rng.integers(0, 256, max(size, 0), np.uint8)
    message = image_of(width, height, encoding, step, data, is_bigendian=int(rng.integers(0, 256)))
    return STORE.encode(message)


def any_camera_info(rng):
    """A CameraInfo with fields of which most are right."""

    def number(usual):
        return float(rng.choice(_FLOATS)) if rng.random() < 0.05 else usual

    models = (*LENS_MODELS, "", "fisheye")
    counts = (0, 4, 5, 8, 3)
    k = [number(v) for v in (50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0)]
    scale = 10.0 ** rng.integers(-3, 4)
    d = [number(v) for v in rng.normal(0.0, scale, int(rng.choice(counts)))]
    region = STORE.type("sensor_msgs/msg/RegionOfInterest")
    window = [int(rng.choice(_NUMBERS)) if rng.random() < 0.1 else 0 for _ in range(4)]
    if rng.random() < 0.3:
        window[2:] = 48, 64
    info = camera_info(
        distortion_model=str(rng.choice(models)),
        d=np.array(d),
        k=np.array(k),
        binning_x=int(rng.choice(_NUMBERS)) if rng.random() < 0.1 else 0,
        binning_y=int(rng.choice(_NUMBERS)) if rng.random() < 0.1 else 0,
        roi=region(window[0], window[1], window[2], window[3], do_rectify=False),
    )
    return STORE.encode(info)


def use_camera(camera):
    """What the pipeline asks of a camera; none of it may raise."""
    pixels = np.array([[0.0, 0.0], [31.5, 23.5], [63.0, 47.0], [-100.0, 1e4]])
    rays = camera.rays(pixels)
    assert rays.shape == (4, 2)
    points = np.array([[0.0, 0.0, 1.0], [0.3, -0.2, 0.5], [1.0, 1.0, 1e-9], [0.0, 0.1, -1.0]])
    camera.project(points)
    camera.project_with_jacobian(points)


def _decode_message(data):
    kind, cdr = _KINDS[data[0] % len(_KINDS)] if data else _KINDS[0], data[1:]
    STORE.decode(memoryview(cdr), kind)


def _decode_image(cdr):
    image = image_from_message(STORE.decode(memoryview(cdr), IMAGE))
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.dtype == np.uint8
    int(image.sum())  # reads all of it


def _decode_depth(cdr):
    message = STORE.decode(memoryview(cdr), IMAGE)
    depth_m = depth_from_message(message)
    assert not (depth_m <= 0.0).any()
    assert not np.isinf(depth_m).any()
    camera = Camera.from_fov(message.width, message.height, 60.0)
    check_aligned(message, camera_info(), "cam", camera)


def _decode_compressed(data):
    image = image_from_compressed(
        STORE.type(COMPRESSED)(
            messages.header(STORE, START_NS, "cam"), "jpeg", np.frombuffer(data, np.uint8)
        )
    )
    assert image.dtype == np.uint8
    assert image.shape[2] == 3


def _decode_camera_info(cdr):
    info = STORE.decode(memoryview(cdr), CAMERA_INFO)
    camera = camera_from_info(info, image_width=64, image_height=48)
    if camera is not None:
        use_camera(camera)


def _encoded(extension, flags=(), *, channels=3, kind=np.uint8):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, channels)).astype(kind)
    return cv2.imencode(extension, pixels, list(flags))[1].tobytes()


def pictures():
    """Small pictures of every kind that OpenCV writes."""
    return [
        _encoded(".jpg"),
        _encoded(".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        _encoded(".jpg", channels=1),
        _encoded(".png"),
        _encoded(".png", channels=4),
        _encoded(".png", channels=1, kind=np.uint16),
        _encoded(".webp"),
        _encoded(".bmp"),
        _encoded(".tiff"),
        _encoded(".ppm"),
    ]


def _cdrs():
    hands = (sample_hand(Side.LEFT), sample_hand(Side.RIGHT, track_id=8))
    array = messages.hand_mesh_array(STORE, Result(START_NS, "cam", hands), 0.01)
    pixels = np.zeros((3, 4, 3), np.uint8)
    compressed = STORE.type(COMPRESSED)(
        messages.header(STORE, START_NS, "cam"), "jpeg", np.frombuffer(_encoded(".jpg"), np.uint8)
    )
    return [
        messages.image_message(STORE, pixels, START_NS, "cam"),
        compressed,
        camera_info(),
        array.hands[0],
        array,
        messages.hand_topology(STORE, small_hand_model()),
        messages.tf_message(STORE, list(hands), START_NS, "cam"),
    ]


_MESSAGES = _cdrs()
_KINDS = [message.__msgtype__ for message in _MESSAGES]

TARGETS = [
    FuzzTarget(
        "CDR messages",
        (TypestoreError,),
        [bytes([i]) + STORE.encode(message) for i, message in enumerate(_MESSAGES)],
        _decode_message,
        share=5.0,
    ),
    FuzzTarget(
        "images of every encoding",
        (TypestoreError, ImageError),
        [
            STORE.encode(image_of(6, 4, name, 48, np.arange(192, dtype=np.uint8)))
            for name in KNOWN_ENCODINGS
        ],
        _decode_image,
        lambda rng: any_image(rng, KNOWN_ENCODINGS),
        share=4.0,
    ),
    FuzzTarget(
        "compressed images",
        (ImageError,),
        pictures(),
        _decode_compressed,
        share=2.0,
    ),
    FuzzTarget(
        "depth images",
        (TypestoreError, DepthImageError),
        [
            STORE.encode(image_of(6, 4, "16UC1", 12, np.arange(48, dtype=np.uint8))),
            STORE.encode(image_of(6, 4, "32FC1", 24, np.arange(96, dtype=np.uint8))),
        ],
        _decode_depth,
        lambda rng: any_image(rng, ("16UC1", "mono16", "32FC1")),
        share=3.0,
    ),
    FuzzTarget(
        "CameraInfo",
        (TypestoreError, CameraInfoError),
        [STORE.encode(camera_info()), STORE.encode(camera_info(d=np.full(8, 0.01)))],
        _decode_camera_info,
        any_camera_info,
        share=2.0,
    ),
]
