"""Faults around a node that is a process of its own, in short: `make faults` makes them all."""

import fault_processes
import fault_scenarios
import pytest
from fault_bench import Scene


@pytest.fixture(scope="module")
def scene():
    with Scene() as scene:
        yield scene


def test_a_fifth_of_the_images_lost(scene):
    fault_scenarios.lost_frames(scene, 0.2, count=45)


def test_duplicates_and_images_that_were_overtaken(scene):
    fault_scenarios.doubled_and_overtaken(scene, count=45)


def test_stamps_that_jump_by_an_hour(scene):
    fault_scenarios.clock_jumps(scene)


def test_more_images_than_the_node_can_take(scene):
    fault_scenarios.too_many_frames(scene, seconds=0.5)


def test_a_subscriber_that_stalls(scene):
    fault_scenarios.stalled_subscriber(scene, count=30)


def test_a_camera_that_dies_and_comes_back():
    fault_processes.camera_killed()


def test_a_node_that_dies_and_comes_back():
    fault_processes.node_killed()


def test_a_gpu_that_is_lost_and_found():
    pytest.importorskip("torch", reason="back-ends are chosen with torch")
    fault_processes.lost_back_end()


def test_a_disk_that_is_full(tmp_path):
    fault_processes.full_disk(tmp_path / "cache")
