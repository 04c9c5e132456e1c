"""Coarser meshes whose vertices are vertices of the finer one (numpy)."""

from __future__ import annotations

import heapq

import numpy as np

BOUNDARY_WEIGHT = 100.0


def decimate(
    vertices: np.ndarray, faces: np.ndarray, num_vertices: int
) -> tuple[np.ndarray, np.ndarray]:
    """Collapse edges into one of their ends until so many vertices are left.

    Quadric error (Garland and Heckbert 1997) decides the order; open boundaries are held in place
    by planes through their edges. A collapse that would fold or break the surface is skipped.

    Args:
        vertices: (V, 3)
        faces: (F, 3)
        num_vertices: how many to keep.

    Returns:
        (num_vertices,) indices of the vertices kept, ascending, and the faces over them.

    Raises:
        ValueError: when no legal collapse is left before the target is reached.
    """
    quadrics = _vertex_quadrics(vertices, faces)
    triangles = {i: tuple(int(v) for v in f) for i, f in enumerate(faces)}
    incident: list[set[int]] = [set() for _ in vertices]
    for i, face in triangles.items():
        for v in face:
            incident[v].add(i)
    alive = np.ones(len(vertices), bool)
    version = np.zeros(len(vertices), int)
    boundary = {v for edge in _boundary_edges(faces) for v in edge}

    def neighbours(v: int) -> set[int]:
        return {w for i in incident[v] for w in triangles[i]} - {v}

    def cost(gone: int, kept: int) -> float:
        p = np.append(vertices[kept], 1.0)
        # The edge's length breaks ties on flat parts towards even triangles.
        length = float(np.sum((vertices[gone] - vertices[kept]) ** 2))
        return float(p @ (quadrics[gone] + quadrics[kept]) @ p) + 1e-3 * length * length

    heap: list[tuple[float, int, int, int, int]] = []

    def push(v: int) -> None:
        for w in neighbours(v):
            for gone, kept in ((v, w), (w, v)):
                if gone in boundary and kept not in boundary:
                    continue
                heapq.heappush(
                    heap, (cost(gone, kept), gone, kept, int(version[gone]), int(version[kept]))
                )

    def legal(gone: int, kept: int) -> bool:
        shared = incident[gone] & incident[kept]
        around = neighbours(gone) & neighbours(kept)
        if len(around) != len(shared) or (gone in boundary and len(shared) != 1):
            return False
        for i in incident[gone] - shared:
            a, b, c = (vertices[v] for v in triangles[i])
            moved = [vertices[kept] if v == gone else vertices[v] for v in triangles[i]]
            before = np.cross(b - a, c - a)
            after = np.cross(moved[1] - moved[0], moved[2] - moved[0])
            if before @ after <= 0.2 * np.linalg.norm(before) * np.linalg.norm(after):
                return False
        return True

    for v in range(len(vertices)):
        push(v)
    left = len(vertices)
    while left > num_vertices:
        if not heap:
            raise ValueError(f"decimate: stuck at {left} vertices, asked for {num_vertices}")
        _, gone, kept, version_gone, version_kept = heapq.heappop(heap)
        if version[gone] != version_gone or version[kept] != version_kept:
            continue
        if not (alive[gone] and alive[kept]) or not legal(gone, kept):
            continue
        for i in list(incident[gone]):
            face = triangles[i]
            if kept in face:
                for v in face:
                    incident[v].discard(i)
                del triangles[i]
            else:
                triangles[i] = (
                    kept if face[0] == gone else face[0],
                    kept if face[1] == gone else face[1],
                    kept if face[2] == gone else face[2],
                )
                incident[kept].add(i)
        incident[gone].clear()
        alive[gone] = False
        quadrics[kept] += quadrics[gone]
        version[kept] += 1
        left -= 1
        push(kept)
    keep = np.flatnonzero(alive)
    new_index = np.full(len(vertices), -1)
    new_index[keep] = np.arange(len(keep))
    return keep, new_index[np.array(list(triangles.values()))].astype(np.int32)


def _vertex_quadrics(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 4, 4) sum of squared distances to the planes around each vertex, weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = normal / np.maximum(area, 1e-20)
    planes = [(faces, normal, a, area[:, 0])]
    face_normal = {}
    for i, face in enumerate(faces):
        for k in range(3):
            face_normal[(int(face[k]), int(face[(k + 1) % 3]))] = normal[i]
    for edge in _boundary_edges(faces):
        direction = vertices[edge[1]] - vertices[edge[0]]
        side = np.cross(direction, face_normal[edge])
        side /= max(float(np.linalg.norm(side)), 1e-20)
        weight = BOUNDARY_WEIGHT * float(direction @ direction)
        planes.append((np.array([edge]), side[None], vertices[edge[0]][None], np.array([weight])))
    quadrics = np.zeros((len(vertices), 4, 4))
    for polygons, n, point, weight in planes:
        plane = np.concatenate([n, -np.sum(n * point, axis=1, keepdims=True)], axis=1)
        K = weight[:, None, None] * plane[:, :, None] * plane[:, None, :]
        for k in range(polygons.shape[1]):
            np.add.at(quadrics, polygons[:, k], K)
    return quadrics


def _boundary_edges(faces: np.ndarray) -> list[tuple[int, int]]:
    """Directed edges that have a face on one side only."""
    directed = {(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)}
    return [edge for edge in directed if (edge[1], edge[0]) not in directed]
