"""One mesh as the bytes of a PLY, OBJ or GLB file; vertices in the camera's frame, metres."""

from __future__ import annotations

import json
import struct

import numpy as np

_FLOAT, _UINT32, _UINT8 = 5126, 5125, 5121  # glTF component types
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963


def ply(vertices_m: np.ndarray, faces: np.ndarray, colors: np.ndarray | None = None) -> bytes:
    """Binary little-endian PLY.

    Args:
        vertices_m: (V, 3)
        faces: (F, 3) vertex indices.
        colors: (V, 3) uint8 RGB, or None.
    """
    fields = [("xyz", "<f4", (3,))]
    header = ["ply", "format binary_little_endian 1.0", "comment metres, camera frame"]
    header += [f"element vertex {len(vertices_m)}", *(f"property float {a}" for a in "xyz")]
    if colors is not None:
        fields.append(("rgb", "u1", (3,)))
        header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    vertex_rows = np.zeros(len(vertices_m), fields)
    vertex_rows["xyz"] = vertices_m
    if colors is not None:
        vertex_rows["rgb"] = colors
    face_rows = np.zeros(len(faces), [("count", "u1"), ("indices", "<i4", (3,))])
    face_rows["count"], face_rows["indices"] = 3, faces
    return "\n".join([*header, ""]).encode() + vertex_rows.tobytes() + face_rows.tobytes()


def obj(vertices_m: np.ndarray, faces: np.ndarray, colors: np.ndarray | None = None) -> bytes:
    """Wavefront OBJ; colours, 0 to 1, follow the coordinates, as most viewers read them."""
    rows = np.asarray(vertices_m, float)
    if colors is not None:
        rows = np.hstack([rows, colors / 255.0])  # (V, 6)
    lines = ["# metres, camera frame"]
    lines += ["v " + " ".join(f"{number:.6f}" for number in row) for row in rows.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (np.asarray(faces) + 1).tolist()]
    return "\n".join([*lines, ""]).encode()


def glb(vertices_m: np.ndarray, faces: np.ndarray, colors: np.ndarray | None = None) -> bytes:
    """Binary glTF 2.0; its node turns the camera's axes (y down) to glTF's (y up)."""
    parts: list[bytes] = []
    views: list[dict[str, int]] = []
    accessors: list[dict[str, object]] = []

    def add(data: np.ndarray, component: int, kind: str, target: int, **more: object) -> int:
        raw = data.tobytes()
        offset = sum(map(len, parts))
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(raw), "target": target})
        parts.append(raw + bytes(-len(raw) % 4))
        count = len(data) if kind != "SCALAR" else data.size
        accessors.append(
            {
                "bufferView": len(views) - 1,
                "componentType": component,
                "count": count,
                "type": kind,
                **more,
            }
        )
        return len(accessors) - 1

    positions = np.ascontiguousarray(vertices_m, "<f4")
    # The format asks for the exact range of the positions.
    extent = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    attributes = {"POSITION": add(positions, _FLOAT, "VEC3", _ARRAY_BUFFER, **extent)}
    if colors is not None:
        # Four bytes a vertex, as attributes have to be aligned; and light, not sRGB.
        linear = (colors / 255.0) ** 2.2
        rgba = np.full((len(colors), 4), 255, np.uint8)
        rgba[:, :3] = np.rint(255.0 * linear)
        attributes["COLOR_0"] = add(rgba, _UINT8, "VEC4", _ARRAY_BUFFER, normalized=True)
    indices = add(np.ascontiguousarray(faces, "<u4"), _UINT32, "SCALAR", _ELEMENT_BUFFER)
    document = {
        "asset": {"version": "2.0", "generator": "hand_mesh_ros"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": [1.0, 0.0, 0.0, 0.0]}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices}]}],
        "buffers": [{"byteLength": sum(map(len, parts))}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(parts)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


FORMATS = {"ply": ply, "glb": glb, "obj": obj}
