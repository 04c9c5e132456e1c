"""Coloured vertices back to an image (AMVUR section 3.4): rasterised, colours interpolated."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hand_mesh_ros.hand_models.torch_precision import in_single_precision
from hand_mesh_ros.networks.amvur_prior import depth_shares, project
from hand_mesh_ros.training.rasterizer import interpolate, rasterize


class RenderedHand(NamedTuple):
    """B crops that show a coloured mesh."""

    image: Tensor
    """(B, 3, S, S) 0 where there is no hand; its gradient flows to the colours."""
    mask: Tensor
    """(B, S, S) bool, where there is one: the paper's occlusion matrix."""
    seen: Tensor
    """(B, V) bool, corners of the faces that are seen."""


@in_single_precision
def render_hands(
    vertices_m: Tensor, camera: Tensor, colors: Tensor, faces: Tensor, size_px: int
) -> RenderedHand:
    """Draw meshes as the network's camera sees them.

    Args:
        vertices_m: (B, V, 3) wrist at the origin.
        camera: see `amvur_prior.project`.
        colors: (B, V, 3)
        faces: (F, 3) int64
        size_px: S
    """
    with torch.no_grad():
        pixels = project(vertices_m, camera) * size_px - 0.5
        if camera.shape[1] == 4:
            depth = depth_shares(vertices_m, camera) / camera[:, None, 3:].exp()
        else:  # without perspective only the order of depths matters: as seen from a metre
            depth = 1.0 + vertices_m[..., 2:]
        raster = rasterize(torch.cat([pixels, depth], dim=2), faces, (size_px, size_px))
        mask = raster.face_id >= 0
        batch, num_vertices = vertices_m.shape[:2]
        seen = torch.zeros(batch, num_vertices, dtype=torch.bool, device=faces.device)
        image_of, y, x = mask.nonzero(as_tuple=True)
        corners = faces[raster.face_id[image_of, y, x]]  # (P, 3)
        seen[image_of[:, None], corners] = True
    image = interpolate(raster, colors, faces).permute(0, 3, 1, 2)
    return RenderedHand(image, mask, seen)
