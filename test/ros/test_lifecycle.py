"""Transitions of the node's life cycle, asked for as ros2 lifecycle does."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy is not importable")
hand_mesh_msgs = pytest.importorskip(
    "hand_mesh_ros.msg", reason="needs hand_mesh_ros built by colcon and sourced"
)

from camera_samples import PERIOD_NS, START_NS, stamp_ns
from dds_peers import wait_until
from fake_pipeline import FakePipeline
from hand_samples import sample_hand
from visualization_msgs.msg import MarkerArray

BY_HAND = "-p", "autostart:=false"


def test_by_itself_it_becomes_active(start, peer):
    managed, _ = start()
    peer.wait_for_state("active")
    assert managed.node is not None


def test_without_autostart_it_waits_to_be_told(start, peer):
    managed, pipeline = start(*BY_HAND)
    assert (peer.state, managed.node) == ("unconfigured", None)
    assert not peer.node.count_publishers("/hand_mesh")
    assert peer.change("configure")
    assert peer.state == "inactive"
    wait_until(lambda: peer.node.count_publishers("/hand_mesh"), "the publisher")
    assert not peer.node.count_subscribers("/image")
    assert peer.change("activate")
    assert peer.state == "active"
    wait_until(lambda: peer.node.count_subscribers("/image"), "the subscription")
    assert not pipeline.closed


def test_deactivate_activate_and_cleanup(start, peer):
    managed, pipeline = start()
    pipeline.hands = (sample_hand(track_id=3),)
    arrays = peer.listen("/hand_meshes", hand_mesh_msgs.HandMeshArray)
    markers = peer.listen("/hand_markers", MarkerArray)
    peer.wait_for_publisher("/hand_meshes")
    peer.send_info(managed)
    wait_until(lambda: managed.node._hands._to_markers.subscriber_count, "the listener of markers")
    peer.send_image(START_NS, lambda: len(arrays) == 1)

    assert peer.change("deactivate")
    assert peer.state == "inactive"
    wait_until(lambda: len(markers) == 2, "the end of the markers")
    assert {(m.id, m.action) for m in markers[1].markers} == {(3, 2)}
    wait_until(lambda: not peer.node.count_subscribers("/image"), "the end of the subscription")

    assert peer.change("activate")
    peer.send_image(START_NS + PERIOD_NS, lambda: len(arrays) == 2)
    assert [stamp_ns(a) for a in arrays] == [START_NS, START_NS + PERIOD_NS]

    assert peer.change("deactivate")
    assert peer.change("cleanup")
    assert (peer.state, managed.node, pipeline.closed) == ("unconfigured", None, True)
    wait_until(lambda: not peer.node.count_publishers("/hand_mesh"), "the end of the publisher")
    names = [name for name, _ in peer.node.get_service_names_and_types()]
    assert "/hand_mesh/get_state" in names
    wait_until(
        lambda: (
            "/hand_mesh/enable" not in [name for name, _ in peer.node.get_service_names_and_types()]
        ),
        "the end of the service",
    )


def test_configured_anew_it_has_the_new_parameters(start, peer):
    built = []

    def build(parameters):
        built.append(parameters.max_hands)
        return FakePipeline()

    start(build=build)
    peer.wait_for_state("active")
    assert "cleanup first" in peer.set_parameter("max_hands", 1)
    assert peer.change("deactivate")
    assert "cleanup first" in peer.set_parameter("max_hands", 1)
    assert peer.change("cleanup")
    assert peer.set_parameter("max_hands", 1) == ""
    assert peer.change("configure")
    assert peer.change("activate")
    assert built == [2, 1]


def test_a_configure_that_fails_says_why_and_can_be_tried_again(start, peer):
    def build(parameters):
        if parameters.model != "landmark_fit":
            raise ValueError(f'parameter model: got "{parameters.model}"')
        return FakePipeline()

    managed, _ = start(*BY_HAND, "-p", "model:=nonsense", build=build)
    assert not peer.change("configure")
    assert peer.log_line("cannot configure", 'parameter model: got "nonsense"')
    assert (peer.state, managed.node) == ("unconfigured", None)
    assert peer.set_parameter("model", "landmark_fit") == ""
    assert peer.change("configure")
    assert peer.change("activate")
    assert peer.state == "active"


def test_an_activate_that_fails_ends_in_unconfigured_with_the_reason(start, peer, monkeypatch):
    managed, pipeline = start(*BY_HAND)
    assert peer.change("configure")

    def fail():
        raise RuntimeError("no camera driver")

    monkeypatch.setattr(managed.node, "activate", fail)
    assert not peer.change("activate")
    assert peer.log_line("cannot activate", "no camera driver")
    assert (peer.state, managed.node, pipeline.closed) == ("unconfigured", None, True)


def test_shutdown_frees_everything(start, peer):
    managed, pipeline = start()
    peer.wait_for_state("active")
    assert peer.change("active_shutdown")
    assert (peer.state, managed.node, pipeline.closed) == ("finalized", None, True)
