"""How long `hand-mesh demo` waits for a node's first answer, with processes that are scripted."""

import itertools

import pytest

pytest.importorskip("rich")
pytest.importorskip("cyclonedds")

from hand_mesh_ros.cli import demo


class Node:
    """Says something whenever it is looked at, or nothing at all; answers after some looks."""

    def __init__(self, monitor, *, talks, answers_after):
        self.monitor, self.talks, self.answers_after = monitor, talks, answers_after
        self.looks = itertools.count(1)
        self.said = 0

    @property
    def exit_code(self):
        if next(self.looks) >= self.answers_after:
            self.monitor.num_results = 1
            self.monitor.camera.exit_code = 0
        return None

    def amount_said(self):
        self.said += self.talks
        return self.said


class Camera:
    exit_code = None


class Monitor:
    num_results = 0

    def __init__(self):
        self.camera = Camera()


@pytest.mark.parametrize(("talks", "most_build_s", "waits"), [(1, 60, 1), (0, 60, 0), (1, 5, 0)])
def test_a_node_that_says_what_it_does_is_waited_for(monkeypatch, talks, most_build_s, waits):
    """It answers at the fortieth look, after some twenty seconds; silence is suffered for five."""
    clock = itertools.count()
    monkeypatch.setattr(demo.time, "monotonic", lambda: float(next(clock)) / 4.0)
    monkeypatch.setattr(demo.time, "sleep", lambda _: None)
    monkeypatch.setattr(demo, "NO_ANSWER_S", 5.0)
    monkeypatch.setattr(demo, "MOST_BUILD_S", float(most_build_s))
    monitor = Monitor()
    node = Node(monitor, talks=talks, answers_after=40)
    demo._watch(monitor, node, monitor.camera, None, headless=True)
    assert monitor.num_results == waits


def test_what_a_process_says_is_read_without_moving_where_it_writes():
    process = demo._Process("doctor", ["--help"])
    process._popen.wait(60)
    words = process.all_words()
    assert words == process.all_words()
    assert len(words.encode()) == process.amount_said() > 0
    assert "usage: hand-mesh" in words
