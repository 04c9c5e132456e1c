"""A rosbag2 with what the live node publishes, by the very class that publishes it live."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rosbags import interfaces
from rosbags.rosbag2 import StoragePlugin, Writer

from hand_mesh_ros.processing.outputs import Answer, RecordingInfo
from hand_mesh_ros.processing.settings import Settings
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.hand_publisher import HandPublisher
from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW
from hand_mesh_ros.ros.throttled_log import ThrottledLog
from hand_mesh_ros.ros.typestore import Typestore

_VERSION = 8
"""Of the bag's metadata: read by every distribution from Humble on."""
_NOT_RECORDED = ("hand_detections", "hand_overlay", IMAGE_PREVIEW)
_UNSET = interfaces.QosTime(0, 0)
_STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}

log = logging.getLogger(__name__)


class BagOutput:
    """Messages at the stamps of their images; definitions lie in the bag, so any reader opens it.

    `HandMeshArray.latency` is 0: a recording has no moment at which an image arrives.
    """

    def __init__(self, path: Path, info: RecordingInfo, settings: Settings) -> None:
        self._parameters = settings.parameters
        self._store = Typestore()
        self._writer: Writer | None = Writer(
            path, version=_VERSION, storage_plugin=_STORAGES[settings.bag_storage]
        )
        self._writer.open()
        self._topics = _BagTopics(self._writer, self._store, settings)
        self._publisher = HandPublisher(
            self._topics,  # type: ignore[arg-type]  # of a graph it needs publishers only
            self._store,
            info.hand_model,
            ThrottledLog(log),
        )
        self._has_topology = False

    def add(self, answer: Answer) -> None:
        """Write the messages of one frame."""
        frame = answer.frame
        if answer.is_fresh_start:
            self._publisher.forget_names()
        self._topics.stamp_ns = frame.stamp_ns
        if not self._has_topology:
            self._has_topology = True
            self._publisher.publish_topology()
        self._publisher.publish(frame, answer.result, self._parameters, latency_s=0.0)

    def finish(self) -> None:
        """Write the index and metadata.yaml."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def close(self) -> None:
        """Let go of an unfinished bag."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()


class _BagTopics:
    """The part of a graph that makes publishers; each writes into the bag."""

    def __init__(self, writer: Writer, store: Typestore, settings: Settings) -> None:
        self._writer, self._store, self._settings = writer, store, settings
        self.stamp_ns = 0
        """Of the messages that come next."""

    def publisher(self, topic: str, type_name: str, qos: Qos) -> _BagTopic:
        if topic in _NOT_RECORDED:
            return _BagTopic(None)
        connection = self._writer.add_connection(
            self._settings.ros_arguments.resolve(topic),
            type_name,
            msgdef=self._store.definition(type_name),
            rihs01=self._store.type_hash(type_name),
            offered_qos_profiles=[_bag_qos(qos)],
        )
        writer = self._writer
        return _BagTopic(lambda cdr: writer.write(connection, self.stamp_ns, cdr))


class _BagTopic:
    """A publisher; without a place to write to, nobody subscribes."""

    def __init__(self, write: Callable[[Any], None] | None) -> None:
        self._write = write
        self.subscriber_count = 0 if write is None else 1

    def publish(self, cdr: bytes | bytearray | memoryview) -> None:
        if self._write is not None:
            self._write(cdr)


def _bag_qos(qos: Qos) -> interfaces.Qos:
    """What `ros2 bag play` offers these messages with."""
    return interfaces.Qos(
        history=interfaces.QosHistory.KEEP_LAST,
        depth=qos.depth,
        reliability=interfaces.QosReliability[qos.reliability.upper()],
        durability=interfaces.QosDurability[qos.durability.upper()],
        deadline=_UNSET,
        lifespan=_UNSET,
        liveliness=interfaces.QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_UNSET,
        avoid_ros_namespace_conventions=False,
    )
