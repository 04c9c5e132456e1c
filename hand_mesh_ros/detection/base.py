"""What the pipeline asks of a 2D hand detector."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hand_mesh_ros.types import Detection


class Detector(Protocol):
    """Finds hands in the images of one stream; may use what it saw in earlier ones."""

    def detect(self, image_rgb: np.ndarray, stamp_ns: int) -> list[Detection]:
        """Find the hands of one image.

        Args:
            image_rgb: (H, W, 3) uint8.
            stamp_ns: the image's own time; going backwards starts a new stream.

        Returns:
            At most the configured number of hands, each once.
        """
        ...

    def reset(self) -> None:
        """Forget earlier images: the next one is the first of a new stream."""
        ...

    def close(self) -> None:
        """Free what the detector holds; safe to call twice."""
        ...


LANDMARK_STDDEV = 0.025
"""Error of a landmark in each image axis, as a share of the hand's extent: MediaPipe 0.10.21 on 567
renders in all views (`tools/calibrate_detector.py`, robust)."""
INDEPENDENT_LANDMARKS = 3.0
"""The 21 landmarks of a hand err together, and say as much as so many that err on their own: by
the scatter of their mean 2.7, by that of their size 3.9 (46,153 renders, robust)."""
