"""Means and variances of AMVUR's vertices (section 3.3), and the baseline without attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mesh_levels import MeshLevels, mesh_levels
from hand_mesh_ros.networks.layers.up_sample import UpSample
from hand_mesh_ros.networks.layers.vertex_attention import VertexAttention

if TYPE_CHECKING:
    from hand_mesh_ros.networks.amvur import AMVURConfig

UNIT_M = 0.1
"""Means and template coordinates inside the network are in units of this."""
_START_GAIN = 0.1


class VertexRegressor(nn.Module):
    """Attention from global feature and template to means and log-variances (section 3.3)."""

    template: Tensor
    fine_template: Tensor
    kept: Tensor

    def __init__(self, channels: int, config: AMVURConfig, model: HandModel) -> None:
        super().__init__()
        first, last = config.widths[0], config.widths[-1]
        levels, level = mesh_levels(model), config.mesh_level
        self.num_tokens = len(levels.vertices_m[level])
        # One linear map of feature and place together, as two: the feature is the same for all.
        self.feature = nn.Linear(channels, first)
        wrist, joints = model.joint_template_m[0], model.keypoints_at_rest(config.keypoints)
        template = np.concatenate([levels.vertices_m[level] - wrist, joints]) / UNIT_M
        # Saved with the weights, which mean nothing with other vertices.
        self.register_buffer("template", torch.tensor(template, dtype=torch.float32))
        self.posed = nn.Linear(3, first, bias=False) if config.from_prior else None
        self.register_buffer("kept", torch.tensor(_kept_vertices(levels, level)))
        self.place: nn.Linear | None = None
        if config.positions == "template":
            self.place = nn.Linear(3, first, bias=False)
        else:
            self.index = nn.Parameter(0.3 * torch.randn(len(template), first))
        cross = config.regressor == "cross_attention"
        self.cue = nn.Linear(3, first, bias=False) if config.landmark_cue and cross else None
        before = (first, *config.widths[:-1])
        self.narrow = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(before, config.widths, strict=True)
        )
        self.rounds = nn.ModuleList(
            VertexAttention(width, config.heads, config.layers, cross=cross)
            for width in config.widths
        )
        self.up = nn.ModuleList(UpSample(levels.up[k]) for k in reversed(range(level)))
        fine = 6 if config.from_prior else 3
        self.fine_place = nn.Linear(fine, last, bias=False) if level else None
        rest = torch.tensor((model.template_m - wrist) / UNIT_M, dtype=torch.float32)
        self.register_buffer("fine_template", rest)
        self.norm = nn.LayerNorm(last)
        self.mean, self.log_variance = (_vertex_head(last) for _ in range(2))

    def forward(self, whole: Tensor, cue: Tensor, start_m: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, V, 3) means in `UNIT_M` and log-variances in `PRIOR_STDDEV_M`.

        Args:
            whole: (B, C) global feature.
            cue: (B, 21, 3) `landmark_numbers`.
            start_m: (B, V, 3) vertices that the means are corrections of; None with from_prior off.
        """
        # Letters: B images, C channels, N tokens of vertices, D their width, V vertices.
        places = self.index if self.place is None else self.place(self.template)  # (N + 21, D)
        tokens = self.feature(whole)[:, None] + places  # (B, N + 21, D)
        vertices, joints = tokens[:, : self.num_tokens], tokens[:, self.num_tokens :]
        if self.cue is not None:
            joints = joints + self.cue(cue)
        fine = self.fine_template.expand(whole.shape[0], -1, -1)  # (B, V, 3)
        if self.posed is not None and start_m is not None:
            vertices = vertices + self.posed(start_m.index_select(1, self.kept) / UNIT_M)
            fine = torch.cat([fine, start_m / UNIT_M], dim=2)  # (B, V, 6)
        for narrow, attention in zip(self.narrow, self.rounds, strict=True):
            joints = narrow(joints)
            vertices = attention(narrow(vertices), joints)
        for up in self.up:
            vertices = up(vertices)  # (B, V, D) at last
        if self.fine_place is not None:
            vertices = vertices + self.fine_place(fine)
        x = self.norm(vertices)
        return self.mean(x), self.log_variance(x)


class FullyConnected(nn.Module):
    """Experiment A: the global feature to all coordinates at once."""

    def __init__(self, channels: int, hidden: int, num_vertices: int) -> None:
        super().__init__()
        self.num_vertices = num_vertices
        self.mean, self.log_variance = (
            nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 3 * num_vertices)
            )
            for _ in range(2)
        )

    def forward(self, whole: Tensor, cue: Tensor, start_m: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `VertexRegressor`; the global feature knows cue and start already."""
        each = (self.num_vertices, 3)
        return self.mean(whole).unflatten(1, each), self.log_variance(whole).unflatten(1, each)


def _kept_vertices(levels: MeshLevels, level: int) -> np.ndarray:
    """(N,) vertices of the full mesh that are those of a coarser one."""
    index = np.arange(len(levels.vertices_m[0]))
    for kept in levels.kept[:level]:
        index = index[kept]
    return index


def _vertex_head(width: int) -> nn.Sequential:
    last = nn.Linear(width, 3)
    with torch.no_grad():  # the first meshes are points, not explosions
        last.weight.mul_(_START_GAIN)
        last.bias.zero_()
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), last)
