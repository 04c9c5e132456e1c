"""Landmarks as a camera would see them that looks straight at the hand and holds it upright.

Where the hand is in the image, how the lens bends it, how it was cropped and how it is turned about
the line of sight are gone after that: all exact symmetries, so nothing has to be learned of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.rotations import rotations_to_directions

_PALM = np.array([0, 5, 9, 13, 17])
_UPRIGHT = np.array([-1.0, 0.25, 0.25, 0.25, 0.25])
"""The palm's direction: from the wrist to the middle of the four knuckles."""
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
    weight = present / np.maximum(present.sum(1, keepdims=True), 1)  # (N, 21)
    safe = np.where(present[..., None], rays, 0.0)
    towards = np.concatenate([safe, np.ones_like(safe[..., :1])], axis=2)  # (N, 21, 3)
    length = np.sqrt((towards * towards).sum(2))
    # The mean of directions turns with the camera; a mean of image points would not.
    middle = np.einsum("nk,nkc->nc", weight / length, towards)
    middle[~present.any(1), 2] = 1.0
    R = rotations_to_directions(middle)
    seen = towards @ R
    xy = seen[..., :2] / np.maximum(seen[..., 2:], _NEAREST)
    mean = np.einsum("nk,nkc->nc", weight, xy)
    xy = xy - mean[:, None]
    turn = _upright(xy, present)  # (N, 2, 2) from the upright view to this one
    xy = np.where(present[..., None], xy @ turn, 0.0)
    scale = np.sqrt(np.einsum("nk,nkc->n", weight, xy * xy))
    scale = np.maximum(scale, _SMALLEST)
    R[:, :, :2] = R[:, :, :2] @ turn
    mean = np.einsum("nc,ncd->nd", mean, turn)
    return LandmarkViews(xy / scale[:, None, None], present, scale, mean, R)


def _upright(xy: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(N, 2, 2) rotations whose second column is minus the palm's direction, so it points up."""
    weight = _UPRIGHT * present[:, _PALM]  # (N, 5)
    # Where one of them is missing, the others still have to balance.
    weight = (
        weight
        - present[:, _PALM] * (weight.sum(1) / np.maximum(present[:, _PALM].sum(1), 1))[:, None]
    )
    along = np.einsum("nk,nkc->nc", weight, xy[:, _PALM])
    length = np.sqrt((along * along).sum(1))
    up = np.where(
        length[:, None] > _SMALLEST, along / np.maximum(length, _SMALLEST)[:, None], [0.0, -1.0]
    )
    down_x, down_y = -up.T
    # The second axis of an image points down.
    return np.stack([down_y, down_x, -down_x, down_y], axis=1).reshape(-1, 2, 2)


def show_a_hand(rays: np.ndarray) -> bool:
    """Whether (21, 2) rays are enough for a hand: `MIN_LANDMARKS` finite ones, not on a line."""
    usable = rays[np.isfinite(rays).all(axis=1)]
    if len(usable) < MIN_LANDMARKS:
        return False
    x, y = (usable - usable.sum(0) / len(usable)).T
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    # The eigenvalues of the covariance: half of the trace, plus and minus this.
    middle, half = 0.5 * (xx + yy), float(np.hypot(0.5 * (xx - yy), xy))
    return middle - half > NARROWEST**2 * (middle + half)
