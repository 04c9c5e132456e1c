"""A pipeline that sees what the test tells it to see."""

import threading

from hand_samples import sample_detection, small_hand_model

from hand_mesh_ros.types import Result


class FakePipeline:
    """Returns the hands that the test set, and remembers the frames."""

    def __init__(self):
        self.hand_model = small_hand_model()
        self.back_end = "fake"
        self.hands = self.hypotheses = ()
        self.frames = []
        self.resets = 0
        self.closed = False
        self.error = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def process(self, frame):
        self.entered.set()
        assert self.gate.wait(10.0)
        self.frames.append(frame)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        detections = tuple(sample_detection(h.side) for h in self.hands)
        return Result(
            frame.stamp_ns,
            frame.frame_id,
            tuple(self.hands),
            detections,
            {"detection": 0.002},
            hypotheses=tuple(self.hypotheses),
        )

    def reset(self):
        self.resets += 1

    def use_calibrations(self, calibrations):
        self.calibrations = dict(calibrations)

    def close(self):
        self.closed = True
