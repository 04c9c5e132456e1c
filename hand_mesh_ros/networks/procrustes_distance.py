"""How far points are off after the best turn, size and shift, as a loss (torch).

The same as `evaluation/metrics.py` measures: what is left is a hand's pose and shape, whatever it
makes of the hand's place, size and direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hand_mesh_ros.hand_models.torch_precision import in_single_precision

_SMALLEST = 1e-6
"""Squared distance that counts as none: a root has no slope at 0."""


@in_single_precision
def procrustes_distances(points: Tensor, target: Tensor) -> Tensor:
    """(B, N) distances of (B, N, 3) points from their targets after the best similarity.

    The similarity is taken as given by the gradient: at its best it has no slope in the sum of
    squares, and the hand alone is to learn.
    """
    centred = points - points.mean(1, keepdim=True)
    goal = target - target.mean(1, keepdim=True)
    with torch.no_grad():
        U, singular, Vh = torch.linalg.svd(centred.transpose(1, 2) @ goal)
        signs = torch.ones_like(singular)
        signs[:, 2] = torch.sign(torch.linalg.det(U @ Vh))  # never a mirror
        turn = (U * signs[:, None]) @ Vh  # (B, 3, 3), for rows
        scale = (singular * signs).sum(1) / (centred**2).sum((1, 2)).clamp_min(_SMALLEST)
    left = scale[:, None, None] * (centred @ turn) - goal
    return torch.sqrt((left**2).sum(2) + _SMALLEST)
