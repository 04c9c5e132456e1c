"""Cameras and places from which whole hands are seen, from any side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IMAGE_SIZES_PX = np.array([[640, 480], [1280, 720], [1920, 1080], [848, 480], [480, 640]])
FOV_DEG = 35.0, 100.0
"""Horizontal; from a long lens to a wide webcam."""
DEPTH_M = 0.2, 1.5
_PRINCIPAL_POINT_STD = 0.02
"""Of the image's width or height."""


@dataclass(frozen=True, eq=False)
class Views:
    """N cameras (ideal pinholes), each of which sees one ball."""

    K: np.ndarray
    """(N, 3, 3) px."""
    size_px: np.ndarray
    """(N, 2) int, width and height."""
    centre_camera_m: np.ndarray
    """(N, 3) m, the ball's middle."""


def random_rotations(n: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 3, 3) uniform over all rotations: unit quaternions, uniform over their sphere."""
    q = rng.standard_normal((n, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        axis=1,
    ).reshape(n, 3, 3)


def random_views(radius_m: np.ndarray, rng: np.random.Generator) -> Views:
    """Draw for each of N balls a camera and a place in front of it where it is seen whole.

    Args:
        radius_m: (N,)
        rng: source of all randomness.
    """
    n = len(radius_m)
    size = IMAGE_SIZES_PX[rng.integers(len(IMAGE_SIZES_PX), size=n)]
    focal = 0.5 * size[:, 0] / np.tan(0.5 * np.radians(rng.uniform(*FOV_DEG, n)))
    shift = np.clip(rng.standard_normal((n, 2)), -2.5, 2.5) * _PRINCIPAL_POINT_STD
    centre_px = 0.5 * (size - 1) + shift * size
    K = np.zeros((n, 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2], K[:, 2, 2] = centre_px, 1.0
    # The image's edges are planes through the camera; the ball stays inside of all four. A plane
    # at tangent a is sqrt(1 + a a) times nearer to a point than the point's offset in x or y.
    low, high = -centre_px / focal[:, None], (size - 1 - centre_px) / focal[:, None]  # (N, 2)
    inset_low, inset_high = (radius_m[:, None] * np.sqrt(1.0 + a * a) for a in (low, high))
    nearest = ((inset_low + inset_high) / (high - low)).max(axis=1)
    near = np.maximum(1.02 * nearest, DEPTH_M[0] + radius_m)
    far = np.maximum(DEPTH_M[1], 1.3 * near)
    depth = near * (far / near) ** rng.uniform(0.0, 1.0, n)
    lowest, highest = low * depth[:, None] + inset_low, high * depth[:, None] - inset_high
    place = lowest + rng.uniform(0.0, 1.0, (n, 2)) * (highest - lowest)
    return Views(K, size, np.concatenate([place, depth[:, None]], axis=1))
