"""Listens to cameras for a while: who publishes, how, how often, and what came last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from hand_mesh_ros.ros.graph import Qos, Subscription
from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW
from hand_mesh_ros.ros.peer_watch import Publication
from hand_mesh_ros.ros.typestore import Typestore, TypestoreError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DISCOVERY_S = 1.5
"""Until the others on the network are known."""
MOST_TOPICS = 12
_NOT_CAMERAS = ("/hand_overlay", f"/{IMAGE_PREVIEW}")
"""Images that our own node publishes."""


class Network(Protocol):
    """What the doctor needs of a graph; `DdsGraph` has it."""

    def publications(self) -> list[Publication]:
        """Publishers found so far."""
        ...

    def subscribe(
        self, topic: str, type_name: str, qos: Qos, callback: Callable[[memoryview], None]
    ) -> Subscription:
        """As in `Graph`."""
        ...

    def now_ns(self) -> int:
        """Time of the graph's clock."""
        ...


@dataclass
class HeardTopic:
    """What came on one topic."""

    publication: Publication
    num_publishers: int = 1
    listened_s: float = 0.0
    arrivals_s: list[float] = field(default_factory=list)
    """By the monotonic clock."""
    ages_s: list[float] = field(default_factory=list)
    """From each stamp to its arrival."""
    last: Any = None
    """The newest message, decoded."""
    error: str = ""
    """Why the newest bytes could not be decoded."""

    @property
    def rate_hz(self) -> float:
        """From the first message to the last; 0 with fewer than three of them."""
        if len(self.arrivals_s) < 3:
            return 0.0
        elapsed_s = self.arrivals_s[-1] - self.arrivals_s[0]
        return (len(self.arrivals_s) - 1) / max(elapsed_s, 1e-9)

    @property
    def age_s(self) -> float:
        """Median from stamp to arrival."""
        return float(np.median(self.ages_s))


def listen(
    network: Network,
    *,
    seconds: float,
    reliability: str,
    store: Typestore | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[HeardTopic]:
    """Every camera's topics, by name, after listening to all of them at once.

    Args:
        network: the graph.
        seconds: how long to listen, after a while for discovery.
        reliability: of the image subscriptions, as the node would have it.
        store: of the types.
        sleep: waits.
    """
    store = store or Typestore()
    sleep(DISCOVERY_S)
    heard = _topics(network.publications())[:MOST_TOPICS]
    lock = threading.Lock()
    subscriptions = []
    for topic in heard:
        is_image = topic.publication.type_name != CAMERA_INFO
        # A publisher that offers less than is asked for would not be heard at all.
        wanted = reliability if is_image else "best_effort"
        if topic.publication.reliability == "best_effort":
            wanted = "best_effort"
        qos = Qos(cast(Any, wanted), depth=5)
        callback = _listener(topic, network, store, lock)
        name, kind = topic.publication.topic, topic.publication.type_name
        subscriptions.append(network.subscribe(name, kind, qos, callback))
    sleep(seconds if heard else 0.0)
    for subscription in subscriptions:
        subscription.close()
    with lock:
        for topic in heard:
            topic.listened_s = seconds
    return heard


def _topics(publications: Sequence[Publication]) -> list[HeardTopic]:
    """One for each topic and type; of several publishers the one that offers least."""
    found: dict[tuple[str, str], HeardTopic] = {}
    for publication in publications:
        key = publication.topic, publication.type_name
        if key[1] not in (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO):
            continue
        if key[0].endswith(_NOT_CAMERAS):
            continue
        if key in found:
            found[key].num_publishers += 1
        else:
            found[key] = HeardTopic(publication)  # sorted: best_effort comes before reliable
    return list(found.values())


def _listener(
    topic: HeardTopic, network: Network, store: Typestore, lock: threading.Lock
) -> Callable[[memoryview], None]:
    def on_message(cdr: memoryview) -> None:
        now_s, now_ns = time.monotonic(), network.now_ns()
        with lock:
            topic.arrivals_s.append(now_s)
            try:
                topic.last = store.decode(bytes(cdr), topic.publication.type_name)
            except TypestoreError as error:
                topic.error = str(error)
                return
            topic.error = ""
            stamp = topic.last.header.stamp
            topic.ages_s.append(1e-9 * (now_ns - stamp.sec * 1_000_000_000 - stamp.nanosec))

    return on_message
