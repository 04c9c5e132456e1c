"""What a plain DDS program sees of a DdsGraph: hashes, names and GUIDs as ROS 2 expects them."""

import pytest
from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsParticipant,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.core import InstanceState, Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import make_idl_struct, types
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from dds_peers import Peer, free_domain, wait_until

from hand_mesh_ros.ros.typestore import Typestore

PACKAGE = "rmw_dds_common.msg.dds_"


def info_reader(participant, gid_size):
    gid = make_idl_struct("Gid_", f"{PACKAGE}.Gid_", {"data": types.array[types.uint8, gid_size]})
    node = make_idl_struct(
        "NodeEntitiesInfo_",
        f"{PACKAGE}.NodeEntitiesInfo_",
        {
            "node_namespace": types.bounded_str[256],
            "node_name": types.bounded_str[256],
            "reader_gid_seq": types.sequence[gid],
            "writer_gid_seq": types.sequence[gid],
        },
    )
    info = make_idl_struct(
        "ParticipantEntitiesInfo_",
        f"{PACKAGE}.ParticipantEntitiesInfo_",
        {"gid": gid, "node_entities_info_seq": types.sequence[node]},
    )
    qos = Qos(
        Policy.Reliability.Reliable(duration(seconds=1)),
        Policy.Durability.TransientLocal,
        Policy.History.KeepLast(1),
    )
    return DataReader(participant, Topic(participant, "ros_discovery_info", info), qos)


def all_of(builtin_reader, seen):
    """Everything alive that a builtin reader has seen, by key."""
    for sample in builtin_reader.take(100):
        if sample.sample_info.instance_state == InstanceState.Alive:
            seen[sample.key] = sample
        else:
            seen.pop(sample.key, None)
    return seen


def endpoint_on(topic, builtin_reader, seen):
    def find():
        all_of(builtin_reader, seen)
        return next((end for end in seen.values() if end.topic_name == topic), None)

    return wait_until(find, f"an endpoint on {topic}")


@pytest.mark.parametrize(("distro", "gid_size"), [("jazzy", 16), ("humble", 24)])
def test_a_node_can_be_found_by_name_with_its_topics_and_hashes(distro, gid_size):
    domain = free_domain()
    observer = DomainParticipant(domain)
    participants = BuiltinDataReader(observer, BuiltinTopicDcpsParticipant)
    publications = BuiltinDataReader(observer, BuiltinTopicDcpsPublication)
    subscriptions = BuiltinDataReader(observer, BuiltinTopicDcpsSubscription)
    infos = info_reader(observer, gid_size)
    store, seen, newest = Typestore(distro), {}, []

    def info_with(readers, writers):
        newest.extend(infos.take(10))
        if not newest or not newest[-1].node_entities_info_seq:
            return None
        node = newest[-1].node_entities_info_seq[0]
        counts = (len(node.reader_gid_seq), len(node.writer_gid_seq))
        return newest[-1] if counts == (readers, writers) else None

    arguments = ["--ros-args", "-r", "__ns:=/robot", "-r", "__node:=watcher"]
    with Peer(domain, *arguments, distro=distro) as peer:
        info = wait_until(lambda: info_with(0, 0), "the node's name")
        node = info.node_entities_info_seq[0]
        assert (node.node_namespace, node.node_name) == ("/robot", "watcher")

        peer.publisher("hand_mesh", "hand_mesh_ros/msg/HandMesh")
        peer.subscribe("image", "sensor_msgs/msg/Image", reliability="best_effort", depth=1)

        writer = endpoint_on("rt/robot/hand_mesh", publications, {})
        reader = endpoint_on("rt/robot/image", subscriptions, {})
        assert writer.type_name == "hand_mesh_ros::msg::dds_::HandMesh_"
        assert reader.type_name == "sensor_msgs::msg::dds_::Image_"
        for end, type_name in (
            (writer, "hand_mesh_ros/msg/HandMesh"),
            (reader, "sensor_msgs/msg/Image"),
        ):
            user_data = end.qos[Policy.Userdata].data if Policy.Userdata in end.qos else b""
            hashed = f"typehash={store.type_hash(type_name)};".encode()
            assert user_data == (hashed if distro != "humble" else b"")
        assert Policy.Reliability.Reliable in writer.qos
        assert reader.qos[Policy.Reliability] == Policy.Reliability.BestEffort

        info = wait_until(lambda: info_with(1, 1), "both endpoints announced")
        node = info.node_entities_info_seq[0]
        padding = bytes(gid_size - 16)
        assert bytes(info.gid.data) == writer.participant_key.bytes + padding
        assert bytes(node.writer_gid_seq[0].data) == writer.key.bytes + padding
        assert bytes(node.reader_gid_seq[0].data) == reader.key.bytes + padding
        all_of(participants, seen)
        peer_qos = seen[writer.participant_key].qos
        assert peer_qos[Policy.Userdata].data == b"enclave=/;"

    def gone():
        return writer.participant_key not in all_of(participants, seen)

    wait_until(gone, "the node to leave")
