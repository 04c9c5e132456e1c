"""A z-buffer in plain torch: which face each pixel sees, for a batch of meshes, on any device.

No loop over faces or pixels. Every face becomes runs, the pixels of one row between its edges; the
runs are unrolled into candidates, and one `scatter_reduce` of packed (depth, face) keys keeps the
nearest of each pixel. Minimum of integers: the order of the additions cannot matter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_AREA_PX2 = 1e-4
"""A face that covers less (twice its area) is seen edge on and not drawn."""
_NOTHING = torch.iinfo(torch.int64).max
_LARGEST_FLOAT_BITS = 0x7F800000


class Raster(NamedTuple):
    """What each pixel of a batch of images sees."""

    face_id: Tensor
    """(B, H, W) int64, -1 where there is no surface."""
    barycentric: Tensor
    """(B, H, W, 3) shares of the face's corners, perspective-correct; 0 where no surface is."""
    depth: Tensor
    """(B, H, W) as of the vertices, infinite where no surface is."""


def rasterize(
    vertices_px_depth: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    *,
    near: float = 0.02,
    cull_back_faces: bool = True,
    chunk: int = 256,
) -> Raster:
    """Find the nearest face at each pixel centre; the centre of the top left pixel is (0, 0).

    Nothing here has a gradient; of faces at one depth the lowest number is seen.

    Args:
        vertices_px_depth: (B, V, 3) x and y in pixels, depth along the optical axis.
        faces: (F, 3) int64, counter-clockwise seen from outside (in the scene, not on paper).
        size: height and width in pixels.
        near: faces with a corner nearer than this (or not finite) are not drawn.
        cull_back_faces: leave out faces seen from inside.
        chunk: images at a time, which bounds the memory.
    """
    batch = len(vertices_px_depth)
    height, width = size
    if vertices_px_depth.ndim != 3 or vertices_px_depth.shape[2] != 3:
        raise ValueError(f"vertices are {tuple(vertices_px_depth.shape)}; expected (B, V, 3)")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype != torch.int64:
        raise ValueError(f"faces are {tuple(faces.shape)} {faces.dtype}; expected (F, 3) int64")
    with torch.no_grad():
        parts = [
            _rasterize(part, faces, height, width, near, cull_back_faces)
            for part in vertices_px_depth.detach().split(chunk)
        ]
    if not parts:
        raise ValueError(f"a batch of {batch} meshes; expected at least one")
    return Raster(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def interpolate(raster: Raster, attributes: Tensor, faces: Tensor) -> Tensor:
    """Attributes of the vertices at each pixel; the gradient flows to the attributes.

    Args:
        raster: of `rasterize`, with these faces.
        attributes: (B, V, C), or (V, C) for all images alike.
        faces: (F, 3) int64

    Returns:
        (B, H, W, C), 0 where there is no surface.
    """
    corners = faces[raster.face_id.clamp_min(0)]  # (B, H, W, 3)
    if attributes.ndim == 3:
        first = torch.arange(len(attributes), device=faces.device) * attributes.shape[1]
        corners = corners + first[:, None, None, None]
        attributes = attributes.flatten(0, 1)  # (B V, C)
    at_corners = attributes[corners]  # (B, H, W, 3, C)
    return (at_corners * raster.barycentric[..., None]).sum(dim=3)


def _rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, near: float, cull: bool
) -> Raster:
    """One chunk. Letters: B images, F faces, K faces drawn, R runs, C candidates, P pixels."""
    batch, num_vertices = vertices.shape[:2]
    num_pixels = height * width
    x, y, z = vertices[:, faces].unbind(-1)  # (B, F, 3) each
    a, b, c = _edge_functions(x, y)
    area = c.sum(-1)  # (B, F) twice the signed one; negative: y points down
    drawn = (area < -SMALLEST_AREA_PX2) if cull else (area.abs() > SMALLEST_AREA_PX2)
    drawn &= (z > near).all(-1) & torch.isfinite(area)
    top = y.amin(-1).ceil().clamp(0, height)
    bottom = y.amax(-1).floor().clamp(-1, height - 1)
    drawn &= (bottom >= top) & (x.amax(-1) >= 0) & (x.amin(-1) <= width - 1)
    image, face = drawn.nonzero(as_tuple=True)  # (K,)
    x, y, z, a, b, c, area, top, bottom = (
        v[image, face] for v in (x, y, z, a, b, c, area, top, bottom)
    )
    flip = -area.sign()[:, None]  # now all three are negative inside
    a, b, c = a * flip, b * flip, c * flip

    # Runs: a row of a face, between its edges. a > 0 bounds on the right, a < 0 on the left.
    k, row = _unrolled((bottom - top).long() + 1)  # (R,)
    row = row + top[k]
    crossing = -(b[k] * row[:, None] + c[k]) / a[k]  # (R, 3)
    left = torch.where(a[k] < 0, crossing, -torch.inf).amax(-1)
    right = torch.where(a[k] > 0, crossing, torch.inf).amin(-1)
    first = left.ceil().clamp(0, width).long()
    last = right.floor().clamp(-1, width - 1).long()

    # Inverse depth is linear in the image; the edge opposite a corner, over the area, is its share.
    inverse = 1.0 / z  # (K, 3)
    sides = -area.abs()[:, None]
    slope_x = (inverse * a.roll(-1, 1) / sides).sum(-1)
    slope_y = (inverse * b.roll(-1, 1) / sides).sum(-1)
    start = inverse[k, 0] + slope_x[k] * (first - x[k, 0]) + slope_y[k] * (row - y[k, 0])  # (R,)
    run, step = _unrolled((last - first + 1).clamp_min(0))  # (C,)
    k_of = k[run]
    inverse_depth = (start[run] + slope_x[k_of] * step).clamp_min(1e-12).float()
    # Bits of positive floats are ordered like the floats.
    far_first = _LARGEST_FLOAT_BITS - inverse_depth.view(torch.int32).long()
    key = (far_first << 32) | face[k_of]
    pixel = (image[k] * num_pixels + row.long() * width + first)[run] + step
    nearest = torch.full((batch * num_pixels,), _NOTHING, device=vertices.device)
    nearest.scatter_reduce_(0, pixel, key, "amin")

    seen = (nearest != _NOTHING).nonzero()[:, 0]  # (P,)
    winner = nearest[seen] & 0xFFFFFFFF
    of_vertex = faces[winner] + (seen // num_pixels * num_vertices)[:, None]  # (P, 3)
    corners = vertices.flatten(0, 1)[of_vertex]  # (P, 3, 3)
    centre = torch.stack([seen % width, seen % num_pixels // width], dim=-1)
    # Relative to the pixel, so that single precision does.
    shares = _edge_functions(*(corners[..., :2] - centre[:, None]).unbind(-1))[2].roll(-1, 1)
    shares = (shares / shares.sum(-1, keepdim=True)).clamp(0.0, 1.0)
    weights = shares / corners[..., 2]
    total = weights.sum(-1, keepdim=True)

    def filled(empty: float, values: Tensor) -> Tensor:
        shape = (batch * num_pixels, *values.shape[1:])
        dense = torch.full(shape, empty, dtype=values.dtype, device=values.device)
        dense[seen] = values
        return dense.unflatten(0, (batch, height, width))

    depth = (shares.sum(-1, keepdim=True) / total)[:, 0]
    return Raster(filled(-1, winner), filled(0.0, weights / total), filled(torch.inf, depth))


def _edge_functions(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (..., 3) of a x + b y + c, which is 0 on the edge from corner k to the next one.

    Two faces that share an edge get exactly opposite numbers, so no pixel falls between them.
    """
    x_next, y_next = x.roll(-1, -1), y.roll(-1, -1)
    return y - y_next, x_next - x, x * y_next - x_next * y


def _unrolled(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Item and place within the item, both (sum of counts,), of items that have so many places."""
    ends = counts.cumsum(0)
    item = torch.repeat_interleave(counts)
    place = torch.arange(len(item), device=counts.device) - (ends - counts)[item]
    return item, place
