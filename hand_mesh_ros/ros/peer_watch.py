"""Says once what does not fit between this node and the others on its topics, and what helps."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from hand_mesh_ros.ros.discovery import dds_topic, dds_type, ros_type
from hand_mesh_ros.ros.qos_warning import qos_warning
from hand_mesh_ros.ros.typestore import Typestore

Reliability = Literal["reliable", "best_effort"]
Durability = Literal["volatile", "transient_local"]
# Policy numbers of the DDS standard.
_POLICY_NAMES = {
    2: "durability",
    4: "deadline",
    6: "ownership",
    8: "liveliness",
    11: "reliability",
    23: "data representation",
    24: "type consistency",
}


@dataclass(frozen=True)
class Peer:
    """A reader or writer somewhere on the network, as discovery shows it; names are DDS's."""

    topic: str
    type_name: str
    type_hash: str | None
    is_publisher: bool
    reliability: Reliability = "best_effort"
    durability: Durability = "volatile"


@dataclass(frozen=True, order=True)
class Publication:
    """A ROS publisher somewhere on the network."""

    topic: str
    """Absolute ROS name."""
    type_name: str
    """E.g. "sensor_msgs/msg/Image"."""
    reliability: Reliability
    durability: Durability


class PeerWatch:
    """Compares the types of all known readers and writers with those of this node's topics."""

    def __init__(self, store: Typestore, log: logging.Logger) -> None:
        self._store = store
        self._log = log
        self._said: set[str] = set()
        self._own_types: dict[str, tuple[str, str]] = {}  # ROS topic and type by DDS topic
        self._peers: dict[Hashable, Peer] = {}

    def use_topic(self, topic: str, type_name: str) -> None:
        """Note that this node uses a topic (absolute ROS name) with a type."""
        self._own_types[dds_topic(topic)] = (topic, type_name)
        for peer in self._peers.values():
            self._compare(peer)

    def met(self, key: Hashable, peer: Peer) -> None:
        """Note a reader or writer that is there."""
        self._peers[key] = peer
        self._compare(peer)

    def publications(self) -> list[Publication]:
        """ROS publishers that are there, this node's own among them, by topic."""
        prefix = dds_topic("")
        return sorted(
            Publication(
                peer.topic.removeprefix(prefix),
                ros_type(peer.type_name),
                peer.reliability,
                peer.durability,
            )
            for peer in self._peers.values()
            if peer.is_publisher and peer.topic.startswith(f"{prefix}/")
        )

    def left(self, key: Hashable) -> None:
        """Forget a reader or writer that is gone."""
        self._peers.pop(key, None)

    def qos_refused(
        self, topic: str, policy_id: int, *, is_publisher: bool, parameter: str = ""
    ) -> None:
        """Say that a peer on an absolute ROS topic asks for, or offers, another quality.

        Args:
            topic: absolute ROS name.
            policy_id: number of the policy in the DDS standard.
            is_publisher: whether this node is the publisher.
            parameter: name of the node's parameter that chooses the reliability, if there is one.
        """
        policy = _POLICY_NAMES.get(policy_id, f"policy {policy_id}")
        self.say_once(qos_warning(topic, policy, is_publisher=is_publisher, parameter=parameter))

    def say_once(self, warning: str) -> None:
        """Log a warning that has not been logged yet."""
        if warning not in self._said:
            self._said.add(warning)
            self._log.warning(warning)

    def _compare(self, peer: Peer) -> None:
        if peer.topic not in self._own_types:
            return
        topic, ours = self._own_types[peer.topic]
        who = f"a {'publisher' if peer.is_publisher else 'subscriber'} on {topic}"
        own_hash = self._store.type_hash(ours) if self._store.has_type_hashes else None
        if peer.type_name != dds_type(ours):
            self.say_once(
                f"{who} uses another type: {ros_type(peer.type_name)}, here it is {ours}; "
                "nothing passes between the two, remap one of them"
            )
        elif peer.type_hash and own_hash and peer.type_hash != own_hash:
            self.say_once(
                f"{who} has another definition of {ours} ({peer.type_hash}, here {own_hash}); "
                "its messages may be misread, build both from the same version"
            )
