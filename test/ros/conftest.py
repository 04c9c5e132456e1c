"""Fixtures of the tests that need ROS 2; without it each module skips itself by name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture
def domain():
    """A ROS domain of this test run's own."""
    from dds_peers import free_domain

    return free_domain()


@pytest.fixture
def peer(domain):
    """Another node, with ROS's own typed messages."""
    from ros_peer import RosPeer

    peer = RosPeer(domain)
    yield peer
    peer.close()


@pytest.fixture
def start(domain):
    """Starts a hand_mesh node with a fake pipeline, as often as a test wants."""
    from fake_pipeline import FakePipeline

    from hand_mesh_ros.ros.rclpy_node import ManagedHandMesh

    started = []

    def start(*arguments, build=None):
        pipeline = FakePipeline()
        managed = ManagedHandMesh(
            ["--ros-args", *arguments],
            build=build or (lambda parameters: pipeline),
            domain_id=domain,
        )
        started.append((managed, pipeline))
        return managed, pipeline

    yield start
    for managed, pipeline in started:
        pipeline.gate.set()
        managed.close()
