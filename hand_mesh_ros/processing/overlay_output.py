"""The recording with its hands drawn in: a video, or pictures where it was pictures."""

from __future__ import annotations

from pathlib import Path

import cv2

from hand_mesh_ros.processing.outputs import Answer, RecordingInfo
from hand_mesh_ros.processing.settings import ProcessingError
from hand_mesh_ros.sources.video import open_capture

_CODEC = "mp4v"
"""MPEG-4 part 2: what OpenCV's wheel can encode everywhere; H.264 is left out of it."""


class OverlayVideo:
    """`overlay.mp4`, one frame for each processed one, at the recording's median pace."""

    def __init__(self, folder: Path, info: RecordingInfo) -> None:
        self._path, self._rate_hz = folder / "overlay.mp4", info.rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._count = 0

    def add(self, answer: Answer) -> None:
        """Encode one frame; one of another size than the first is scaled."""
        picture = cv2.cvtColor(answer.overlay, cv2.COLOR_RGB2BGR)
        if self._writer is None:
            # The encoder needs even sizes.
            self._size = max(picture.shape[1] // 2 * 2, 2), max(picture.shape[0] // 2 * 2, 2)
            codec = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._path), codec, self._rate_hz, self._size)
            if not self._writer.isOpened():
                raise ProcessingError(
                    f"cannot write {self._path}: OpenCV cannot open it as {_CODEC} video "
                    "(no space left, or an OpenCV without FFmpeg?)"
                )
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(picture)
        self._count += 1

    def finish(self) -> None:
        """Close the file, and look whether it is whole: OpenCV does not say when a disk is full."""
        self.close()
        capture = open_capture(str(self._path))
        written = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if written != self._count:
            raise ProcessingError(
                f"{self._path} has {written} of {self._count} frames: no space left on the disk?"
            )

    def close(self) -> None:
        """Let go of the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None


class OverlayPictures:
    """`overlay/00000.png`, ...: pictures keep their sizes."""

    def __init__(self, folder: Path, info: RecordingInfo) -> None:
        self._folder = folder / "overlay"
        self._folder.mkdir()

    def add(self, answer: Answer) -> None:
        """Write one picture."""
        _, data = cv2.imencode(".png", cv2.cvtColor(answer.overlay, cv2.COLOR_RGB2BGR))
        (self._folder / f"{answer.index:05d}.png").write_bytes(data.tobytes())

    def finish(self) -> None:
        """Nothing is left to write."""

    def close(self) -> None:
        """Nothing to let go of."""
