"""The node through rclpy, seen by another node that uses ROS's own typed messages."""

import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy is not importable")
hand_mesh_msgs = pytest.importorskip(
    "hand_mesh_ros.msg", reason="needs hand_mesh_ros built by colcon and sourced"
)

from camera_samples import START_NS, STORE, image, stamp_ns
from dds_peers import wait_until
from diagnostic_msgs.msg import DiagnosticArray
from hand_samples import sample_hand
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.parameters import SPECS, ParameterError
from hand_mesh_ros.ros.rclpy_graph import RclpyGraph

ADD, DELETE = 0, 2


def wait_for(heard, count):
    wait_until(lambda: len(heard) >= count, f"{count} messages")
    return heard


def test_image_in_messages_out_with_the_images_stamp_and_frame(start, peer):
    hands = sample_hand(Side.LEFT, track_id=1), sample_hand(track_id=2, seed=1)
    managed, pipeline = start()
    pipeline.hands = hands
    arrays = peer.listen("/hand_meshes", hand_mesh_msgs.HandMeshArray)
    meshes = peer.listen("/hand_mesh", hand_mesh_msgs.HandMesh)
    frames = peer.listen("/tf", TFMessage)
    markers = peer.listen("/hand_markers", MarkerArray)
    for topic in ("/hand_meshes", "/hand_mesh", "/tf", "/hand_markers"):
        peer.wait_for_publisher(topic)
    peer.send_info(managed)
    to_markers = managed.node._hands._to_markers
    wait_until(lambda: to_markers.subscriber_count == 1, "the listener of markers")
    peer.send_image(START_NS + 5, lambda: arrays, "left_camera_optical_frame")

    (array,), (left, right) = wait_for(arrays, 1), wait_for(meshes, 2)
    (tf,), (drawn,) = wait_for(frames, 1), wait_for(markers, 1)
    stamped = [array, *array.hands, left, right, *tf.transforms, *drawn.markers]
    assert {stamp_ns(m) for m in stamped} == {START_NS + 5}
    assert {m.header.frame_id for m in stamped} == {"left_camera_optical_frame"}
    assert [h.track_id for h in array.hands] == [left.track_id, right.track_id] == [1, 2]
    for message, hand in zip((left, right), hands, strict=True):
        expected = np.float32(hand.vertices_m).ravel()
        np.testing.assert_array_equal(np.asarray(message.vertices, np.float32), expected)
        assert message.side == hand.side
    assert [t.child_frame_id for t in tf.transforms] == [
        *("left_hand_root", "left_hand_grasp", "right_hand_root", "right_hand_grasp")
    ]
    (seen,) = pipeline.frames
    np.testing.assert_array_equal(seen.image.ravel(), image().data)
    assert seen.camera.K[0, 0] == 50.0


def test_topology_is_there_for_those_who_come_later(start, peer):
    start()
    peer.wait_for_state("active")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    (topology,) = wait_for(peer.listen("/hand_topology", hand_mesh_msgs.HandTopology, latched), 1)
    assert topology.hand_model == "test_hand"
    assert len(topology.keypoint_names) == 21


def test_namespace_remaps_and_parameters_of_the_command_line(start, peer):
    managed, pipeline = start(
        *("-r", "__ns:=/robot", "-r", "__node:=hands", "-r", "image:=/camera/image_raw"),
        *("-p", "assumed_fov_deg:=75", "-p", "tf_prefix:=op_", "-p", "camera_info_timeout_s:=0.0"),
    )
    arrays = peer.listen("/robot/hand_meshes", hand_mesh_msgs.HandMeshArray)
    peer.wait_for_publisher("/robot/hand_meshes")
    peer.send("/camera/image_raw", image(START_NS), lambda: arrays)
    assert managed.graph.node_name == "hands"
    assert managed.parameters.tf_prefix == "op_"
    # Half of 64 px is seen under half of 75 degrees.
    assert pipeline.frames[0].camera.K[0, 0] == pytest.approx(32 / np.tan(np.radians(37.5)))
    assert peer.log_line("no camera_info in 0 s")


def test_every_parameter_is_described(start, peer):
    start()
    described = peer.describe_parameters(*(spec.name for spec in SPECS))
    types = {bool: 1, int: 2, float: 3, str: 4}
    for spec, descriptor in zip(SPECS, described, strict=True):
        assert descriptor.name == spec.name
        assert descriptor.description == spec.text
        assert descriptor.type == types[type(spec.default)]
        assert descriptor.read_only == (spec.when == "start")
        assert spec.expected in descriptor.additional_constraints
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert [(r.from_value, r.to_value) for r in ranges] == (
            [] if spec.minimum is None else [(spec.minimum, spec.maximum)]
        )


def test_live_parameters_are_taken_and_the_others_refused_with_a_reason(start, peer):
    managed, _ = start()
    peer.wait_for_state("active")
    assert peer.set_parameter("tf_prefix", "op_") == ""
    assert managed.node.parameters.tf_prefix == "op_"
    for name, value, *words in (
        ("tf_prefix", "/robot", "got '/robot'", "no leading slash"),
        ("stale_timeout_s", 99.0, "99.0", "60.0"),
        ("publish_tf", "yes", "BOOL", "STRING"),
        ("max_hands", 1, "max_hands", "deactivate and cleanup first"),
        ("autostart", False, "read-only"),
    ):
        reason = peer.set_parameter(name, value)
        for word in words:
            assert word in reason, (name, reason)
    assert managed.node.parameters == managed.parameters
    assert (managed.parameters.tf_prefix, managed.parameters.max_hands) == ("op_", 2)


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("max_hand: 1", ['"max_hand" is unknown', 'did you mean "max_hands"?']),
        ("max_hands: two", ["max_hands", "'two'", "an integer from 1 to 16"]),
    ],
)
def test_a_parameter_file_that_is_wrong_is_refused_as_without_ros(start, tmp_path, yaml, words):
    path = tmp_path / "my.yaml"
    path.write_text(f"/**:\n  ros__parameters:\n    {yaml}\n")
    with pytest.raises(ParameterError) as error:
        start("--params-file", str(path))
    for word in words:
        assert word in str(error.value)


def test_arguments_that_ros_does_not_know_are_refused_in_one_line(domain):
    with pytest.raises(ValueError, match="ROS does not take the arguments") as error:
        RclpyGraph("camera", arguments=["--ros-args", "--nonsense"], domain_id=domain)
    assert "--nonsense" in str(error.value)
    assert "\n" not in str(error.value)


def test_services_enable_and_reset(start, peer):
    _, pipeline = start()
    peer.wait_for_state("active")
    assert peer.enable(False)[0]
    wait_until(lambda: not peer.node.count_subscribers("/image"), "the end of the subscription")
    assert peer.state == "active"
    assert peer.enable(True)[0]
    wait_until(lambda: peer.node.count_subscribers("/image"), "a new subscription")
    before = pipeline.resets
    answer = peer.reset()
    assert (answer.success, answer.message) == (True, "all tracks forgotten")
    assert pipeline.resets == before + 1


def test_a_service_that_waits_blocks_nobody(start, peer):
    managed, pipeline = start()
    peer.send_info(managed)
    pipeline.gate.clear()
    peer.send_image(START_NS, pipeline.entered.is_set)
    waiting = peer.ask("/hand_mesh/reset", Trigger)
    assert peer.state == "active"
    assert not waiting.done()
    pipeline.gate.set()
    wait_until(waiting.done, "an answer")
    assert waiting.result().success


def test_what_a_service_raises_is_its_answer(start, peer, monkeypatch):
    _, pipeline = start()

    def fail():
        raise RuntimeError("no way back")

    peer.wait_for_state("active")
    monkeypatch.setattr(pipeline, "reset", fail)
    answer = peer.reset()
    assert (answer.success, answer.message) == (False, "RuntimeError: no way back")


def test_a_silent_camera_lets_hands_vanish_until_it_is_back(start, peer):
    managed, pipeline = start("-p", "stale_timeout_s:=0.2")
    pipeline.hands = (sample_hand(track_id=3),)
    arrays = peer.listen("/hand_meshes", hand_mesh_msgs.HandMeshArray)
    markers = peer.listen("/hand_markers", MarkerArray)
    reports = peer.listen("/diagnostics", DiagnosticArray)
    peer.wait_for_publisher("/hand_meshes")
    peer.send_info(managed)
    to_markers = managed.node._hands._to_markers
    wait_until(lambda: to_markers.subscriber_count == 1, "the listener of markers")
    peer.send_image(START_NS, lambda: len(markers) == 2)
    actions = [(stamp_ns(a.markers[0]), {(m.id, m.action) for m in a.markers}) for a in markers]
    assert actions == [(START_NS, {(3, ADD)}), (START_NS, {(3, DELETE)})]
    assert pipeline.resets == 1
    assert peer.log_line("no image for 0.2 s")

    def warned():
        last = reports[-1].status[0] if reports else None
        return last and last.level == b"\x01" and last.message.startswith("no image for ")

    wait_until(warned, "a warning in /diagnostics")
    assert len(arrays) == 1  # nobody saw that there is no hand

    peer.send_image(START_NS + 60 * 10**9, lambda: len(arrays) == 2)
    assert stamp_ns(arrays[1]) == START_NS + 60 * 10**9
    assert [h.track_id for h in arrays[1].hands] == [3]
    assert peer.log_line("images again, after")


def test_qos_that_does_not_fit_is_said_once_with_the_mend(start, peer):
    start("-p", "image_reliability:=reliable")
    peer.wait_for_state("active")
    for _ in range(2):
        peer.node.create_publisher(Image, "/image", qos_profile_sensor_data)
    line = peer.log_line("this node asks for more reliability on /image")
    assert "set this node's parameter image_reliability to best_effort" in line
    wait_until(lambda: peer.node.count_publishers("/image") == 2, "both publishers")
    peer.reset()  # the log has gone through by now
    assert len(peer.log_lines("more reliability on /image")) == 1


def test_diagnostics_have_the_simulated_time(start, peer):
    start("-p", "use_sim_time:=true")
    reports = peer.listen("/diagnostics", DiagnosticArray)
    clock = STORE.type("rosgraph_msgs/msg/Clock")
    now = clock(clock=STORE.type("builtin_interfaces/msg/Time")(sec=1234, nanosec=0))
    peer.send("/clock", now, lambda: any(stamp_ns(r) == 1234 * 10**9 for r in reports))


def test_a_callback_that_fails_is_logged_and_the_next_message_comes(domain, peer):
    graph = RclpyGraph("failing", domain_id=domain)
    got = threading.Event()

    def on_image(cdr):
        if not peer.log_lines("callback of image failed"):
            raise RuntimeError("told to fail")
        got.set()

    try:
        graph.subscribe("image", "sensor_msgs/msg/Image", Qos(depth=1), on_image)
        peer.send_image(START_NS, got.is_set)
        assert peer.log_lines("callback of image failed", "RuntimeError: told to fail")
    finally:
        graph.shutdown()


def test_after_shutdown_publishing_does_nothing(domain):
    graph = RclpyGraph("leaving", domain_id=domain)
    publisher = graph.publisher("image", "sensor_msgs/msg/Image", Qos())
    graph.shutdown()
    graph.shutdown()
    publisher.publish(b"\x00\x01\x00\x00")
    assert publisher.subscriber_count == 0


def test_shutdown_from_a_callback_ends_spin(domain, peer):
    graph = RclpyGraph("leaving", domain_id=domain)
    graph.subscribe("image", "sensor_msgs/msg/Image", Qos(depth=1), lambda cdr: graph.shutdown())
    spinning = threading.Thread(target=graph.spin)
    spinning.start()
    peer.send_image(START_NS, lambda: not spinning.is_alive())
