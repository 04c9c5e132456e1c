"""What the node needs from a middleware, and no more: bytes in, bytes out, parameters, log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Qos:
    """Quality of service of one endpoint (history is always KEEP_LAST)."""

    reliability: Literal["reliable", "best_effort"] = "reliable"
    durability: Literal["volatile", "transient_local"] = "volatile"
    depth: int = 10
    parameter: str = ""
    """Parameter of the node that chooses the reliability, for those who read the log."""


Answer = tuple[bool, str]
"""Of a service: whether it worked, and one line for people."""
ServiceKind = Literal["set_bool", "trigger"]


class Publisher(Protocol):
    """Sends CDR-encoded messages of one type on one topic."""

    def publish(self, cdr: bytes | bytearray | memoryview) -> None:
        """Send one message, encapsulation header included."""
        ...

    @property
    def subscriber_count(self) -> int:
        """How many subscriptions are matched right now."""
        ...


class Subscription(Protocol):
    """A callback's place on a topic."""

    def close(self) -> None:
        """Let no further callback begin; safe to call twice."""
        ...


class Graph(Protocol):
    """One node's place in a ROS 2 graph."""

    @property
    def node_name(self) -> str:
        """Name of the node, without its namespace."""
        ...

    @property
    def log(self) -> logging.Logger:
        """Where the node speaks."""
        ...

    def parameter_overrides(self) -> Mapping[str, object]:
        """Values given by file and command line, later ones winning; unknown names included."""
        ...

    def publisher(self, topic: str, type_name: str, qos: Qos) -> Publisher:
        """Create a publisher.

        Args:
            topic: relative or absolute ROS name, before remapping ("hand_mesh", "/tf").
            type_name: e.g. "sensor_msgs/msg/Image".
            qos: quality of service offered.
        """
        ...

    def subscribe(
        self, topic: str, type_name: str, qos: Qos, callback: Callable[[memoryview], None]
    ) -> Subscription:
        """Call back with each message's CDR bytes, on a thread of the graph's own."""
        ...

    def service(self, name: str, kind: ServiceKind, callback: Callable[..., Answer]) -> None:
        """Offer a service, where the middleware has any.

        Args:
            name: relative or absolute ROS name ("~/enable").
            kind: std_srvs/SetBool or std_srvs/Trigger.
            callback: gets the bool of a SetBool, nothing of a Trigger; may take its time, it runs
                on a thread of its own. What it raises is the answer of a failure.
        """
        ...

    def now_ns(self) -> int:
        """Time of the graph's clock."""
        ...

    def spin(self) -> None:
        """Serve until `shutdown`, SIGINT or SIGTERM."""
        ...

    def shutdown(self) -> None:
        """Leave the graph; safe to call twice and from any thread."""
        ...
