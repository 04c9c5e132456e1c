"""A small software renderer: coloured triangle meshes with a depth buffer, in numpy and OpenCV.

Whatever varies over a triangle (inverse depth, colour) is linear in the image, so a mesh becomes a
list of runs: for every face and image row, the pixels from the left edge to the right one. Arrays
of corners and attributes have the short axis first; numpy is several times faster that way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from hand_mesh_ros.camera import Camera

NEAR_M = 0.02
_DEPTH_LEVELS = 65000
_OCCLUSION_RADIUS_M = 0.012
_OCCLUSION_DEPTH_M = 0.012
_OCCLUSION_STRENGTH = 0.65
_MARGIN_PX = 2
_SMALLEST_AREA_PX2 = 1e-3


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh in the camera frame with a colour at each vertex."""

    vertices_m: np.ndarray
    """(N, 3) m, camera frame."""
    faces: np.ndarray
    """(F, 3) int, counter-clockwise seen from outside; back faces are not drawn."""
    colors: np.ndarray
    """(N, 3) RGB, 0 to 255, lit."""


@dataclass(frozen=True, eq=False)
class Visible:
    """What meshes show in a rectangle of the image: the nearest surface at each covered pixel."""

    rows: slice
    columns: slice
    index: np.ndarray
    """(P,) int, covered pixels of that rectangle, row by row."""
    inverse_depth: np.ndarray
    """(P,) float32, 1/m."""
    color: np.ndarray
    """(3, P) float32, RGB, 0 to 255."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the rectangle."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def mask(self) -> np.ndarray:
        """(rows, columns) bool: which pixels of the rectangle are covered."""
        covered = np.zeros(self.size, bool)
        covered.reshape(-1)[self.index] = True
        return covered

    def paint_depth(self, depth_m: np.ndarray) -> None:
        """Write what is seen into an (H, W) float32 depth image, m along the optical axis."""
        patch = np.ascontiguousarray(depth_m[self.rows, self.columns])
        patch.reshape(-1)[self.index] = 1.0 / self.inverse_depth
        depth_m[self.rows, self.columns] = patch


class _Runs(NamedTuple):
    """Pixels inside faces, each run within one row of one face; (R,) int, clipped to the image."""

    face: np.ndarray
    row: np.ndarray
    first: np.ndarray
    last: np.ndarray


def joined(meshes: list[Mesh]) -> Mesh:
    """One mesh of several, so that they hide each other."""
    starts = np.cumsum([0, *(len(m.vertices_m) for m in meshes[:-1])])
    return Mesh(
        vertices_m=np.concatenate([m.vertices_m for m in meshes]),
        faces=np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)]),
        colors=np.concatenate([m.colors for m in meshes]),
    )


def rasterize(mesh: Mesh, camera: Camera) -> Visible | None:
    """Find what each pixel sees of a mesh; None where none of it is in the image.

    Faces that reach closer than `NEAR_M`, or out of the lens's sight, are left out. Edges are
    straight between the projected vertices, also under lens distortion: faces are small.
    """
    depth = mesh.vertices_m[:, 2]
    points = camera.project(mesh.vertices_m).T  # (2, N)
    undrawable = (depth <= NEAR_M) | np.isnan(points[0])
    faces = mesh.faces.T  # (3, F)
    x, y = points[0][faces], points[1][faces]  # (3, F)
    a, b, c = _edge_functions(x, y)
    area = c[0] + c[1] + c[2]  # twice the signed one
    # Counter-clockwise on paper is negative where y points down.
    drawn = area < -_SMALLEST_AREA_PX2
    if undrawable.any():
        drawn &= ~undrawable[faces].any(0)
    drawn = np.flatnonzero(drawn)
    faces, x, y, a, b, c = (v[:, drawn] for v in (faces, x, y, a, b, c))
    runs = _runs(y, a, b, c, camera)
    if len(runs.face) == 0:
        return None

    # The edge function opposite a corner, over the area, is that corner's share.
    values = np.concatenate([1.0 / np.maximum(depth, NEAR_M)[None], mesh.colors.T])  # (4, N)
    at_corner = values.astype(np.float32)[:, faces]  # (4, 3, F)
    share_x, share_y = ((np.roll(e, -1, axis=0) / area[drawn]).astype(np.float32) for e in (a, b))
    slope_x, slope_y = (at_corner * share_x).sum(1), (at_corner * share_y).sum(1)  # (4, F)
    dx = (runs.first - x[0][runs.face]).astype(np.float32)
    dy = (runs.row - y[0][runs.face]).astype(np.float32)
    slope = slope_x[:, runs.face]  # (4, R)
    start = at_corner[:, 0][:, runs.face] + slope * dx + slope_y[:, runs.face] * dy

    top, bottom = int(runs.row.min()), int(runs.row.max()) + 1
    left, right = int(runs.first.min()), int(runs.last.max()) + 1
    length = runs.last - runs.first + 1
    run = np.repeat(np.arange(len(length)), length)  # (candidates,)
    step = np.arange(len(run)) - np.repeat(np.cumsum(length) - length, length)
    inverse_depth = start[0][run] + slope[0][run] * step.astype(np.float32)
    index = ((runs.row - top) * (right - left) + runs.first - left)[run] + step
    winner = _nearest(index, inverse_depth, (bottom - top) * (right - left))
    run, step = run[winner], step[winner].astype(np.float32)
    return Visible(
        rows=slice(top, bottom),
        columns=slice(left, right),
        index=index[winner],
        inverse_depth=inverse_depth[winner],
        color=np.stack([start[k][run] + slope[k][run] * step for k in (1, 2, 3)]),
    )


def draw(image: np.ndarray, visible: Visible, focal_px: float) -> None:
    """Paint into an (H, W, 3) uint8 image, with shadow in crevices and slightly soft edges."""
    shade = 1.0 - _OCCLUSION_STRENGTH * _crevice(visible, focal_px)
    patch = np.ascontiguousarray(image[visible.rows, visible.columns])
    color = np.clip(visible.color * shade, 0.0, 255.0).astype(np.uint8)
    patch.reshape(-1, 3)[visible.index] = color.T
    image[visible.rows, visible.columns] = patch
    # A margin, so that the outline meets the background around the patch.
    rows = slice(max(visible.rows.start - _MARGIN_PX, 0), visible.rows.stop + _MARGIN_PX)
    columns = slice(max(visible.columns.start - _MARGIN_PX, 0), visible.columns.stop + _MARGIN_PX)
    image[rows, columns] = cv2.GaussianBlur(image[rows, columns], (3, 3), 0.6)


def _crevice(visible: Visible, focal_px: float) -> np.ndarray:
    """(P,) 0 to 1: how far each pixel lies behind the mean depth of the surfaces around it.

    Unsharp masking of the depth buffer (Luft, Colditz, Deussen 2006).
    """
    depth = 1.0 / visible.inverse_depth
    radius_px = _OCCLUSION_RADIUS_M * focal_px / float(np.median(depth))
    kernel = 2 * max(round(radius_px), 1) + 1
    buffer = np.zeros((*visible.size, 2), np.float32)
    flat = buffer.reshape(-1, 2)
    flat[visible.index, 0] = depth
    flat[visible.index, 1] = 1.0
    total, count = cv2.blur(buffer, (kernel, kernel)).reshape(-1, 2)[visible.index].T
    return np.clip((depth - total / count) * (1.0 / _OCCLUSION_DEPTH_M), 0.0, 1.0)


def _edge_functions(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (3, F) of a x + b y + c, which is 0 on the edge from corner k to the next one.

    Two faces that share an edge get exactly opposite numbers, so no pixel falls between them.
    """
    x_next, y_next = np.roll(x, -1, axis=0), np.roll(y, -1, axis=0)
    return y - y_next, x_next - x, x * y_next - x_next * y


def _runs(y: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, camera: Camera) -> _Runs:
    """Rows of pixel centres inside faces, given by corners' y and edge functions, all (3, F)."""
    top = np.clip(np.ceil(y.min(0)), 0, camera.height).astype(np.int64)
    bottom = np.clip(np.floor(y.max(0)), -1, camera.height - 1).astype(np.int64)
    height = np.maximum(bottom - top + 1, 0)
    face = np.repeat(np.arange(len(height)), height)
    row = np.arange(len(face)) + np.repeat(top - np.cumsum(height) + height, height)
    left, right = np.full(len(face), -1e9), np.full(len(face), 1e9)
    with np.errstate(divide="ignore", invalid="ignore"):
        for k in range(3):
            # Inside, all functions are negative: a > 0 bounds on the right, a < 0 on the left.
            slope = a[k][face]
            crossing = -(b[k][face] * row + c[k][face]) / slope
            np.copyto(left, np.maximum(left, crossing), where=slope < 0)
            np.copyto(right, np.minimum(right, crossing), where=slope > 0)
    first = np.clip(np.ceil(left), 0, camera.width).astype(np.int64)
    last = np.clip(np.floor(right), -1, camera.width - 1).astype(np.int64)
    filled = np.flatnonzero(last >= first)
    return _Runs(face[filled], row[filled], first[filled], last[filled])


def _nearest(index: np.ndarray, inverse_depth: np.ndarray, num_pixels: int) -> np.ndarray:
    """Numbers of the nearest candidate of each pixel that has one, in the order of the pixels."""
    far, near = float(inverse_depth.min()), float(inverse_depth.max())
    # 16 bits (microns over one hand) make the stable sort a radix sort, ten times as fast.
    level = (inverse_depth - far) * (_DEPTH_LEVELS / max(near - far, 1e-9))
    order = np.argsort(level.astype(np.uint16), kind="stable")
    winner = np.full(num_pixels, -1)
    winner[index[order]] = order  # of equal indices the last one stays: the nearest
    return winner[winner >= 0]
