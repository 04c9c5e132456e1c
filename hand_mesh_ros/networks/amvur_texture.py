"""AMVUR's texture (section 3.4): a colour for every vertex, from pixels where it is seen.

Features of the first convolution and the image's colours are read where each vertex is projected
(eq. 11); vertices that are hidden read nothing, and learn from the others by attention.

Ours: which vertices are hidden is found among the vertices themselves (`seen_vertices`), so that
the network stays plain tensor operations that export; and a vertex that is seen starts from the
colour of its pixel.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mesh_levels import mesh_levels
from hand_mesh_ros.hand_models.torch_precision import in_single_precision
from hand_mesh_ros.networks.amvur_prior import project
from hand_mesh_ros.networks.layers.image_features import ImageEncoder, ImageFeatures
from hand_mesh_ros.networks.layers.vit import Block

TextureName = Literal["none", "local", "global", "one_color"]
_PLACE_UNIT_M = 0.1
_SKIN_RADIUS_M = 0.005
"""Skin about a vertex hides what is so near to it in the image."""
_BEHIND_M = 0.006
"""And so far behind its tangent plane: less than a finger's thickness, more than skin bends."""
_DARKEST = 0.02


class TextureNet(nn.Module):
    """Image, its features and the mesh in it to colours of vertices."""

    template: Tensor
    faces: Tensor
    faces_of_vertex: Tensor
    hiding: Tensor

    def __init__(
        self, name: TextureName, encoder: ImageEncoder, width: int, heads: int, model: HandModel
    ) -> None:
        """Build it.

        Args:
            name: "local" is the paper's; "global" sees the global feature alone, and "one_color"
                gives all vertices the same colour.
            encoder: whose features it gets.
            width: of the tokens.
            heads: of the attention among vertices.
            model: the hand.
        """
        super().__init__()
        self.name: TextureName = name
        rest = torch.tensor(model.template_m - model.joint_template_m[0], dtype=torch.float32)
        self.register_buffer("template", rest / _PLACE_UNIT_M)  # saved with the weights
        faces = torch.tensor(model.faces.astype("int64"))
        self.register_buffer("faces", faces, persistent=False)
        touches = torch.zeros(len(rest), len(faces))
        touches[faces, torch.arange(len(faces))[:, None]] = 1.0
        self.register_buffer("faces_of_vertex", touches, persistent=False)
        # Half of the vertices do, at half the cost.
        hiding = torch.tensor(mesh_levels(model).kept[0])
        self.register_buffer("hiding", hiding, persistent=False)
        self.whole = nn.Linear(encoder.whole_channels, 3 if name == "one_color" else width)
        if name == "one_color":
            return
        self.place = nn.Linear(3, width, bias=False)
        if name == "local":
            # Features, colour, and whether the vertex is seen.
            self.local = nn.Linear(encoder.shallow_channels + 4, width, bias=False)
            self.among = Block(width, heads, 0.0)
        self.norm = nn.LayerNorm(width)
        self.color = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 3))

    def forward(
        self, image: Tensor, features: ImageFeatures, vertices_m: Tensor, camera: Tensor
    ) -> Tensor:
        """(B, V, 3) RGB in [0, 1]. Where the mesh lies is taken as given: it gets no gradient.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            features: of it.
            vertices_m: (B, V, 3) wrist at the origin.
            camera: see `amvur_prior.project`.
        """
        whole = self.whole(features.whole)
        if self.name == "one_color":
            return torch.sigmoid(whole)[:, None].expand(-1, len(self.template), -1)
        tokens = whole[:, None] + self.place(self.template)  # (B, V, D)
        start: Tensor | float = 0.0
        if self.name == "local":
            vertices_m, camera = vertices_m.detach(), camera.detach()
            with torch.no_grad():
                seen = self.seen_vertices(vertices_m, camera)[..., None].to(tokens.dtype)
                uv = project(vertices_m, camera)
            colors = sampled_at(image, uv)  # (B, V, 3)
            read = torch.cat([sampled_at(features.shallow, uv), colors], dim=2)
            tokens = tokens + self.local(torch.cat([read * seen, seen], dim=2))
            tokens = self.among(tokens)
            start = seen * torch.logit(colors, eps=_DARKEST)
        return torch.sigmoid(start + self.color(self.norm(tokens)))

    @in_single_precision
    def seen_vertices(self, vertices_m: Tensor, camera: Tensor) -> Tensor:
        """(B, V) bool: in the crop, turned to the camera, and no skin lies before it.

        19 of 20 that are found so are corners of faces that a rasteriser sees; of its corners at
        the rim of the hand, whose pixels show what is behind the hand too, many are left out.
        """
        # Letters: B hands, V vertices, H those that may hide others, F faces.
        uv = project(vertices_m, camera)  # (B, V, 2)
        rays = view_rays(uv, camera)
        corners = vertices_m.index_select(1, self.faces.flatten())
        a, b, c = corners.unflatten(1, tuple(self.faces.shape)).unbind(2)  # (B, F, 3) each
        normals = self.faces_of_vertex @ torch.linalg.cross(b - a, c - a)
        normals = nn.functional.normalize(normals, dim=2)  # (B, V, 3)
        facing = (normals * rays).sum(2) < 0.0  # (B, V)
        inside = ((uv >= 0.0) & (uv <= 1.0)).all(dim=2)
        planes = normals.index_select(1, self.hiding)  # (B, H, 3)
        at = (vertices_m.index_select(1, self.hiding) * planes).sum(2)  # (B, H)
        behind = vertices_m @ planes.transpose(1, 2) - at[:, None] < -_BEHIND_M  # (B, V, H)
        apart = uv[:, :, None] - uv.index_select(1, self.hiding)[:, None]  # (B, V, H, 2)
        radius = _SKIN_RADIUS_M * camera[:, :1].exp()  # (B, 1)
        near = apart.square().sum(3) < radius[..., None].square()
        hides = facing.index_select(1, self.hiding)[:, None]
        return facing & inside & ~(near & behind & hides).any(dim=2)


def view_rays(uv: Tensor, camera: Tensor) -> Tensor:
    """(B, N, 3) directions from the camera to (B, N, 2) crop units, of any length."""
    ahead = torch.ones_like(uv[..., :1])
    if camera.shape[1] == 3:  # without perspective all are parallel
        return torch.cat([torch.zeros_like(uv), ahead], dim=2)
    metres_at_wrist = (uv - 0.5) / camera[:, None, :1].exp()
    return torch.cat([metres_at_wrist * camera[:, None, 3:].exp(), ahead], dim=2)


def sampled_at(maps: Tensor, uv: Tensor) -> Tensor:
    """(B, N, C) bilinear values of (B, C, h, w) maps at (B, N, 2) crop units (eq. 11)."""
    # align_corners=False puts -1 and 1 on the outer corners, where uv has 0 and 1.
    grid = (2.0 * uv - 1.0)[:, :, None]  # (B, N, 1, 2)
    values = nn.functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return values[..., 0].transpose(1, 2)
