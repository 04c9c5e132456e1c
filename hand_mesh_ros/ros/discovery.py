"""What a ROS 2 node says of itself on the wire, so that `ros2 node list` and others can show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.typestore import Typestore

DISCOVERY_TOPIC = "ros_discovery_info"
"""DDS topic; no ROS name, so without the prefix rt/."""
DISCOVERY_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
DISCOVERY_QOS = Qos("reliable", "transient_local", depth=1)
PARTICIPANT_USER_DATA = b"enclave=/;"


@dataclass(frozen=True)
class Peer:
    """A reader or writer somewhere on the network, as discovery shows it."""

    topic: str
    """DDS name."""
    type_name: str
    """DDS name."""
    type_hash: str | None
    is_publisher: bool


def dds_topic(full_name: str) -> str:
    """DDS name of an absolute ROS topic."""
    return f"rt{full_name}"


def ros_topic(dds_name: str) -> str:
    """ROS name of a DDS topic."""
    return dds_name.removeprefix("rt")


def dds_type(type_name: str) -> str:
    """"sensor_msgs/msg/Image" -> "sensor_msgs::msg::dds_::Image_"."""
    package, kind, name = type_name.split("/")
    return f"{package}::{kind}::dds_::{name}_"


def ros_type(dds_name: str) -> str:
    """"sensor_msgs::msg::dds_::Image_" -> "sensor_msgs/msg/Image"; others stay as they are."""
    parts = dds_name.split("::")
    if len(parts) == 4 and parts[2] == "dds_":
        return f"{parts[0]}/{parts[1]}/{parts[3].removesuffix('_')}"
    return dds_name


def endpoint_user_data(store: Typestore, type_name: str) -> bytes:
    """USER_DATA of a reader or writer: the hash of its type's definition."""
    if not store.has_type_hashes:
        return b""
    return f"typehash={store.type_hash(type_name)};".encode()


def type_hash_of(user_data: bytes) -> str | None:
    """Hash in an endpoint's USER_DATA."""
    for entry in user_data.decode("ascii", "replace").split(";"):
        key, _, value = entry.partition("=")
        if key == "typehash":
            return value
    return None


def participant_info(
    store: Typestore,
    participant: bytes,
    node: tuple[str, str],
    readers: Iterable[bytes],
    writers: Iterable[bytes],
) -> bytes:
    """CDR of rmw_dds_common/ParticipantEntitiesInfo for a participant with one node.

    Args:
        participant: its GUID, 16 bytes; so are those of `readers` and `writers`.
        node: namespace ("/" for none) and name.
    """
    gid_type = store.type("rmw_dds_common/msg/Gid")
    # 16 bytes from Iron on; Humble leaves 8 more, which stay 0.
    gid_size = dict(store.fields("rmw_dds_common/msg/Gid"))["data"][1][1]

    def gid(guid: bytes) -> object:
        return gid_type(np.frombuffer(guid.ljust(gid_size, b"\0"), np.uint8))

    entities = store.type("rmw_dds_common/msg/NodeEntitiesInfo")(
        node_namespace=node[0],
        node_name=node[1],
        reader_gid_seq=[gid(guid) for guid in readers],
        writer_gid_seq=[gid(guid) for guid in writers],
    )
    info = store.type(DISCOVERY_TYPE)(gid=gid(participant), node_entities_info_seq=[entities])
    return store.encode(info, DISCOVERY_TYPE)


def type_conflict(peer: Peer, own_types: Mapping[str, str], store: Typestore) -> str | None:
    """What to tell the user if a peer's type does not fit ours; None if it does, or is not met.

    Args:
        peer: a reader or writer of anybody's.
        own_types: ROS type by DDS topic.
        store: for the hashes of our types.
    """
    ours = own_types.get(peer.topic)
    if ours is None:
        return None
    who = "a publisher" if peer.is_publisher else "a subscriber"
    topic = ros_topic(peer.topic)
    if peer.type_name != dds_type(ours):
        return (
            f"{who} on {topic} uses another type: {ros_type(peer.type_name)}, here it is {ours}; "
            "nothing passes between the two, remap one of them"
        )
    hash_here = store.type_hash(ours) if store.has_type_hashes else None
    if peer.type_hash and hash_here and peer.type_hash != hash_here:
        return (
            f"{who} on {topic} has another definition of {ours} ({peer.type_hash}, here "
            f"{hash_here}): its messages may be misread, build both from the same version"
        )
    return None


# Policy numbers of the DDS standard, and what helps.
_QOS_MENDS = {
    2: ("durability", "publish transient_local, or subscribe volatile"),
    4: ("deadline", "subscribe without a deadline"),
    6: ("ownership", "use shared ownership"),
    8: ("liveliness", "subscribe with automatic liveliness"),
    11: ("reliability", "publish reliable, or subscribe best_effort"),
    23: ("data representation", "use XCDR1 (plain CDR), as ROS 2 does"),
    24: ("type consistency", "build both sides from the same message definition"),
}


def qos_conflict(topic: str, policy_id: int, *, is_publisher: bool) -> str:
    """What to tell the user when a peer's quality of service cannot be met.

    Args:
        topic: absolute ROS name.
        policy_id: number of the policy in the DDS standard.
        is_publisher: whether ours is the publisher.
    """
    policy, mend = _QOS_MENDS.get(policy_id, (f"policy {policy_id}", "compare `ros2 topic info -v`"))
    asks = (
        f"a subscriber on {topic} asks for more {policy} than this node offers"
        if is_publisher
        else f"this node asks for more {policy} on {topic} than a publisher offers"
    )
    return f"{asks}: nothing passes between the two; {mend}"
