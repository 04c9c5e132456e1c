"""Named gestures, and how bends of fingers become joint angles.

The synthetic camera moves from gesture to gesture; the pose prior speaks the same language.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hand_mesh_ros.conventions import FINGERS
from hand_mesh_ros.hand_models.anatomy import Anatomy


class Gesture(NamedTuple):
    """How far fingers are bent, from 0 (straight) to 1 (as in a fist), thumb to little."""

    base: tuple[float, ...]
    """Bend at the knuckle; for the thumb, how far it lies across the palm."""
    tip: tuple[float, ...]
    """Bend of the two joints beyond."""
    spread: float
    """-1 fingers pressed together, 1 spread wide."""

    @property
    def bends(self) -> np.ndarray:
        """(3, 5) base, tip and spread of each finger."""
        return np.array([self.base, self.tip, [self.spread] * len(FINGERS)])


# The synthetic camera draws from this table by number: a change of order shows other hands.
GESTURES = {
    "open": Gesture((0.0, 0.0, 0.0, 0.0, 0.0), (0.05, 0.03, 0.03, 0.03, 0.03), 0.4),
    "spread": Gesture((0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0), 1.0),
    "relaxed": Gesture((0.3, 0.2, 0.25, 0.3, 0.3), (0.2, 0.25, 0.3, 0.35, 0.35), 0.1),
    "fist": Gesture((0.8, 0.9, 0.95, 0.95, 0.9), (0.7, 0.95, 0.95, 0.95, 0.95), -0.3),
    "point": Gesture((0.7, 0.05, 0.85, 0.9, 0.9), (0.6, 0.05, 0.9, 0.9, 0.9), 0.0),
    "two": Gesture((0.8, 0.03, 0.03, 0.9, 0.9), (0.6, 0.03, 0.03, 0.9, 0.9), 0.7),
    "three": Gesture((0.0, 0.03, 0.03, 0.85, 0.9), (0.0, 0.03, 0.03, 0.9, 0.9), 0.5),
    "four": Gesture((0.9, 0.03, 0.03, 0.03, 0.05), (0.6, 0.03, 0.03, 0.03, 0.05), 0.4),
    "pinch": Gesture((0.6, 0.55, 0.25, 0.2, 0.15), (0.35, 0.45, 0.25, 0.2, 0.2), 0.2),
    "grasp": Gesture((0.55, 0.5, 0.5, 0.5, 0.5), (0.3, 0.45, 0.45, 0.45, 0.45), 0.3),
    "thumb_up": Gesture((0.0, 0.85, 0.9, 0.9, 0.9), (0.0, 0.9, 0.9, 0.9, 0.9), 0.0),
}


def angles_from_bends(anatomy: Anatomy, bends: np.ndarray) -> np.ndarray:
    """(..., D) rad, within the limits, from (..., 3, 5) base, tip and spread of each finger."""
    degrees = np.zeros((*bends.shape[:-2], len(anatomy.names)))
    for f, finger in enumerate(FINGERS):
        base, tip, spread = np.moveaxis(bends[..., f], -1, 0)
        if finger == "thumb":
            values = {
                "cmc_abduction": 12.0 * spread + 10.0 * base,
                "cmc_flexion": -12.0 + 42.0 * base,
                "cmc_rotation": 15.0 * base,
                "mcp_flexion": 5.0 + 45.0 * tip,
                "ip_flexion": 70.0 * tip,
            }
        else:
            values = {
                # Bent fingers cannot spread: the ligaments are taut, and they would collide.
                "mcp_abduction": 9.0 * spread * (1.0 - base),
                "mcp_flexion": 2.0 + 83.0 * base,
                "pip_flexion": 2.0 + 100.0 * tip,
                "dip_flexion": 1.0 + 64.0 * tip,
            }
        for name, value in values.items():
            degrees[..., anatomy.angle(f"{finger}_{name}")] = value
    return np.clip(np.radians(degrees), anatomy.lower_rad, anatomy.upper_rad)
