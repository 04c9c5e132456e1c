"""How a hand looks to the synthetic camera: finer mesh, forearm, skin colour and light.

Skin is painted once, on the hand at rest; light falls on it in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.sources.rendering import Mesh
from hand_mesh_ros.sources.skin import paint_skin

_FOREARM_RINGS_M = (0.012, 0.03, 0.06, 0.1, 0.15, 0.22, 0.35, 0.8)
_FOREARM_WIDENING = (1.0, 1.02, 1.1, 1.24, 1.38, 1.5, 1.55, 1.55)


@dataclass(frozen=True, eq=False)
class Light:
    """One distant lamp and a bright ceiling."""

    direction: np.ndarray
    """(3,) unit, camera frame, from the hand to the lamp."""
    lamp: float
    ambient: float
    color: np.ndarray
    """(3,) RGB factors of the lamp, about 1."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Light:
        """A lamp somewhere above and in front of the hand, to the left or right."""
        toward = np.array(
            [rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.3), rng.uniform(-1.0, -0.6)]
        )
        return cls(
            direction=toward / np.linalg.norm(toward),
            lamp=rng.uniform(0.5, 0.75),
            ambient=rng.uniform(0.42, 0.55),
            color=np.array([1.0, 1.0, 1.0]) + rng.uniform(-0.05, 0.05) * np.array([1.0, 0.0, -1.0]),
        )


class HandLook:
    """Dresses posed vertices of a hand model in skin, with a stub of forearm."""

    def __init__(self, model: HandModel, skin_rgb: np.ndarray) -> None:
        """Paint a hand whose back has that colour; see `drawn_skin_rgb`."""
        self._num_hand = len(model.template_m)
        self._loop = boundary_loop(model.faces)
        tube = _tube_faces(self._loop, self._num_hand, len(_FOREARM_RINGS_M))
        faces = np.concatenate([model.faces, tube])
        self._coarse_faces = faces
        num_coarse = int(faces.max()) + 1
        self._incident = _incident_faces(faces, num_coarse)
        self._edges, self.faces = split_faces(faces, num_coarse)
        knuckles = model.joint_template_m[[1, 4, 7, 10]].mean(0) - model.joint_template_m[0]
        self._forearm_axis_hand = -knuckles / np.linalg.norm(knuckles)
        rest = self._with_forearm(
            model.template_m - model.joint_template_m[0], np.eye(3), self._forearm_axis_hand
        )
        self._albedo, self._gloss = paint_skin(
            model,
            self._split(rest),
            _unit(self._split(self._normals(rest))),
            skin_rgb,
        )

    def dress(
        self, vertices_m: np.ndarray, R_camera_hand: np.ndarray, elbow: np.ndarray, light: Light
    ) -> Mesh:
        """Mesh to draw.

        Args:
            vertices_m: (V, 3) m, the hand model's vertices in the camera frame.
            R_camera_hand: (3, 3)
            elbow: (3,) unit, camera frame: where the forearm bends to.
            light: what shines on it.
        """
        coarse = self._with_forearm(vertices_m, R_camera_hand, elbow)
        normals = _unit(self._split(self._normals(coarse)))
        points = self._split(coarse)
        return Mesh(points, self.faces, self._lit(points, normals, light))

    def _lit(self, points: np.ndarray, normals: np.ndarray, light: Light) -> np.ndarray:
        """(N, 3) RGB: light wraps around the edge of shadow, redder there (it passed skin)."""
        toward_lamp = normals @ light.direction
        wrap = np.array([0.35, 0.22, 0.18])
        diffuse = np.clip((toward_lamp[:, None] + wrap) / (1.0 + wrap), 0.0, None)
        ceiling = 0.9 - 0.25 * normals[:, 1]
        to_camera = -_unit(points)
        half = _unit(to_camera + light.direction)
        # Blinn's highlight; the power is 32, by squaring.
        highlight = np.clip(_dot(normals, half), 0.0, 1.0)
        for _ in range(5):
            highlight = highlight * highlight
        highlight = highlight * self._gloss
        # Grazing sides are seen through more skin and less light.
        facing = np.clip(_dot(normals, to_camera), 0.0, 1.0)
        rim = 0.72 + 0.28 * np.sqrt(facing)
        received = light.ambient * ceiling[:, None] + light.lamp * light.color * diffuse
        return self._albedo * received * rim[:, None] + 255.0 * highlight[:, None]

    def _with_forearm(
        self, vertices_m: np.ndarray, R_camera_hand: np.ndarray, elbow: np.ndarray
    ) -> np.ndarray:
        """(V + rings, 3): rings grow out of the wrist's open edge and bend towards the elbow."""
        if len(self._loop) == 0:
            return vertices_m
        edge = vertices_m[self._loop]
        middle = edge.mean(0)
        spokes = edge - middle
        axis = R_camera_hand @ self._forearm_axis_hand
        parts, reached = [vertices_m], 0.0
        for i, length in enumerate(_FOREARM_RINGS_M):
            bend = min(1.0, length / 0.08) * 0.6
            direction = (1.0 - bend) * axis + bend * elbow
            direction /= np.linalg.norm(direction)
            middle = middle + direction * (length - reached)
            reached = length
            parts.append(
                middle + _FOREARM_WIDENING[i] * spokes @ _rotation_between(axis, direction).T
            )
        return np.concatenate(parts)

    def _normals(self, vertices_m: np.ndarray) -> np.ndarray:
        """(V, 3) sums of the normals of the faces around each vertex, by area."""
        a, b, c = (vertices_m[self._coarse_faces[:, k]] for k in range(3))
        of_face = np.zeros((len(a) + 1, 3))
        of_face[:-1] = _cross(b - a, c - a)
        return _unit(of_face[self._incident].sum(1))

    def _split(self, values: np.ndarray) -> np.ndarray:
        """Values at vertices, then at the middle of each edge."""
        return np.concatenate(
            [values, 0.5 * (values[self._edges[:, 0]] + values[self._edges[:, 1]])]
        )


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """Vertices of the longest open edge of a mesh, in order; empty when it is closed."""
    directed = {(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)}
    following = {a: b for a, b in directed if (b, a) not in directed}
    longest: list[int] = []
    while following:
        loop = [next(iter(sorted(following)))]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        longest = max(longest, loop[:-1], key=len)
    return np.array(longest, np.int64)


def split_faces(faces: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Each face in four: (E, 2) edges whose middles become vertices V.., and (4 F, 3) faces."""
    pairs = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=-1)  # (F, 3, 2)
    edges, index = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    ab, bc, ca = (index.reshape(-1, 3) + num_vertices).T
    a, b, c = faces.T
    return edges, np.concatenate(
        [np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    )


def _tube_faces(loop: np.ndarray, num_hand: int, num_rings: int) -> np.ndarray:
    """(2 n rings, 3) faces from the open edge `loop` through rings numbered after the hand."""
    n = len(loop)
    if n == 0:
        return np.zeros((0, 3), np.int64)
    rings = [loop, *(num_hand + k * n + np.arange(n) for k in range(num_rings))]
    faces = []
    for inner, outer in pairwise(rings):
        inner_next, outer_next = np.roll(inner, -1), np.roll(outer, -1)
        # The hand's faces run along the edge a -> b, so the tube's must run b -> a.
        faces.append(np.stack([inner_next, inner, outer], axis=1))
        faces.append(np.stack([inner_next, outer, outer_next], axis=1))
    return np.concatenate(faces)


def _incident_faces(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """(V, most) faces around each vertex, filled up with the number past the last face."""
    around: list[list[int]] = [[] for _ in range(num_vertices)]
    for i, face in enumerate(faces):
        for v in face:
            around[int(v)].append(i)
    table = np.full((num_vertices, max(map(len, around))), len(faces))
    for v, found in enumerate(around):
        table[v, : len(found)] = found
    return table


def _rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that turns unit vector a into unit vector b (not opposite ones)."""
    v, c = _cross(a[None], b[None])[0], float(a @ b)
    K = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
    return np.eye(3) + K + K @ K / (1.0 + c)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3) cross products; np.cross is several times slower."""
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) dot products of (N, 3) vectors."""
    return np.einsum("nc,nc->n", a, b)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(N, 3) vectors of length 1."""
    return vectors / np.maximum(np.sqrt(_dot(vectors, vectors)), 1e-12)[:, None]
