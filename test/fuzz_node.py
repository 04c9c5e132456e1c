"""The node and the DDS graph as a whole, given what no camera sends."""

from __future__ import annotations

import logging
import threading

import numpy as np
from camera_samples import START_NS, STORE, camera_info, image
from dds_peers import free_domain
from fake_graph import FakeGraph
from fake_pipeline import FakePipeline
from fuzz_messages import IMAGE, any_camera_info, any_image, image_of
from fuzz_run import FuzzTarget

from hand_mesh_ros.ros.dds_graph import DdsGraph
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.images import KNOWN_ENCODINGS, ImageError, image_from_message
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.ros.typestore import TypestoreError

_TOPICS = ("image", "camera_info", "depth", "depth/camera_info")


class _Errors(logging.Handler):
    """Keeps what is logged as an error: nothing from outside may be one."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


class _Bench:
    """A node between a fake graph and a fake pipeline."""

    def __init__(self):
        self.graph, self.pipeline, self.errors = FakeGraph(STORE), FakePipeline(), _Errors()
        self.graph.log = logging.getLogger("fuzzed_node")
        self.graph.log.addHandler(self.errors)
        self.graph.log.propagate = False
        self.node = HandMeshNode(self.graph, NodeParameters(), self.pipeline, store=STORE)
        self.node.activate()

    def send(self, topic, cdr):
        self.graph.send(topic, cdr)
        assert self.node.wait_until_idle(10.0), "the node hangs"
        for publisher in self.graph.publishers.values():
            publisher.sent.clear()
        self.pipeline.frames.clear()
        texts, self.errors.texts = self.errors.texts, []
        assert not texts, texts[0]


_bench: list[_Bench] = []


def _send_to_node(data):
    """The first byte says to which topic; then a good image must come through."""
    if not _bench:
        _bench.append(_Bench())
    _bench[0].send(_TOPICS[data[0] % len(_TOPICS)] if data else "image", data[1:])
    _bench[0].send("image", _GOOD)


def any_message(rng):
    """A message for one of the node's topics."""
    topic = int(rng.integers(len(_TOPICS)))
    is_info = _TOPICS[topic].endswith("camera_info")
    cdr = any_camera_info(rng) if is_info else any_image(rng, (*KNOWN_ENCODINGS, "32FC1"))
    return bytes([topic]) + cdr


class _Wire:
    """A publisher and a subscriber of images in one participant."""

    def __init__(self):
        self.graph = DdsGraph("fuzz", domain_id=free_domain())
        self.arrived = threading.Event()
        self.cdr = b""
        self.publisher = self.graph.publisher("image", IMAGE, Qos())
        self.graph.subscribe("image", IMAGE, Qos(depth=1), self._keep)

    def _keep(self, cdr):
        self.cdr = bytes(cdr)
        self.arrived.set()

    def send(self, cdr):
        self.arrived.clear()
        self.publisher.publish(cdr)
        assert self.arrived.wait(10.0), "what was sent did not arrive"
        image_from_message(STORE.decode(self.cdr, IMAGE))


_wire: list[_Wire] = []


def _send_over_dds(cdr):
    if not _wire:
        _wire.append(_Wire())
    _wire[0].send(cdr)


def close():
    """End the node and the graph, whose threads would outlive their test."""
    while _bench:
        _bench.pop().node.close()
    while _wire:
        _wire.pop().graph.shutdown()


_GOOD = STORE.encode(image())
_SMALL = [
    STORE.encode(image_of(6, 4, name, 48, np.arange(192, dtype=np.uint8)))
    for name in ("rgb8", "bayer_rggb8", "nv12")
]

TARGETS = [
    FuzzTarget(
        "the whole node",
        (),
        [
            bytes([0]) + STORE.encode(image(START_NS + 1)),
            bytes([1]) + STORE.encode(camera_info()),
            bytes([2]) + _SMALL[0],
            bytes([3]) + STORE.encode(camera_info()),
        ],
        _send_to_node,
        any_message,
        share=0.3,
    ),
    FuzzTarget(
        "DDS and back",
        # ValueError: Cyclone finds that the bytes are no message.
        (ValueError, TypestoreError, ImageError),
        _SMALL,
        _send_over_dds,
        share=0.5,
    ),
]
