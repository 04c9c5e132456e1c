"""One recording from its first frame to its finished folder: the story of `hand-mesh process`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.processing.behind import Behind
from hand_mesh_ros.processing.jobs import Job, are_stills, open_job
from hand_mesh_ros.processing.output_folder import OutputFolder
from hand_mesh_ros.processing.outputs import Answer, Output, RecordingInfo, make_outputs
from hand_mesh_ros.processing.settings import ProcessingError, Settings
from hand_mesh_ros.ros.camera_info import same_calibration
from hand_mesh_ros.safety import without_broken
from hand_mesh_ros.sources.base import Source, SourceError
from hand_mesh_ros.tracking import Tracker
from hand_mesh_ros.types import Detection, Frame, Result

Progress = Callable[[int], None]
"""Called with the number of frames done since the last call."""


class RecordingProcessor:
    """Does one recording after the other, with one pipeline that starts each of them afresh."""

    def __init__(self, settings: Settings, out: Path) -> None:
        """Take the settings and the folder of outputs; raises as `build_pipeline` does."""
        self._settings, self._out = settings, out
        # Files must not depend on how many workers share the machine.
        cv2.setNumThreads(1)
        self._pipeline: Pipeline | None = build_pipeline(settings.parameters)

    def process(self, job: Job, on_frames: Progress) -> dict[str, Any]:
        """Write all outputs of a recording, and report on it.

        Raises:
            ProcessingError: it cannot be done; nothing of it is left behind.
        """
        try:
            return self._process(job, on_frames)
        except (ProcessingError, SourceError, OSError, ImportError) as error:
            raise ProcessingError(_one_line(error)) from error
        except Exception as error:
            # Half an update may be left behind in the pipeline, so the next one gets a new one.
            self.close()
            raise ProcessingError(f"{type(error).__name__}: {_one_line(error)}") from error

    def close(self) -> None:
        """Free the pipeline; safe to call twice."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()

    def _process(self, job: Job, on_frames: Progress) -> dict[str, Any]:
        started_s = time.monotonic()
        pipeline, settings = self._fresh_pipeline(), self._settings
        with ExitStack() as stack:
            source = open_job(job, settings)
            stack.callback(source.close)
            folder = OutputFolder(self._out, job, settings)
            stack.callback(folder.discard)
            info = RecordingInfo(
                name=job.name,
                title=f"{job.path.name} {job.image_topic}".strip(),
                rate_hz=source.rate_hz / settings.frames.every,
                are_stills=are_stills(source),
                hand_model=pipeline.hand_model,
            )
            tally = _Tally()
            behind = Behind(at_end=tally.close)
            stack.callback(behind.stop)
            behind.put(lambda: tally.open(make_outputs(folder.path, info, settings)))
            self._look(source, pipeline, tally, behind, on_frames)
            behind.wait()
            if not tally.num_frames:
                raise ProcessingError("it gave no frame to process (empty, or outside the range)")
            behind.put(tally.finish)
            behind.wait()
            report = tally.report(info.rate_hz)
            folder.publish(report)
        elapsed_s = time.monotonic() - started_s
        return {**report, **tally.speed(elapsed_s)}

    def _look(
        self,
        source: Source,
        pipeline: Pipeline,
        tally: _Tally,
        behind: Behind,
        on_frames: Progress,
    ) -> None:
        """Take every frame through the pipeline, as the live node does.

        Hands are looked for here, while `behind` reconstructs and writes those of earlier frames.
        """
        before: Frame | None = None
        began_s = time.perf_counter()
        for index, frame in enumerate(source):
            began_s = tally.spent("reading", began_s)
            is_fresh_start = before is not None and _is_fresh_start(before, frame)
            if is_fresh_start:
                pipeline.detector.reset()
            before = frame
            detections = pipeline.detect(frame)
            began_s = tally.spent("detection", began_s)
            behind.put(
                partial(_reconstruct, pipeline, tally, index, frame, detections, is_fresh_start)
            )
            began_s = tally.spent("waiting for the rest", began_s)
            on_frames(1)

    def _fresh_pipeline(self) -> Pipeline:
        """A pipeline that remembers nothing: its track ids begin at 1 again."""
        parameters = self._settings.parameters
        if self._pipeline is None:
            self._pipeline = build_pipeline(parameters)
        self._pipeline.reset()
        self._pipeline.tracker = Tracker(max_gap_s=parameters.lost_hand_timeout_s)
        return self._pipeline


class _Tally:
    """Feeds the outputs, and counts frames, hands and seconds."""

    def __init__(self) -> None:
        self._outputs: dict[str, Output] = {}
        self._spent_s: defaultdict[str, float] = defaultdict(float)
        self.num_frames = self.num_with_hand = self.num_hands = 0
        self._first_ns = self._last_ns = 0

    def open(self, outputs: dict[str, Output]) -> None:
        """Take the outputs to feed."""
        self._outputs = outputs

    def close(self) -> None:
        """Close the outputs, finished or not."""
        with ExitStack() as stack:  # each of them, whatever another one's close raises
            for output in self._outputs.values():
                stack.callback(output.close)

    def add(self, answer: Answer) -> None:
        """Give a frame to every output."""
        for name, output in self._outputs.items():
            began_s = time.perf_counter()
            output.add(answer)
            self.spent(f"output {name}", began_s)

    def saw(self, result: Result) -> None:
        """Count one processed frame."""
        if not self.num_frames:
            self._first_ns = result.stamp_ns
        self._last_ns = result.stamp_ns
        self.num_frames += 1
        self.num_with_hand += bool(result.hands)
        self.num_hands += len(result.hands)

    def spent(self, stage: str, began_s: float) -> float:
        """Add the time since then to a stage; returns now."""
        now_s = time.perf_counter()
        self._spent_s[stage] += now_s - began_s
        return now_s

    def finish(self) -> None:
        """Let every output write what it has left."""
        for name, output in self._outputs.items():
            began_s = time.perf_counter()
            output.finish()
            self.spent(f"output {name}", began_s)

    def report(self, rate_hz: float) -> dict[str, Any]:
        """What the recording was: nothing that differs from run to run."""
        return {
            "frames": self.num_frames,
            "frames_with_hand": self.num_with_hand,
            "hands": self.num_hands,
            "rate_hz": round(rate_hz, 3),
            "first_stamp_ns": self._first_ns,
            "last_stamp_ns": self._last_ns,
            "outputs": list(self._outputs),
        }

    def speed(self, elapsed_s: float) -> dict[str, Any]:
        """How long it took."""
        rate_hz = self.num_frames / max(elapsed_s, 1e-9)
        recorded_s = 1e-9 * (self._last_ns - self._first_ns)
        return {
            "seconds": round(elapsed_s, 3),
            "fps": round(rate_hz, 2),
            "real_time_factor": round(recorded_s / max(elapsed_s, 1e-9), 3),
            "stage_ms": {
                stage: round(1e3 * spent_s / max(self.num_frames, 1), 3)
                for stage, spent_s in self._spent_s.items()
            },
        }


def _reconstruct(
    pipeline: Pipeline,
    tally: _Tally,
    index: int,
    frame: Frame,
    detections: list[Detection],
    is_fresh_start: bool,
) -> None:
    """The second half of a frame's way, up to its outputs."""
    began_s = time.perf_counter()
    if is_fresh_start:
        pipeline.forget()
    result = pipeline.reconstruct(frame, detections)
    result = replace(result, hands=without_broken(result.hands).sound)  # as live
    tally.saw(result)
    tally.spent("reconstruction", began_s)
    tally.add(Answer(index, frame, result, pipeline.hand_model, is_fresh_start))


def _is_fresh_start(before: Frame, frame: Frame) -> bool:
    """Whether time went back, or depths seen through another camera would be blended in."""
    same_camera = frame.camera is before.camera or same_calibration(frame.camera, before.camera)
    return frame.stamp_ns < before.stamp_ns or not same_camera


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
