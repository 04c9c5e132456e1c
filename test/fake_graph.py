"""A ROS graph inside one process: what is published is kept, what is sent is delivered at once."""

from __future__ import annotations

import logging
import threading


class FakePublisher:
    """Keeps every message; `subscriber_count` is set by the test."""

    def __init__(self, topic, type_name, qos):
        self.topic, self.type_name, self.qos = topic, type_name, qos
        self.subscriber_count = 0
        self.sent = []

    def publish(self, cdr):
        self.sent.append(bytes(cdr))


class FakeSubscription:
    """Forgets its callback when closed."""

    def __init__(self, subscriptions, topic):
        self._subscriptions, self._topic = subscriptions, topic

    def close(self):
        self._subscriptions.pop(self._topic, None)


class FakeGraph:
    """Implements `hand_mesh_ros.ros.graph.Graph`."""

    node_name = "hand_mesh"
    clock_ns = 1_900_000_000_000_000_000

    def __init__(self, store):
        self.store = store
        self.log = logging.getLogger("fake_graph")
        self.publishers = {}
        self.subscriptions = {}
        self.services = {}
        self.stopped = threading.Event()

    def parameter_overrides(self):
        return {}

    def publisher(self, topic, type_name, qos):
        self.publishers[topic] = FakePublisher(topic, type_name, qos)
        return self.publishers[topic]

    def subscribe(self, topic, type_name, qos, callback):
        self.subscriptions[topic] = (type_name, qos, callback)
        return FakeSubscription(self.subscriptions, topic)

    def service(self, name, kind, callback):
        self.services[name] = (kind, callback)

    def now_ns(self):
        return self.clock_ns

    def spin(self):
        self.stopped.wait()

    def shutdown(self):
        self.stopped.set()

    def send(self, topic, message):
        """Deliver a message, or raw bytes, to the node, if it listens."""
        if topic not in self.subscriptions:
            return
        type_name, _, callback = self.subscriptions[topic]
        cdr = message if isinstance(message, bytes) else self.store.encode(message, type_name)
        callback(memoryview(cdr))

    def call(self, name, *arguments):
        """Answer of a service."""
        return self.services[name][1](*arguments)

    def messages(self, topic):
        """Everything published on a topic, decoded."""
        publisher = self.publishers[topic]
        return [self.store.decode(cdr, publisher.type_name) for cdr in publisher.sent]
