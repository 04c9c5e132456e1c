"""What a ROS 2 node says of itself on the wire, so that `ros2 node list` and others can show it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.typestore import Typestore

DISCOVERY_TOPIC = "ros_discovery_info"
"""DDS topic; no ROS name, so without the prefix rt/."""
DISCOVERY_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
DISCOVERY_QOS = Qos("reliable", "transient_local", depth=1)
PARTICIPANT_USER_DATA = b"enclave=/;"


def dds_topic(full_name: str) -> str:
    """DDS name of an absolute ROS topic."""
    return f"rt{full_name}"


def dds_type(type_name: str) -> str:
    """DDS name of a ROS type: sensor_msgs/msg/Image is sensor_msgs::msg::dds_::Image_."""
    package, kind, name = type_name.split("/")
    return f"{package}::{kind}::dds_::{name}_"


def ros_type(dds_name: str) -> str:
    """ROS name of a DDS type; one that is no ROS type's stays as it is."""
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
        store: types of the distribution to be compatible with.
        participant: its GUID, 16 bytes.
        node: namespace ("/" for none) and name.
        readers: GUIDs of the node's readers, 16 bytes each.
        writers: GUIDs of the node's writers.
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
