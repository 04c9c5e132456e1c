"""AMVUR's prior-net and camera (section 3.1): the hand as its model can have it, and its place.

Ours: fingers bend about anatomical axes within their limits, where the paper has MANO's space of
poses; the mesh is in the crop's axes, so the camera has no rotation; and its fourth number, without
which a fingertip that points at the camera is several hundredths of the crop from where it is seen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_angles import TorchAngles
from hand_mesh_ros.hand_models.torch_hand import TorchHand, rotations_from_6d, six_from_rotations
from hand_mesh_ros.hand_models.torch_precision import in_single_precision
from hand_mesh_ros.networks.layers.mesh_feedback import project_weakly

START_CAMERA = (math.log(5.3), 0.5, 0.85, math.log(1.3))
"""That of the mean hand: in crops of the usual margin, which hold it up, 0.8 m away."""
_BEYOND_LIMITS_RAD = math.radians(5.0)
_START_GAIN = 0.2
_NEAREST_SHARE = 0.2
_UPRIGHT = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""Turn of the first hand: fingers up, its back to the camera."""


class PriorHand(NamedTuple):
    """B hands of the model: means of the prior distribution; m, wrist joint at the origin."""

    vertices_m: Tensor
    """(B, V, 3)"""
    keypoints_m: Tensor
    """(B, 21, 3)"""
    rotations: Tensor
    """(B, 16, 3, 3) of each joint relative to its parent; the first into the crop's axes."""
    shape: Tensor
    """(B, 10)"""
    unusual: Tensor
    """(B, D) angles from their usual values, in their usual spreads."""


class PriorNet(nn.Module):
    """A global feature to pose and shape of the hand model."""

    lower_rad: Tensor
    range_rad: Tensor
    mean_rad: Tensor
    std_rad: Tensor

    def __init__(self, channels: int, hidden: int, model: HandModel, keypoints: str) -> None:
        super().__init__()
        self.hand, self.angles, self.keypoints = TorchHand(model), TorchAngles(model), keypoints
        anatomy = Anatomy.of(model)
        lower = anatomy.lower_rad - _BEYOND_LIMITS_RAD
        span = anatomy.upper_rad + _BEYOND_LIMITS_RAD - lower
        # Saved with the weights, which mean nothing with other limits.
        for name, values in (
            ("lower_rad", lower),
            ("range_rad", span),
            ("mean_rad", anatomy.mean_rad),
            ("std_rad", anatomy.std_rad),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        share = (anatomy.mean_rad - lower) / span
        start = [
            six_from_rotations(torch.tensor(_UPRIGHT)),
            torch.tensor(np.log(share / (1.0 - share)), dtype=torch.float32),
            torch.zeros(self.hand.num_shape),
        ]
        self.sizes = [len(part) for part in start]
        self.head = small_head(channels, hidden, torch.cat(start))

    @in_single_precision
    def forward(self, whole: Tensor) -> PriorHand:
        """From (B, C)."""
        six, bend, shape = self.head(whole).split(self.sizes, dim=1)
        angles = self.lower_rad + self.range_rad * torch.sigmoid(bend)  # (B, D)
        turn = rotations_from_6d(six)[:, None]  # (B, 1, 3, 3)
        rotations = torch.cat([turn, self.angles(angles)], dim=1)  # (B, 16, 3, 3)
        posed = self.hand(rotations, shape)
        keypoints = self.hand.keypoints(posed, shape, self.keypoints)
        unusual = (angles - self.mean_rad) / self.std_rad
        return PriorHand(posed.vertices_m, keypoints, rotations, shape, unusual)


class CameraHead(nn.Module):
    """A global feature to the mean of the camera, see `project`."""

    start: Tensor

    def __init__(self, channels: int, hidden: int, *, perspective: bool) -> None:
        super().__init__()
        self.head = small_head(channels, hidden, torch.tensor(START_CAMERA[: 3 + perspective]))

    @in_single_precision
    def forward(self, whole: Tensor) -> Tensor:
        """(B, 3), or (B, 4) with perspective, from (B, C)."""
        return self.head(whole)


def small_head(channels: int, hidden: int, start: Tensor) -> nn.Sequential:
    """Two layers that give the (N,) start at first, whatever comes in."""
    last = nn.Linear(hidden, len(start))
    nn.init.xavier_uniform_(last.weight, gain=_START_GAIN)
    with torch.no_grad():
        last.bias.copy_(start)
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), last)


def project(points_m: Tensor, camera: Tensor) -> Tensor:
    """(B, N, 2) crop units of points about the wrist, by a camera that looks at the crop's middle.

    Args:
        points_m: (B, N, 3), crop's axes.
        camera: (B, 3) log of the crop's sides a metre at the wrist, u and v of the wrist: the
            paper's weak perspective; or (B, 4), last the log of 1 / m of the wrist's distance.
    """
    about_middle = project_weakly(points_m, camera[:, :3]) - 0.5
    return 0.5 + about_middle / depth_shares(points_m, camera)


def depth_shares(points_m: Tensor, camera: Tensor) -> Tensor:
    """(B, N, 1) distance of points over the wrist's; 1 in a camera without perspective."""
    if camera.shape[1] == 3:
        return torch.ones_like(points_m[..., 2:])
    return (1.0 + points_m[..., 2:] * camera[:, None, 3:].exp()).clamp_min(_NEAREST_SHARE)


def true_camera(root_m: Tensor, K_crop: Tensor, image_size_px: int) -> Tensor:
    """(B, 4) the camera of `project` that shows points about the wrist where K_crop does.

    Args:
        root_m: (B, 3) the wrist.
        K_crop: (B, 3, 3) px of the crop.
        image_size_px: side of the crop.
    """
    focal, depth = K_crop[:, 0, 0], root_m[:, 2]
    wrist_px = root_m[:, :2] / root_m[:, 2:] * focal[:, None] + K_crop[:, :2, 2]
    scale = torch.log(focal / (image_size_px * depth))
    numbers = [scale[:, None], (wrist_px + 0.5) / image_size_px, -torch.log(depth)[:, None]]
    return torch.cat(numbers, dim=1)
