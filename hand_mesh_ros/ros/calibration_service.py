"""The service ~/calibrate_hand: watch each visible hand, then fix its shape and size."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_calibration import (
    CalibrationError,
    HandCalibration,
    HandCalibrator,
    save_calibrations,
)
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.ros.graph import Answer
from hand_mesh_ros.types import Result

TIMEOUT_S = 15.0
"""A second hand that is only seen now and then is waited for no longer than this."""


class CalibrationService:
    """`observe` on the worker's thread, where the pipeline may be changed; `serve` on another."""

    def __init__(
        self,
        model: HandModel,
        use: Callable[[Mapping[Side, HandCalibration]], None],
        *,
        path: Path | None,
        log: logging.Logger,
        frames: int = 60,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Calibrate hands of a model.

        Args:
            model: whose shapes these are.
            use: makes the pipeline use calibrations.
            path: file to keep them in; None to keep none.
            log: says what was found.
            frames: how many of each hand are averaged.
            timeout_s: how long to wait for them.
        """
        self._model, self._use, self._path, self._log = model, use, path, log
        self._frames, self._timeout_s = frames, timeout_s
        self._lock = threading.Lock()
        self._calibrator: HandCalibrator | None = None
        self._answer: Answer | None = None
        self._end_s = 0.0
        self._answered = threading.Event()

    def serve(self) -> Answer:
        """Begin, wait, answer; a second caller meanwhile is refused."""
        with self._lock:
            if self._calibrator is not None:
                return False, "a calibration is going on already"
            self._calibrator = HandCalibrator(self._model, self._frames)
            self._answer = None
            self._end_s = time.monotonic() + self._timeout_s
            self._answered.clear()
        # The worker ends it; without images it never looks at the time.
        self._answered.wait(self._timeout_s + 1.0)
        with self._lock:
            self._calibrator = None
            return self._answer or (False, f"no image came in {self._timeout_s:g} s")

    def observe(self, result: Result) -> None:
        """Take one frame's hands; with the last one needed, the pipeline gets the calibration."""
        with self._lock:
            if self._calibrator is None or self._answer is not None:
                return
            self._calibrator.update(result.unsmoothed_hands)
            if self._calibrator.progress < 1.0 and time.monotonic() < self._end_s:
                return
            self._answer = self._finish(self._calibrator)
            self._answered.set()

    def _finish(self, calibrator: HandCalibrator) -> Answer:
        try:
            found = calibrator.result()
        except CalibrationError as error:
            return False, str(error)
        self._use(found)
        text = "; ".join(_described(calibration) for calibration in found.values())
        if self._path is None:
            text += "; not stored: parameter hand_calibration_file is empty"
        else:
            try:
                save_calibrations(found, self._path)
            except OSError as error:
                return False, f"{text}; in use, but not stored in {self._path}: {error.strerror}"
            text += f"; stored in {self._path}"
        self._log.info(f"calibrated: {text}")
        return True, text


def _described(calibration: HandCalibration) -> str:
    length_mm, stddev_mm = 1e3 * calibration.hand_length_m, 1e3 * calibration.hand_length_stddev_m
    how = "by depth" if calibration.by_depth else "without depth, so the size is a guess"
    return (
        f"{calibration.side.name.lower()} hand {length_mm:.0f} mm +- {stddev_mm:.0f} mm long "
        f"({calibration.frames} frames, {how})"
    )
