"""The same frames through both graphs, each in a process of its own with the real pipeline."""

import importlib.util
import itertools
import os
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy is not importable")
hand_mesh_msgs = pytest.importorskip(
    "hand_mesh_ros.msg", reason="needs hand_mesh_ros built by colcon and sourced"
)
MISSING = [name for name in ("cyclonedds", "mediapipe") if importlib.util.find_spec(name) is None]
# A mark, not a skip of the module: launch_testing's plugin would leave out the whole folder.
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING} beside ROS 2")

from camera_samples import PERIOD_NS, START_NS, STORE
from dds_peers import Program, wait_until

from hand_mesh_ros.ros.camera_node import _camera_info
from hand_mesh_ros.ros.messages import image_message
from hand_mesh_ros.sources.synthetic import SyntheticCamera

NUM_FRAMES = 20
NODES = {
    "/dds": ("-m", "hand_mesh_ros.cli", "run"),
    "/ros": ("-c", "from hand_mesh_ros.ros.rclpy_node import main; raise SystemExit(main())"),
}
ARGUMENTS = (
    *("--ros-args", "-r", "image:=/image", "-r", "camera_info:=/camera_info"),
    *("-p", "image_reliability:=reliable", "-p", "camera_info_timeout_s:=60.0"),
    *("-p", "stale_timeout_s:=60.0"),
)


@pytest.fixture
def nodes(domain):
    environment = {"PYTHONPATH": os.environ["PYTHONPATH"], "ROS_DOMAIN_ID": str(domain)}
    programs = [
        Program([sys.executable, *command, *ARGUMENTS, "-r", f"__ns:={namespace}"], **environment)
        for namespace, command in NODES.items()
    ]
    yield programs
    for program in programs:
        program.process.terminate()
    codes = [program.finish() for program in programs]
    assert codes == [0, 0]


def test_both_graphs_give_identical_bytes(nodes, peer):
    arrays, meshes = {}, {}
    for namespace in NODES:
        kinds = hand_mesh_msgs.HandMeshArray, hand_mesh_msgs.HandMesh
        arrays[namespace] = peer.listen(f"{namespace}/hand_meshes", kinds[0], raw=True)
        meshes[namespace] = peer.listen(f"{namespace}/hand_mesh", kinds[1], 50, raw=True)

    def answered(stamp_ns):
        """Whether both nodes have answered the image of that time."""
        stamp = STORE.encode(image_message(STORE, blank, stamp_ns, "cam"))[4:12]
        return all(any(bytes(a[4:12]) == stamp for a in list(heard)) for heard in arrays.values())

    def send(picture, stamp_ns):
        peer.send(
            "/image",
            image_message(STORE, picture, stamp_ns, "cam"),
            lambda: answered(stamp_ns),
        )

    frames = [item.frame for item in itertools.islice(SyntheticCamera(hands=2), NUM_FRAMES)]
    blank = np.zeros_like(frames[0].image)
    info = _camera_info(STORE, frames[0].camera, frames[0])
    wait_until(
        lambda: all(peer.node.count_publishers(f"{ns}/hand_meshes") for ns in NODES), "both nodes"
    )
    # Until a calibration has come images are passed over: later stamps, which start afresh then.
    later = itertools.count(START_NS + 10**12, PERIOD_NS)

    def warm():
        stamp_ns = next(later)
        peer.send("/camera_info", info, lambda: True)
        peer.send("/image", image_message(STORE, blank, stamp_ns, "cam"), lambda: True)
        return all(arrays.values())

    wait_until(warm, "first answers of both nodes")
    assert not any(meshes.values())
    for i, frame in enumerate(frames):
        send(frame.image, START_NS + i * PERIOD_NS)

    kind = "hand_mesh_ros/msg/HandMeshArray"
    counts = [sum(len(STORE.decode(a, kind).hands) for a in heard) for heard in arrays.values()]
    assert counts[0] == counts[1] >= 1.5 * NUM_FRAMES
    wait_until(lambda: [len(m) for m in meshes.values()] == counts, f"{counts} hands")
    for dds, ros in zip(meshes["/dds"], meshes["/ros"], strict=True):
        assert bytes(dds) == bytes(ros)
