"""A forearm, bare or in a sleeve, that grows out of the wrist's open edge (torch, batched)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.sources.hand_look import boundary_loop
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.synthetic_mesh import tube_faces

RINGS_M = (0.008, 0.018, 0.03, 0.045, 0.06, 0.08, 0.1, 0.13, 0.17, 0.23, 0.32, 0.6)
"""How far each ring is from the wrist's edge, along the arm."""
_WIDENING = (0.99, 0.98, 0.98, 1.0, 1.03, 1.08, 1.13, 1.2, 1.28, 1.34, 1.36, 1.36)
_BENT_AT_M = 0.07
"""The wrist's bend is spread over this length."""


@dataclass(frozen=True, eq=False)
class Arms:
    """N hands with forearm, and their sleeves; m, camera frame."""

    skin_m: Tensor
    """(N, V + R L, 3) the hand model's vertices, then R rings of L."""
    sleeve_m: Tensor
    """(N, R L, 3) a ring for each of the forearm's."""


class Forearm:
    """The forearm of one hand model."""

    def __init__(self, model: HandModel) -> None:
        self.loop = boundary_loop(model.faces)
        if len(self.loop) == 0:
            raise ValueError(f"the mesh of {model.name} has no open wrist to grow a forearm from")
        num_hand, length = len(model.template_m), len(self.loop)
        rings = [num_hand + k * length + np.arange(length) for k in range(len(RINGS_M))]
        self.skin_faces = np.concatenate([model.faces, tube_faces([self.loop, *rings])])
        self.sleeve_faces = tube_faces([ring - num_hand for ring in rings])
        self.num_skin = num_hand + length * len(RINGS_M)
        self.num_sleeve = length * len(RINGS_M)
        joints = model.joint_template_m - model.joint_template_m[0]
        axis = -joints[[1, 4, 7, 10]].mean(0)
        self.axis_hand = axis / np.linalg.norm(axis)

    def at_rest(self, model: HandModel) -> np.ndarray:
        """(V + R L, 3) m, the straight arm, hand frame, wrist at the origin."""
        hand = torch.tensor(model.template_m - model.joint_template_m[0])[None]
        axis = torch.tensor(self.axis_hand)[None]
        middle, spokes = self._rings(hand, axis, axis)
        widening = torch.tensor(_WIDENING, dtype=spokes.dtype)[:, None, None]
        rings = middle[:, :, None] + widening * spokes
        return torch.cat([hand, rings.flatten(1, 2)], dim=1)[0].numpy()

    def dress(self, vertices_m: Tensor, R_camera_hand: Tensor, dice: Dice) -> Arms:
        """Bend a forearm out of each wrist, and put a sleeve around it."""
        n, dtype, device = len(vertices_m), vertices_m.dtype, vertices_m.device
        axis = R_camera_hand @ torch.tensor(self.axis_hand, dtype=dtype, device=device)
        elbow = normalize(axis + 0.45 * dice.normal(3).clamp(-1.6, 1.6), dim=-1)
        middle, spokes = self._rings(vertices_m, axis, elbow)  # (N, R, 3), (N, R, L, 3)
        widening = torch.tensor(_WIDENING, dtype=dtype, device=device)[:, None, None]
        stout = dice.uniform(0.92, 1.12, 1, 1, 1)
        grown = torch.linspace(0.0, 1.0, len(RINGS_M), device=device)[:, None, None]
        skin = middle[:, :, None] + widening * (1.0 + (stout - 1.0) * grown) * spokes

        # A sleeve starts at some ring; what would lie before it is folded inside that one.
        ring = torch.arange(len(RINGS_M), device=device)
        cuff = dice.index(7)[:, None]
        held = torch.maximum(ring, cuff)  # (N, R)
        rows = torch.arange(n, device=device)[:, None]
        folds = 0.05 * torch.sin(dice.uniform(0.0, 6.28, len(RINGS_M), 1) + 1.3 * ring[:, None])
        loose = dice.uniform(1.12, 1.45, 1) * (1.0 + folds[..., 0])
        width = torch.where(ring < cuff, torch.full_like(loose, 0.9), loose)[..., None, None]
        sleeve = middle[rows, held][:, :, None] + width * (widening * spokes)[rows, held]
        return Arms(torch.cat([vertices_m, skin.flatten(1, 2)], dim=1), sleeve.flatten(1, 2))

    def _rings(self, vertices_m: Tensor, axis: Tensor, elbow: Tensor) -> tuple[Tensor, Tensor]:
        """Middles (N, R, 3) and spokes (N, R, L, 3) of rings that turn from `axis` to `elbow`."""
        edge = vertices_m[:, self.loop]  # (N, L, 3)
        middle = edge.mean(1)
        spokes = edge - middle[:, None]
        middles, turned, reached = [], [], 0.0
        for length in RINGS_M:
            bend = min(1.0, length / _BENT_AT_M)
            direction = normalize((1.0 - bend) * axis + bend * elbow, dim=-1)
            middle = middle + direction * (length - reached)
            reached = length
            middles.append(middle)
            turned.append(spokes @ _rotation_between(axis, direction).transpose(1, 2))
        return torch.stack(middles, 1), torch.stack(turned, 1)


def _rotation_between(a: Tensor, b: Tensor) -> Tensor:
    """(N, 3, 3) smallest rotations that turn unit vectors a into unit vectors b (not opposite)."""
    x, y, z = torch.linalg.cross(a, b).unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=a.dtype, device=a.device)
    return eye + K + K @ K / (1.0 + (a * b).sum(-1))[:, None, None]
