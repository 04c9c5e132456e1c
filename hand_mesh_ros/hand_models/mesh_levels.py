"""One hand mesh at several resolutions, and how values pass from coarse to fine (numpy)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.topology import decimate

NUM_LEVELS = 5
"""778, 389, 195, 98, 49 vertices for hands of MANO's size."""


@dataclass(frozen=True, eq=False)
class UpSampling:
    """A sparse matrix of three weights a row: each fine vertex from a triangle of coarse ones."""

    index: np.ndarray
    """(V_fine, 3) int64, coarse vertices."""
    weight: np.ndarray
    """(V_fine, 3) barycentric: not negative, rows sum to 1."""

    def apply(self, coarse: np.ndarray) -> np.ndarray:
        """(V_fine, ...) values from (V_coarse, ...) ones."""
        return np.einsum("vk,vk...->v...", self.weight, coarse[self.index])


@dataclass(frozen=True, eq=False)
class MeshLevels:
    """Meshes from fine to coarse, each about half the one before; lists have one entry a level."""

    vertices_m: tuple[np.ndarray, ...]
    """(V, 3) m, the hand at rest; the first is the model's own template."""
    faces: tuple[np.ndarray, ...]
    """(F, 3) int32, counter-clockwise seen from outside."""
    kept: tuple[np.ndarray, ...]
    """Down-sampling to level i + 1: the (V_i+1,) vertices of level i that stay, ascending."""
    up: tuple[UpSampling, ...]
    """Up-sampling from level i + 1 to level i; a vertex that stayed gets its own value."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of vertices of each level."""
        return tuple(len(v) for v in self.vertices_m)


@lru_cache(maxsize=8)
def mesh_levels(model: HandModel, num_levels: int = NUM_LEVELS) -> MeshLevels:
    """Halve the mesh again and again by quadric decimation of the template.

    Raises:
        ValueError: the surface cannot be decimated that far.
    """
    vertices, faces = [np.asarray(model.template_m, np.float64)], [model.faces]
    kept, up = [], []
    for _ in range(num_levels - 1):
        keep, coarse = decimate(vertices[-1], faces[-1], (len(vertices[-1]) + 1) // 2)
        up.append(up_sampling(vertices[-1], keep, coarse))
        kept.append(keep)
        vertices.append(vertices[-1][keep])
        faces.append(coarse)
    return MeshLevels(tuple(vertices), tuple(faces), tuple(kept), tuple(up))


def up_sampling(vertices: np.ndarray, kept: np.ndarray, coarse_faces: np.ndarray) -> UpSampling:
    """Each fine vertex as its nearest point on the coarse surface.

    Args:
        vertices: (V_fine, 3)
        kept: (V_coarse,) the fine vertices that the coarse ones are.
        coarse_faces: (F, 3) over the coarse vertices.
    """
    face, weight = nearest_on_surface(vertices, vertices[kept], coarse_faces)
    index = coarse_faces[face].astype(np.int64)
    # Another part of the surface may touch a vertex that stayed; it is itself all the same.
    index[kept], weight[kept] = np.arange(len(kept))[:, None], [1.0, 0.0, 0.0]
    return UpSampling(index, weight)


def nearest_on_surface(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each of (N, 3) points the nearest triangle, and the nearest point's weights in it.

    Returns:
        (N,) faces, and (N, 3) barycentric weights.
    """
    corners = vertices[faces]  # (F, 3 corners, 3)
    face, weight = np.empty(len(points), np.int64), np.empty((len(points), 3))
    for i, point in enumerate(points):
        candidates = _nearest_in_triangles(point, corners)  # (F, 3)
        nearest = np.einsum("fk,fkc->fc", candidates, corners)
        face[i] = np.argmin(np.sum((nearest - point) ** 2, axis=1))
        weight[i] = candidates[face[i]]
    return face, weight


def _nearest_in_triangles(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(F, 3) barycentric weights of the point of each triangle that is nearest to `point`."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac)
    d20, d21 = _dot(ap, ab), _dot(ap, ac)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = (v >= 0.0) & (w >= 0.0) & (v + w <= 1.0)
    best = np.stack([1.0 - v - w, v, w], axis=1)
    # Outside of a triangle the nearest point lies on one of its three sides.
    distance = np.where(inside, -1.0, np.inf)
    for k in range(3):
        start, end = corners[:, k], corners[:, (k + 1) % 3]
        side = end - start
        along = np.clip(_dot(point - start, side) / np.maximum(_dot(side, side), 1e-30), 0.0, 1.0)
        to_side = _dot(*(2 * [point - start - along[:, None] * side]))
        closer = to_side < distance
        on_side = np.zeros_like(best)
        on_side[:, k], on_side[:, (k + 1) % 3] = 1.0 - along, along
        best[closer], distance[closer] = on_side[closer], to_side[closer]
    return best


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=-1)
