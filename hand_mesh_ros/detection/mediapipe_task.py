"""MediaPipe's HandLandmarker task: for newer versions, whose wheels come without models."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.detection.mediapipe_graph import INSTALL_LINE, RawHand
from hand_mesh_ros.detection.native_log import known_noise_dropped

_MEMBERS = ("hand_detector.tflite", "hand_landmarks_detector.tflite")


class HandTask:
    """A `.task` file run on video; it alone decides when its palm detector runs."""

    def __init__(
        self, *, task_file: str, max_hands: int, palm_threshold: float, presence_threshold: float
    ) -> None:
        _check_task_file(task_file)
        try:
            from mediapipe import Image, ImageFormat
            from mediapipe.tasks.python import BaseOptions
            from mediapipe.tasks.python.vision import (
                HandLandmarker,
                HandLandmarkerOptions,
                RunningMode,
            )
        except ImportError as error:
            raise ImportError(
                f"mediapipe's tasks could not be loaded ({error}): {INSTALL_LINE}"
            ) from error
        options = HandLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=task_file),
            running_mode=RunningMode.VIDEO,
            num_hands=max_hands,
            min_hand_detection_confidence=palm_threshold,
            min_hand_presence_confidence=presence_threshold,
        )
        self._open = lambda: HandLandmarker.create_from_options(options)
        self._image = lambda pixels: Image(image_format=ImageFormat.SRGB, data=pixels)
        self._task_file = task_file
        self._landmarker: Any = None
        self._time_ms = 0
        self._restart()

    def process(self, image: np.ndarray, *, search: bool, forget: bool) -> list[RawHand]:
        """Find hands; `search` is the task's own choice here, `forget` restarts it.

        The task gives no score of hand presence, so `score` repeats the score of the side.
        """
        del search
        if forget and self._has_memory:
            self._restart()
        # Times must increase strictly, two tries at one image included; the graph uses them for no
        # more than their order, so they are counted, not taken from the image.
        self._time_ms += 33
        result = self._landmarker.detect_for_video(self._image(image), self._time_ms)
        self._has_memory = bool(result.hand_landmarks)
        return [
            RawHand(
                # Unlike the graph, the task names sides for images that are not mirrored (as of
                # 0.10.21; its first versions still swapped them).
                side=Side[handedness[0].category_name.upper()],
                side_score=float(handedness[0].score),
                score=float(handedness[0].score),
                keypoints=np.array([(p.x, p.y) for p in landmarks]),
                keypoints_rel_m=np.array([(p.x, p.y, p.z) for p in world]),
            )
            for landmarks, world, handedness in zip(
                result.hand_landmarks, result.hand_world_landmarks, result.handedness, strict=True
            )
        ]

    def close(self) -> None:
        """Stop the task's threads."""
        self._landmarker.close()

    def _restart(self) -> None:
        if self._landmarker is not None:
            self._landmarker.close()
        with known_noise_dropped():
            try:
                self._landmarker = self._open()
            except (RuntimeError, ValueError) as error:
                raise ValueError(
                    f"{self._task_file}: mediapipe cannot read it as a hand landmarker "
                    f"({str(error).splitlines()[0]}); expected hand_landmarker.task"
                ) from error
            self._has_memory = False
            self.process(np.zeros((64, 64, 3), np.uint8), search=True, forget=False)


def _check_task_file(task_file: str) -> None:
    if not Path(task_file).is_file():
        raise FileNotFoundError(
            f"hand_landmarker_task: no such file: {task_file}; expected MediaPipe's "
            "hand_landmarker.task, or leave it empty for the models in mediapipe 0.10.21"
        )
    members = zipfile.ZipFile(task_file).namelist() if zipfile.is_zipfile(task_file) else None
    if members is None or not set(_MEMBERS) <= set(members):
        found = (
            "no zip archive" if members is None else f"a zip of {', '.join(members) or 'nothing'}"
        )
        raise ValueError(
            f"hand_landmarker_task: {task_file} is {found}; expected MediaPipe's "
            f"hand_landmarker.task, a zip of {' and '.join(_MEMBERS)}"
        )
