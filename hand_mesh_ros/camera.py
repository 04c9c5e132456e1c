"""A calibrated camera: pixels to rays and back, with the lens models of sensor_msgs/CameraInfo."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole with distortion; all of it refers to the raw (unrectified) image."""

    width: int
    height: int
    K: np.ndarray
    """(3, 3) px."""
    distortion_model: str = "plumb_bob"
    D: np.ndarray = field(default_factory=lambda: np.zeros(5))
    assumed: bool = False
    """True when K is a guess from an assumed field of view."""
