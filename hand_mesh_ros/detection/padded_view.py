"""The image centred in a black square twice its size: how a hand that fills the image is found."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PADDED_SIDE = 2.0
"""Side of the square, in longer sides of the image. Of crops cut tightly around hands the palm
detector found 55% as they are, 93% like this; replicated and mirrored borders did worse."""
MAX_SIDE_PX = 640
"""A hand that fills the image keeps at least 200 px: its landmarks are computed from 224."""


@dataclass(frozen=True)
class PaddedView:
    """A padded, possibly smaller image, and the way back to the source's pixels."""

    image: np.ndarray
    """(S, S, 3) uint8."""
    scale: float
    """Padded px per source px."""
    offset_px: np.ndarray
    """(2,) px, where the centre of the source's top left pixel lies in the padded image."""

    @classmethod
    def of(cls, image: np.ndarray) -> PaddedView:
        """Pad (and for large images shrink) an (H, W, 3) image."""
        height, width = image.shape[:2]
        side = round(min(PADDED_SIDE * max(height, width), MAX_SIDE_PX))
        scale = side / (PADDED_SIDE * max(height, width))
        inner_w, inner_h = max(round(width * scale), 1), max(round(height * scale), 1)
        if (inner_w, inner_h) != (width, height):
            image = cv2.resize(image, (inner_w, inner_h), interpolation=cv2.INTER_AREA)
        left, top = (side - inner_w) // 2, (side - inner_h) // 2
        padded = np.zeros((side, side, 3), np.uint8)
        padded[top : top + inner_h, left : left + inner_w] = image
        # cv2.resize aligns the corners of the image, not the centres of its corner pixels.
        scale_xy = np.array([inner_w / width, inner_h / height])
        return cls(padded, scale, np.array([left, top]) + 0.5 * scale_xy - 0.5)

    def to_source(self, points_px: np.ndarray) -> np.ndarray:
        """(..., 2) px of the padded image to px of the source."""
        return (points_px - self.offset_px) / self.scale
