"""Spirals on a mesh: each vertex, then the rings around it, always turning the same way (numpy).

SpiralNet++ (Gong et al. 2019) with a fixed start, so that the n-th entry means the same place for
every vertex: rings run counter-clockwise seen from outside, and the first one starts at the
neighbour that lies most in a given direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mesh_levels import NUM_LEVELS, mesh_levels


def spiral_indices(
    vertices: np.ndarray,
    faces: np.ndarray,
    length: int,
    *,
    start_direction: np.ndarray,
    dilation: int = 1,
    region: np.ndarray | None = None,
) -> np.ndarray:
    """Walk the rings around every vertex.

    Args:
        vertices: (V, 3)
        faces: (F, 3) counter-clockwise seen from outside.
        length: entries a spiral.
        start_direction: (3,) where the first neighbour is looked for.
        dilation: only every so-many-th vertex of the walk is taken.
        region: (V,) labels; a spiral then passes over vertices with another label than its own.

    Returns:
        (V, length) int64; the first column is the vertex itself. A walk that runs out of vertices
        is filled up with the vertex itself.

    Raises:
        ValueError: no positive length or dilation, or faces that are no surface.
    """
    if length < 1 or dilation < 1:
        raise ValueError(f"spirals: length {length} and dilation {dilation} must be at least 1")
    fans = vertex_fans(faces, len(vertices))
    spirals = np.tile(np.arange(len(vertices))[:, None], (1, length))
    wanted = (length - 1) * dilation + 1
    for v in range(len(vertices)):
        walk = []
        for w in _walk(v, fans, _first_neighbour(v, fans[v], vertices, start_direction)):
            if region is None or region[w] == region[v]:
                walk.append(w)
                if len(walk) == wanted:
                    break
        taken = walk[::dilation]
        spirals[v, : len(taken)] = taken
    return spirals


@lru_cache(maxsize=16)
def level_spirals(
    model: HandModel, length: int, dilation: int = 1, num_levels: int = NUM_LEVELS
) -> tuple[np.ndarray, ...]:
    """Spirals on every level of a hand's mesh, fine to coarse, starting towards the wrist."""
    levels = mesh_levels(model, num_levels)
    return tuple(
        spiral_indices(v, f, length, dilation=dilation, start_direction=_wristwards(model))
        for v, f in zip(levels.vertices_m, levels.faces, strict=True)
    )


@lru_cache(maxsize=8)
def region_spirals(model: HandModel, length: int, dilation: int) -> np.ndarray:
    """(V, length) dilated spirals on the full mesh that stay in the vertex's own finger or palm."""
    return spiral_indices(
        model.template_m,
        model.faces,
        length,
        dilation=dilation,
        start_direction=_wristwards(model),
        region=model.vertex_region,
    )


def vertex_fans(faces: np.ndarray, num_vertices: int) -> list[list[int]]:
    """Neighbours of each vertex, counter-clockwise; at a border from its one end to the other.

    Raises:
        ValueError: the faces around a vertex do not make one fan of consistent winding.
    """
    following: list[dict[int, int]] = [{} for _ in range(num_vertices)]
    for face in faces.tolist():
        for k in range(3):
            v, a, b = face[k], face[(k + 1) % 3], face[(k + 2) % 3]
            if a in following[v]:
                raise ValueError(f"edge {v}-{a}: two faces lie on the same side of it")
            following[v][a] = b
    fans = []
    for v, after in enumerate(following):
        # A closed fan can be opened anywhere; an open one begins where no face ends.
        begins = sorted(set(after) - set(after.values())) or sorted(after)[:1]
        if not begins:
            raise ValueError(f"vertex {v} has no face")
        fan = [begins[0]]
        while (nxt := after.get(fan[-1])) is not None and nxt != fan[0]:
            fan.append(nxt)
        if len(fan) != len(set(after) | set(after.values())):
            raise ValueError(f"vertex {v}: the faces around it do not make one fan")
        fans.append(fan)
    return fans


def _walk(start: int, fans: list[list[int]], first: int) -> Iterator[int]:
    """Yield vertices by rings; each ring is found by going round the vertices of the ring within.

    Going round a vertex starts at the one it was reached from. That one lies inwards, so what lies
    outwards comes in the ring's own sense.
    """
    yield start
    seen = {start}
    ring = [(w, start) for w in _from(fans[start], first)]
    seen.update(w for w, _ in ring)
    while ring:
        yield from (w for w, _ in ring)
        outer = []
        for w, inner in ring:
            for x in _from(fans[w], inner):
                if x not in seen:
                    seen.add(x)
                    outer.append((x, w))
        ring = outer


def _from(fan: list[int], first: int) -> list[int]:
    at = fan.index(first)
    return fan[at:] + fan[:at]


def _first_neighbour(v: int, fan: list[int], vertices: np.ndarray, direction: np.ndarray) -> int:
    edges = vertices[fan] - vertices[v]
    along = edges @ direction / np.maximum(np.linalg.norm(edges, axis=1), 1e-12)
    return fan[int(np.argmax(along))]


def _wristwards(model: HandModel) -> np.ndarray:
    """(3,) from the middle of the template to its wrist joint."""
    return model.joint_template_m[0] - np.mean(model.template_m, axis=0)
