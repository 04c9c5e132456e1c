"""Pose-aware alignment (HandMIM section 3.2, algorithm 3): features as points that can be moved.

Points are in half sides from an image's centre: (-1, -1) is the outer corner of its top left pixel
and (1, 1) of its bottom right one, x first. The paper leaves the origin open; in the middle, a
head without bias can reach all of a crop.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ViewGeometry(NamedTuple):
    """How B square views were made: the image was turned about its centre, then a square cut."""

    R_view_image: Tensor
    """(B, 2, 2) turns points of the image."""
    centre: Tensor
    """(B, 2) of the square in the turned image, in the image's half sides from its centre."""
    scale: Tensor
    """(B,) side of the square over the image's side."""

    def theta(self) -> Tensor:
        """(B, 2, 3) for `affine_grid`: where in the image a place of the view lies."""
        R_image_view = self.R_view_image.transpose(1, 2)
        t = R_image_view @ self.centre[..., None]  # (B, 2, 1)
        return torch.cat([R_image_view * self.scale[:, None, None], t], dim=2)


def points_in_view(points: Tensor, geometry: ViewGeometry) -> Tensor:
    """(B, K, 2) points of the images as the views show them (eq. 4)."""
    turned = points @ geometry.R_view_image.transpose(1, 2)
    return (turned - geometry.centre[:, None]) / geometry.scale[:, None, None]


def points_in_image(points: Tensor, geometry: ViewGeometry) -> Tensor:
    """(B, K, 2) points of the views where the images have them (eqs. 5 and 6)."""
    turned = points * geometry.scale[:, None, None] + geometry.centre[:, None]
    return turned @ geometry.R_view_image  # the inverse rotation, for rows


def aligned_logits(logits: Tensor, geometry: ViewGeometry) -> Tensor:
    """(B, 2 K) logits read as K points of the views, in the images' coordinates."""
    points = logits.unflatten(1, (-1, 2))  # (B, K, 2)
    return points_in_image(points, geometry).flatten(1)
