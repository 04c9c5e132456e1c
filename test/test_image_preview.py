"""The small images that the node sends to those who look."""

import cv2
import numpy as np
import pytest
from camera_samples import STORE
from fake_graph import FakeGraph
from process_samples import START_NS, synthetic_frames

from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW, ImagePreview, small_image
from hand_mesh_ros.ros.images import image_from_compressed
from hand_mesh_ros.types import Frame

(FRAME,) = synthetic_frames(1)


@pytest.fixture
def graph():
    return FakeGraph(STORE)


@pytest.fixture
def preview(graph):
    preview = ImagePreview(graph, STORE)
    graph.publishers[IMAGE_PREVIEW].subscriber_count = 1
    return preview


def frame_at(stamp_ns):
    return Frame(FRAME.image, FRAME.camera, stamp_ns, "left_camera_optical_frame")


def stamps_ns(graph):
    stamps = [message.header.stamp for message in graph.messages(IMAGE_PREVIEW)]
    return [stamp.sec * 1_000_000_000 + stamp.nanosec for stamp in stamps]


def test_it_is_the_image_with_its_stamp_and_frame_in_few_bytes(graph, preview):
    preview.publish(frame_at(START_NS))
    (message,) = graph.messages(IMAGE_PREVIEW)
    assert stamps_ns(graph) == [START_NS]
    assert message.header.frame_id == "left_camera_optical_frame"
    assert message.format == "jpeg"
    assert 50 * len(message.data) < FRAME.image.size
    image = image_from_compressed(message)
    assert image.shape == (240, 320, 3)
    whole = cv2.resize(image, (640, 480)).astype(float)
    assert np.abs(whole - FRAME.image).mean() < 8.0, "colours are wrong or moved"


def test_ten_a_second_whatever_the_camera_sends(graph, preview):
    jitter_ns = np.random.default_rng(0).integers(-2_000_000, 2_000_000, 91)
    for i in range(91):
        preview.publish(frame_at(START_NS + 33_333_333 * i + int(jitter_ns[i])))
    assert len(stamps_ns(graph)) == 31  # 3 s at 30 Hz
    slow = [START_NS + 10_000_000_000 + 200_000_000 * i for i in range(5)]
    for stamp_ns in slow:
        preview.publish(frame_at(stamp_ns))
    assert stamps_ns(graph)[31:] == slow


def test_time_that_goes_back_does_not_stop_it(graph, preview):
    preview.publish(frame_at(START_NS + 3_600_000_000_000))
    preview.publish(frame_at(START_NS))
    assert len(stamps_ns(graph)) == 2


def test_nobody_looks_nothing_is_made(graph, preview):
    graph.publishers[IMAGE_PREVIEW].subscriber_count = 0
    preview.publish(frame_at(START_NS))
    assert stamps_ns(graph) == []


def test_small_images_stay_as_they_are():
    image = np.zeros((10, 20, 3), np.uint8)
    assert small_image(image) is image
    assert small_image(np.zeros((2, 4000, 3), np.uint8)).shape == (1, 320, 3)
