"""Meshes for the synthetic images: finer texture inside of coarse faces, smooth normals, tubes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True, eq=False)
class Texels:
    """Points on faces, finer than the corners; a face has a triangular grid of n steps a side."""

    corners: np.ndarray
    """(T, 3) int: vertices that a texel lies between."""
    shares: np.ndarray
    """(T, 3)"""
    grid: np.ndarray
    """(F, n + 1, n + 1) int: texel at i/n of corner 0 and j/n of corner 1; i + j <= n."""

    @classmethod
    def of(cls, faces: np.ndarray, halvings: int) -> Texels:
        """Neighbouring faces share the texels of their edge, also where they are listed twice."""
        n = 2**halvings
        number: dict[tuple[tuple[int, int], ...], int] = {}
        grid = np.zeros((len(faces), n + 1, n + 1), np.int64)
        for f, (a, b, c) in enumerate(faces.tolist()):
            for i in range(n + 1):
                for j in range(n + 1 - i):
                    parts = sorted((v, w) for v, w in ((a, i), (b, j), (c, n - i - j)) if w)
                    grid[f, i, j] = number.setdefault(tuple(parts), len(number))
        corners, shares = np.zeros((len(number), 3), np.int64), np.zeros((len(number), 3))
        for texel, parts in enumerate(number):
            for k, (vertex, weight) in enumerate(parts):
                corners[texel, k], shares[texel, k] = vertex, weight / n
        return cls(corners, shares, grid)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(T, C) values of texels from (V, C) values of vertices."""
        return np.einsum("tkc,tk->tc", values[self.corners], self.shares)


def texel_lookup(grid: Tensor, face: Tensor, barycentric: Tensor) -> tuple[Tensor, Tensor]:
    """Three texels around each of P points, (P, 3), and their shares, (P, 3)."""
    n = grid.shape[1] - 1
    place = barycentric[:, :2] * n
    whole = place.floor().clamp(0, n - 1)
    i, j = whole.long().unbind(-1)
    u, v = (place - whole).unbind(-1)
    # Each cell of the grid holds an upright triangle and a turned one.
    turned = (u + v > 1.0) & (i + j < n - 1)
    t = turned.long()
    texels = torch.stack(
        [grid[face, i + t, j + t], grid[face, i + 1 - t, j + t], grid[face, i + t, j + 1 - t]], -1
    )
    upright = torch.stack([1.0 - u - v, u, v], dim=-1)
    shares = torch.where(
        turned[:, None], torch.stack([u + v - 1.0, 1.0 - u, 1.0 - v], dim=-1), upright
    )
    return texels, shares.clamp(0.0, 1.0)


def incident_faces(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """(V, most) faces around each vertex, filled up with the number past the last face."""
    around: list[list[int]] = [[] for _ in range(num_vertices)]
    for f, face in enumerate(faces.tolist()):
        for vertex in face:
            around[vertex].append(f)
    table = np.full((num_vertices, max(map(len, around))), len(faces))
    for vertex, found in enumerate(around):
        table[vertex, : len(found)] = found
    return table


def vertex_normals(vertices: Tensor, faces: Tensor, incident: Tensor) -> Tensor:
    """(B, V, 3) unit, outwards; gathered, because scattered sums differ from run to run on a GPU.

    Args:
        vertices: (B, V, 3)
        faces: (F, 3)
        incident: of `incident_faces`.
    """
    a, b, c = vertices[:, faces].unbind(2)  # (B, F, 3)
    of_face = torch.linalg.cross(b - a, c - a)
    of_face = torch.cat([of_face, torch.zeros_like(of_face[:, :1])], dim=1)
    return normalize(of_face[:, incident].sum(2), dim=-1)


def tube_faces(rings: list[np.ndarray]) -> np.ndarray:
    """(F, 3) faces between rings of equally many vertices, from one to the next.

    They look outwards if the first ring runs as a mesh's open edge does.
    """
    faces = []
    for inner, outer in pairwise(rings):
        inner_next, outer_next = np.roll(inner, -1), np.roll(outer, -1)
        faces.append(np.stack([inner_next, inner, outer], axis=1))
        faces.append(np.stack([inner_next, outer, outer_next], axis=1))
    return np.concatenate(faces)


def cube_grid(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) points on the surface of the cube [-1, 1]^3 and (F, 3) faces that look outwards."""
    number: dict[tuple[int, int, int], int] = {}
    faces = []

    def vertex(axis: int, sign: int, u: int, v: int) -> int:
        point = [0, 0, 0]
        point[axis] = sign * cells
        point[(axis + 1) % 3], point[(axis + 2) % 3] = 2 * u - cells, 2 * v - cells
        return number.setdefault((point[0], point[1], point[2]), len(number))

    for axis in range(3):
        for sign in (-1, 1):
            for u in range(cells):
                for v in range(cells):
                    a, b = vertex(axis, sign, u, v), vertex(axis, sign, u + 1, v)
                    c, d = vertex(axis, sign, u + 1, v + 1), vertex(axis, sign, u, v + 1)
                    faces += [(a, b, c), (a, c, d)] if sign > 0 else [(a, c, b), (a, d, c)]
    return np.array(list(number), float) / cells, np.array(faces)
