"""How deep a hand's mesh lies inside itself, the slow and obvious way: the oracle of the capsules.

Every part (a finger, the palm) is cut out of the mesh and closed; vertices of fingers are asked
for their winding number in the other parts, and for their distance to that part's surface.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS
from hand_mesh_ros.sources.hand_look import split_faces


def mesh_depth_m(model, vertices_m):
    """m, the deepest vertex of one finger inside another finger, or of a fingertip in the palm."""
    owner = model.skinning_weights.argmax(1)
    parts = {finger: np.isin(owner, FINGER_JOINTS[finger]) for finger in FINGERS}
    parts["palm"] = np.isin(owner, [0, FINGER_JOINTS["thumb"][0]])
    deepest = 0.0
    for name, part in parts.items():
        faces = model.faces[part[model.faces].all(1)]
        points, caps = closed(vertices_m, faces)
        surface = dense(points, faces)
        for finger in FINGERS:
            if finger == name:
                continue
            # Beside the webs and creases all parts touch: the outer two bones are asked, or one.
            joints = FINGER_JOINTS[finger][2 if name == "palm" else 1 :]
            asked = vertices_m[np.isin(owner, joints)]
            inside = asked[winding_number(asked, points, np.concatenate([faces, caps])) > 0.5]
            if len(inside):
                apart = np.linalg.norm(inside[:, None] - surface, axis=2).min(1)
                deepest = max(deepest, float(apart.max()))
    return deepest


def closed(vertices, faces):
    """Vertices with a new one in the middle of each hole, and the faces that close the holes."""
    directed = {(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)}
    onward = {}
    for a, b in directed:
        if (b, a) not in directed:
            onward.setdefault(a, []).append(b)
    points, caps = list(vertices), []
    while onward:
        loop = [next(iter(onward))]
        while loop[-1] in onward:
            a = loop[-1]
            loop.append(onward[a].pop())
            if not onward[a]:
                del onward[a]
        caps += [(b, a, len(points)) for a, b in pairwise(loop)]
        points.append(vertices[loop[:-1]].mean(0))
    return np.array(points), np.array(caps, int).reshape(-1, 3)


def dense(points, faces):
    """Points on a surface: corners and twice the middles of edges."""
    for _ in range(2):
        edges, faces = split_faces(faces, len(points))
        points = np.concatenate([points, points[edges].mean(1)])
    return points[np.unique(faces)]


def winding_number(asked, points, faces):
    """(Q,) sum of the signed solid angles of all faces over 4 pi (van Oosterom, Strackee 1983)."""
    a, b, c = (points[faces[:, k]] - asked[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=2) for v in (a, b, c))
    volume = (a * np.cross(b, c)).sum(2)
    rest = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return 2.0 * np.arctan2(volume, rest).sum(1) / (4.0 * np.pi)
