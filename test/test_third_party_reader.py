import ast
import json
import sys
from pathlib import Path

import numpy as np
from dds_peers import Program, free_domain, wait_until

from hand_mesh_ros.ros.dds_graph import DdsGraph
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.typestore import Typestore, message_folder

READER = Path(__file__).with_name("third_party_reader.py")
STORE = Typestore("jazzy")


def numbers(count, first, dtype=np.float32):
    """Different numbers that float32 holds exactly."""
    return (first + np.arange(count) / 8).astype(dtype)


def known_hand_mesh():
    message = STORE.type
    header = message("std_msgs/msg/Header")(
        message("builtin_interfaces/msg/Time")(sec=1_700_000_000, nanosec=123_456_789), "camera"
    )
    pose = message("geometry_msgs/msg/Pose")(
        message("geometry_msgs/msg/Point")(0.125, -0.25, 0.75),
        message("geometry_msgs/msg/Quaternion")(0.1, 0.2, 0.3, 0.9),
    )
    root = message("geometry_msgs/msg/PoseWithCovariance")(pose, numbers(36, -3, np.float64) / 3)
    roi = message("sensor_msgs/msg/RegionOfInterest")(11, 22, 333, 444, True)
    return message("hand_mesh_ros/msg/HandMesh")(
        header=header,
        side=1,
        side_score=0.875,
        track_id=4_000_000_000,
        score=0.9375,
        root=root,
        root_source=2,
        keypoints=numbers(63, 1),
        keypoint_stddev=numbers(21, 20),
        keypoints_2d=numbers(42, 300),
        vertices=numbers(3 * 778, -40),
        vertex_stddev=numbers(778, 0.5),
        vertex_colors=(np.arange(3 * 778) % 251).astype(np.uint8),
        pose=numbers(48, -1),
        shape=numbers(0, 0),
        roi=roi,
        grasp_aperture=0.0625,
        model="landmark_fit",
        hand_model="open hand, ✋",
    )


def plain(value):
    """The message as nested lists and dictionaries."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "__msgtype__"):
        fields = [name for name, _ in STORE.fields(value.__msgtype__)]
        return {name: plain(getattr(value, name)) for name in fields}
    return value


def test_a_program_that_knows_only_dds_reads_every_field():
    domain = free_domain()
    graph = DdsGraph("hand_mesh", domain_id=domain)
    publisher = graph.publisher("hand_mesh", "hand_mesh_ros/msg/HandMesh", Qos())
    sent = known_hand_mesh()
    command = [sys.executable, READER, domain, message_folder() / "HandMesh.msg"]

    with Program(command, PYTHONPATH=None) as reader:
        assert json.loads(reader.line()) == "ready"
        wait_until(lambda: publisher.subscriber_count == 1, "the reader")
        publisher.publish(STORE.encode(sent))
        read = json.loads(reader.line())
        assert reader.finish() == 0
    graph.shutdown()

    expected = plain(sent)
    assert list(read) == list(expected)  # all fields, in order
    for name, value in expected.items():
        assert read[name] == value, name


def test_the_reader_shares_no_code_with_us():
    tree = ast.parse(READER.read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {
        n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names
    }

    assert {name.split(".")[0] for name in modules} == {
        "cyclonedds",
        "json",
        "pathlib",
        "re",
        "sys",
    }
