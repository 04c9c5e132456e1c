import threading
import time

from hand_mesh_ros.ros.depth_sync import DepthSync

MS = 1_000_000


class Clock:
    """Stands still, or steps at each look."""

    def __init__(self, step_s=0.0):
        self.now_s, self.step_s = 100.0, step_s

    def __call__(self):
        self.now_s += self.step_s
        return self.now_s


def test_depth_of_the_same_time_is_taken_at_once():
    sync = DepthSync(0.01)
    sync.put(1000 * MS, "a")
    sync.put(1033 * MS, "b")
    assert sync.take(1000 * MS, 0.0) == "a"  # arrived long ago: no waiting left, none needed
    assert sync.take(1033 * MS, 0.0) == "b"


def test_the_nearest_within_the_slop():
    sync = DepthSync(0.01)
    for stamp in (990, 1004, 1009):
        sync.put(stamp * MS, stamp)
    assert sync.take(1002 * MS, 0.0) == 1004
    assert sync.take(1019 * MS, 0.0) == 1009  # 10 ms: just
    assert sync.take(1020 * MS, 0.0) is None


def test_without_depth_nobody_waits():
    assert DepthSync(max_wait_s=1e9).take(1000 * MS, 0.0) is None


def test_depth_that_has_been_silent_is_not_waited_for():
    clock = Clock()
    sync = DepthSync(max_wait_s=1e9, clock=clock)
    sync.put(900 * MS, "old")
    clock.now_s += 1.5
    assert sync.take(1000 * MS, clock.now_s) is None


def test_newer_depth_means_that_it_will_not_come():
    clock = Clock()
    sync = DepthSync(max_wait_s=1e9, clock=clock)
    sync.put(1033 * MS, "next")
    assert sync.take(1000 * MS, clock.now_s) is None


def test_waiting_ends_in_time():
    clock = Clock(step_s=0.005)
    sync = DepthSync(max_wait_s=0.03, clock=clock)
    sync.put(967 * MS, "last")
    assert sync.take(1000 * MS, clock.now_s) is None
    assert clock.now_s < 100.1


def test_depth_that_comes_while_waited_for():
    sync = DepthSync(max_wait_s=30.0)
    sync.put(967 * MS, "last")
    got = []

    taker = threading.Thread(target=lambda: got.append(sync.take(1000 * MS, time.monotonic())))
    taker.start()
    sync.put(1001 * MS, "this")
    taker.join(20.0)
    assert got == ["this"]


def test_only_the_newest_few_are_kept():
    sync = DepthSync()
    for i in range(100):
        sync.put(i * 33 * MS, i)
    assert sync.take(0, 0.0) is None
    assert sync.take(99 * 33 * MS, 0.0) == 99
    sync.reset()
    assert sync.take(99 * 33 * MS, 0.0) is None
