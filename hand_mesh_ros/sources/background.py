"""What is behind the hands of a synthetic image, and the noise of its sensor."""

from __future__ import annotations

import cv2
import numpy as np


class Background:
    """A blurred room of muted, cool colours that drifts slowly."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self._size = width, height
        self._drift_px = 0.12 * np.array([width, height])
        self._period_s = rng.uniform(9.0, 17.0, 2)
        w, h = int(1.24 * width) + 2, int(1.24 * height) + 2
        base = rng.uniform(70.0, 190.0) * np.array([0.92, 1.0, 1.06]) * rng.uniform(0.94, 1.06, 3)
        picture = np.tile(base.astype(np.float32), (h, w, 1))
        for _ in range(14):  # furniture
            size = rng.uniform(0.08, 0.5, 2) * [w, h]
            corner = rng.uniform(-0.1, 1.0, 2) * [w, h]
            shade = rng.uniform(0.72, 1.25) * np.array([rng.uniform(0.88, 0.97), 1.0, 1.05])
            a, b = (tuple(int(v) for v in p) for p in (corner, corner + size))
            cv2.rectangle(picture, a, b, (base * shade).tolist(), -1)
        picture = cv2.GaussianBlur(picture, (0, 0), 0.006 * w + 0.5)
        for cells in (6, 24, 96):  # texture, from patches to grain
            grain = rng.standard_normal((cells * h // w + 2, cells, 1)).astype(np.float32)
            picture += 5.0 * cv2.resize(grain, (w, h), interpolation=cv2.INTER_CUBIC)[:, :, None]
        self._picture = np.clip(picture, 0.0, 255.0).astype(np.uint8)

    def at(self, time_s: float) -> np.ndarray:
        """(H, W, 3) uint8 at a time."""
        swing = 1.0 + np.sin(2.0 * np.pi * time_s / self._period_s)  # 0 to 2
        x, y = np.rint(swing * self._drift_px).astype(int)
        w, h = self._size
        return self._picture[y : y + h, x : x + w].copy()


class ImageNoise:
    """Sensor noise: a stored field, somewhere else in every frame."""

    def __init__(self, width: int, height: int, stddev: float, rng: np.random.Generator) -> None:
        self._slack = 64
        shape = (height + self._slack, width + self._slack, 3)
        field = np.rint(stddev * rng.standard_normal(shape, dtype=np.float32))
        # Two unsigned halves: OpenCV adds bytes to bytes ten times as fast as signed to unsigned.
        self._brighter = np.clip(field, 0, 255).astype(np.uint8)
        self._darker = np.clip(-field, 0, 255).astype(np.uint8)

    def add(self, image: np.ndarray, index: int) -> None:
        """Add to an (H, W, 3) uint8 image in place, saturating."""
        y, x = index * 37 % self._slack, index * 23 % self._slack
        part = slice(y, y + image.shape[0]), slice(x, x + image.shape[1])
        cv2.add(image, self._brighter[part], dst=image)
        cv2.subtract(image, self._darker[part], dst=image)
