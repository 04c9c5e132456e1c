"""A back-end that fails while it runs: simulated at its border, as there is no GPU to take away."""

import numpy as np
import pytest

from hand_mesh_ros.backends.base import BackEndError
from hand_mesh_ros.backends.fallback import MAX_RETRY_S, RETRY_S, FallbackRun

INPUTS = {"image": np.zeros((1, 3, 4, 4), np.float32)}


class Fake:
    """A back-end that answers with its name's length until told to fail."""

    def __init__(self, name):
        self.name, self.error, self.runs = name, None, 0

    def run(self, inputs):
        self.runs += 1
        if self.error is not None:
            raise self.error
        return {"answer": np.full(1, len(self.name), np.float32)}


class Bench:
    def __init__(self):
        self.now_s, self.said, self.opened = 100.0, [], 0
        self.gpu, self.cpu = Fake("tensorrt (GPU)"), Fake("torch (CPU)")
        self.run = FallbackRun(self.gpu, self.open, log=self.said.append, clock=lambda: self.now_s)

    def open(self):
        self.opened += 1
        return self.cpu

    def answer(self):
        return int(self.run(INPUTS)["answer"][0])


@pytest.fixture
def bench():
    return Bench()


def test_while_it_works_nothing_else_is_opened(bench):
    assert [bench.answer() for _ in range(3)] == [14, 14, 14]
    assert (bench.opened, bench.said, bench.run.name) == (0, [], "tensorrt (GPU)")


def test_no_frame_is_lost_when_it_fails(bench):
    bench.answer()
    bench.gpu.error = RuntimeError("CUDA error: out of memory\nlong trace")
    assert bench.answer() == 11
    assert bench.run.name == "torch (CPU)"
    failed, stepped_in = bench.said
    assert "tensorrt (GPU) failed while it ran (RuntimeError: CUDA error: out of memory)" in failed
    assert f"in {RETRY_S:g} s" in failed
    assert "\n" not in failed
    assert stepped_in == "back-end torch (CPU) has stepped in"


def test_it_is_tried_again_later_and_not_before(bench):
    bench.gpu.error = RuntimeError("gone")
    bench.answer()
    runs = bench.gpu.runs
    bench.now_s += RETRY_S - 0.1
    assert bench.answer() == 11
    assert bench.gpu.runs == runs
    bench.gpu.error = None
    bench.now_s += 0.2
    assert bench.answer() == 14
    assert bench.said[-1] == "back-end tensorrt (GPU) works again"
    bench.gpu.error = RuntimeError("gone")
    assert bench.answer() == 11
    assert bench.opened == 1


def test_pauses_grow_up_to_a_bound(bench):
    bench.gpu.error = RuntimeError("gone")
    pauses = []
    for _ in range(10):
        runs, start_s = bench.gpu.runs, bench.now_s
        while bench.gpu.runs == runs:
            bench.now_s += 1.0
            assert bench.answer() == 11
        pauses.append(bench.now_s - start_s)
    assert pauses[1:4] == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S]
    assert pauses[-1] == MAX_RETRY_S


def test_inputs_that_do_not_fit_are_the_callers_fault(bench):
    bench.gpu.error = BackEndError("batch is 3, this engine takes 1 to 2")
    with pytest.raises(BackEndError, match="batch is 3"):
        bench.answer()
    assert bench.opened == 0
