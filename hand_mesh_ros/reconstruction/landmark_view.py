"""Landmarks as a camera would see them that looks straight at the hand and holds it upright.

Where the hand is in the image, how the lens bends it, how it was cropped and how it is turned about
the line of sight are gone after that: all exact symmetries, so nothing has to be learned of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import numpy as np

from hand_mesh_ros.rotations import rotations_to_directions

_SUMS = np.zeros((3, 21))
"""Sums over landmarks: all; the palm's; the wrist less the middle of the four knuckles."""
_SUMS[0] = 1.0
_SUMS[1, [0, 5, 9, 13, 17]] = 1.0
_SUMS[2, [0, 5, 9, 13, 17]] = 1.0, -0.25, -0.25, -0.25, -0.25
_DOWN, _AHEAD = np.array([0.0, 1.0]), np.array([0.0, 0.0, 1e-100])
_SMALLEST = 1e-6
_NEAREST = 0.05
"""Landmarks farther than 87 degrees from the hand's middle would be behind the imagined camera."""

MIN_LANDMARKS = 6
NARROWEST = 0.02
"""Width over length of landmarks, as standard deviations: a hand seen edge-on has 0.1 or more."""


@dataclass(frozen=True, eq=False)
class LandmarkViews:
    """N hands, each seen by its own imagined camera; 0 where a landmark is missing."""

    xy: np.ndarray
    """(N, 21, 2) about the mean of the landmarks, root mean square distance 1 from it."""
    present: np.ndarray
    """(N, 21) bool"""
    scale: np.ndarray
    """(N,) root mean square distance of the landmarks from their mean, x/z units: times depth it
    is a size in metres."""
    mean: np.ndarray
    """(N, 2) x/z, y/z in the imagined camera of the mean landmark: near (0, 0)."""
    R_camera_view: np.ndarray
    """(N, 3, 3) from the imagined camera's axes to the real one's."""


def view_landmarks(rays: np.ndarray, usable: np.ndarray | None = None) -> LandmarkViews:
    """See N hands that way.

    Args:
        rays: (N, 21, 2) x/z, y/z in the camera; not finite where a landmark is missing.
        usable: (N, 21) bool, False leaves a landmark out.
    """
    present = np.isfinite(rays).all(2)
    if usable is not None:
        present &= usable
    # With a third number of 1, or all 0 where missing, sums need no weights.
    towards = np.zeros((*present.shape, 3))
    np.copyto(towards[..., :2], rays, where=present[..., None])
    towards[..., 2] = present
    length = np.sqrt(np.maximum((towards * towards).sum(2), 1.0))
    # The mean of directions turns with the camera; a mean of image points would not.
    middle = (1.0 / length[:, None] @ towards)[:, 0]
    R = rotations_to_directions(middle + _AHEAD)  # which counts where there are no landmarks
    seen = towards @ R
    seen[..., :2] /= np.maximum(seen[..., 2:], _NEAREST)
    seen[..., 2] = present
    sums = _SUMS @ seen  # (N, 3, 3)
    means = sums[:, :2, :2] / np.maximum(sums[:, :2, 2:], 1.0)  # of all, of the palm's
    # Where a landmark of the palm is missing, the others still have to balance.
    down = sums[:, 2, :2] - sums[:, 2, 2:] * means[:, 1]
    turn = _upright(down)  # (N, 2, 2) from the upright view to this one
    mean = means[:, :1]  # (N, 1, 2)
    xy = seen[..., :2] - mean * seen[..., 2:]
    square = (xy * xy).sum((1, 2)) / np.maximum(sums[:, 0, 2], 1.0)
    scale = np.maximum(np.sqrt(square), _SMALLEST)
    xy = xy @ (turn / scale[:, None, None])
    R[:, :, :2] = R[:, :, :2] @ turn
    return LandmarkViews(xy, present, scale, (mean @ turn)[:, 0], R)


def _upright(down: np.ndarray) -> np.ndarray:
    """(N, 2, 2) rotations whose second column, which in an image points down, is that direction."""
    length = np.sqrt((down * down).sum(1, keepdims=True))
    down = np.where(length > _SMALLEST, down / np.maximum(length, _SMALLEST), _DOWN)
    turn = np.empty((len(down), 2, 2))
    turn[:, :, 1] = down
    turn[:, 0, 0], turn[:, 1, 0] = down[:, 1], -down[:, 0]
    return turn


def show_a_hand(rays: np.ndarray) -> bool:
    """Whether (21, 2) rays are enough for a hand: `MIN_LANDMARKS` finite ones, not on a line."""
    usable = rays[np.isfinite(rays).all(axis=1)]
    if len(usable) < MIN_LANDMARKS:
        return False
    off = usable - usable.sum(0) / len(usable)
    (xx, xy), (_, yy) = (off.T @ off).tolist()
    # The eigenvalues of the covariance: half of the trace, plus and minus this.
    middle, half = 0.5 * (xx + yy), hypot(0.5 * (xx - yy), xy)
    return middle - half > NARROWEST**2 * (middle + half)
