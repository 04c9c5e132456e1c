"""Rviz markers to bytes, fast: a mesh is 4,600 Point objects to a generic encoder.

That takes many milliseconds. But most bytes of an array of markers are the same in every frame, so
the bytes of arrays that differ only in numbers and letters are made once (`marker_array`, the slow
and obvious way), and what differs is written over.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hand_mesh_ros.ros.messages import header
from hand_mesh_ros.ros.typestore import Typestore

MARKER_ARRAY = "visualization_msgs/msg/MarkerArray"
LIFETIME_S = 0.5
"""A node that dies leaves no frozen hand behind."""
_MOST_TEMPLATES = 32
_NO_COLORS = np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class DrawnMarker:
    """One marker, in the camera frame."""

    ns: str
    marker_id: int
    kind: str
    """Name of a constant of visualization_msgs/Marker, e.g. "LINE_LIST"."""
    scale: tuple[float, float, float]
    points_m: np.ndarray
    """(N, 3); of a marker with text one point, where it stands."""
    rgba: tuple[float, float, float, float]
    point_rgba: np.ndarray = field(default_factory=lambda: _NO_COLORS)
    """(N, 4) float32 0 to 1, or (0, 4): all points have `rgba`."""
    text: str = ""

    @property
    def form(self) -> tuple[object, ...]:
        """What decides how many bytes it has, and what is not written over."""
        counts = len(self.points_m), len(self.point_rgba), len(self.text.encode())
        return self.ns, self.kind, self.scale, *counts


class MarkerEncoder:
    """Encodes arrays of markers, by templates that it keeps."""

    def __init__(self, store: Typestore) -> None:
        self._store = store
        self._templates: dict[tuple[object, ...], _Template] = {}

    def encode(self, markers: Sequence[DrawnMarker], stamp_ns: int, frame_id: str) -> bytearray:
        """CDR of a MarkerArray."""
        key = (frame_id, *(marker.form for marker in markers))
        if key not in self._templates:
            if len(self._templates) >= _MOST_TEMPLATES:  # cameras that rename their frame for ever
                self._templates.clear()
            self._templates[key] = _Template(self._store, markers, frame_id)
        return self._templates[key].fill(markers, stamp_ns)


def marker_array(
    store: Typestore, markers: Sequence[DrawnMarker], stamp_ns: int, frame_id: str
) -> Any:
    """visualization_msgs/MarkerArray as objects, slowly: what `MarkerEncoder.encode` must equal."""
    point, rgba = store.type("geometry_msgs/msg/Point"), store.type("std_msgs/msg/ColorRGBA")
    made = []
    for drawn in markers:
        marker = _marker(store, stamp_ns, frame_id, drawn.ns, drawn.marker_id)
        marker.type = getattr(marker, drawn.kind)
        marker.scale = store.type("geometry_msgs/msg/Vector3")(*drawn.scale)
        marker.color = rgba(*drawn.rgba)
        marker.colors = [rgba(*color) for color in drawn.point_rgba.tolist()]
        points = [point(*xyz) for xyz in np.asarray(drawn.points_m, float).tolist()]
        if drawn.text:
            marker.text, marker.pose.position = drawn.text, points[0]
        else:
            marker.points = points
        made.append(marker)
    return store.type(MARKER_ARRAY)(markers=made)


def deletion(
    store: Typestore, names: Sequence[tuple[str, int]], stamp_ns: int, frame_id: str
) -> Any:
    """visualization_msgs/MarkerArray that removes markers by their namespaces and ids."""
    made = [_marker(store, stamp_ns, frame_id, ns, marker_id) for ns, marker_id in names]
    for marker in made:
        marker.action = marker.DELETE
    return store.type(MARKER_ARRAY)(markers=made)


class _Template:
    """The bytes of one MarkerArray, and where in them is what changes."""

    # Values that nothing else in a marker has; they are looked for in the encoded bytes.
    _PROBE_STAMP_NS = 0x13572468 * 1_000_000_000 + 0x02468ACE
    _PROBE_ID = 0x5B7D0000
    _PROBE_POINT = (-1.2345e67, 2.3456e-78, -3.4567e89)
    _PROBE_RGBA = (-1.25e17, 2.5e-19, -3.75e21, 5.5e-23)
    _PROBE_LETTER = "\x07"

    def __init__(self, store: Typestore, markers: Sequence[DrawnMarker], frame_id: str) -> None:
        probes = [
            replace(
                marker,
                marker_id=self._PROBE_ID + i,
                points_m=np.tile(self._PROBE_POINT, (len(marker.points_m), 1)),
                rgba=self._PROBE_RGBA,
                text=self._PROBE_LETTER * len(marker.text.encode()),
            )
            for i, marker in enumerate(markers)
        ]
        array = marker_array(store, probes, self._PROBE_STAMP_NS, frame_id)
        self._bytes = store.encode(array)
        self._places: list[_Places] = []
        at = 4
        for probe in probes:
            stamp = self._find(_stamp_bytes(self._PROBE_STAMP_NS), at)
            at = self._find(struct.pack("<i", probe.marker_id), stamp)
            points = self._find(struct.pack("<3d", *self._PROBE_POINT), at)
            self._places.append(
                _Places(
                    stamp=stamp,
                    marker_id=at,
                    rgba=self._find(struct.pack("<4f", *self._PROBE_RGBA), at),
                    points=points,
                    point_rgba=points + 24 * len(probe.points_m) + 4,  # after their number
                    text=self._find(probe.text.encode(), points) if probe.text else 0,
                )
            )

    def fill(self, markers: Sequence[DrawnMarker], stamp_ns: int) -> bytearray:
        """The template's bytes with these markers' numbers and letters."""
        out = bytearray(self._bytes)
        stamp = _stamp_bytes(stamp_ns)
        for marker, at in zip(markers, self._places, strict=True):
            out[at.stamp : at.stamp + 8] = stamp
            struct.pack_into("<i", out, at.marker_id, marker.marker_id)
            struct.pack_into("<4f", out, at.rgba, *marker.rgba)
            points_m, colors = marker.points_m, marker.point_rgba
            np.frombuffer(out, "<f8", points_m.size, at.points)[:] = points_m.reshape(-1)
            if colors.size:
                np.frombuffer(out, "<f4", colors.size, at.point_rgba)[:] = colors.reshape(-1)
            if marker.text:
                text = marker.text.encode()
                out[at.text : at.text + len(text)] = text
        return out

    def _find(self, probe: bytes, start: int) -> int:
        at = self._bytes.find(probe, start)
        if at < 0:
            raise RuntimeError(
                "the encoded marker does not hold the probe; is it little-endian CDR?"
            )
        return at


@dataclass(frozen=True)
class _Places:
    """Offsets of one marker's changing parts in the bytes."""

    stamp: int
    marker_id: int
    rgba: int
    points: int
    point_rgba: int
    text: int


def _marker(store: Typestore, stamp_ns: int, frame_id: str, ns: str, marker_id: int) -> Any:
    """visualization_msgs/Marker without points, at the origin of its frame."""
    t = store.type
    marker = t("visualization_msgs/msg/Marker")
    compressed_image = t("sensor_msgs/msg/CompressedImage")
    no_bytes = np.zeros(0, np.uint8)
    return marker(
        header=header(store, stamp_ns, frame_id),
        ns=ns,
        id=marker_id,
        type=marker.CUBE,
        action=marker.ADD,
        pose=t("geometry_msgs/msg/Pose")(
            position=t("geometry_msgs/msg/Point")(x=0.0, y=0.0, z=0.0),
            orientation=t("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=1.0),
        ),
        scale=t("geometry_msgs/msg/Vector3")(x=1.0, y=1.0, z=1.0),
        color=t("std_msgs/msg/ColorRGBA")(r=0.0, g=0.0, b=0.0, a=1.0),
        lifetime=t("builtin_interfaces/msg/Duration")(sec=0, nanosec=int(LIFETIME_S * 1e9)),
        frame_locked=False,
        points=[],
        colors=[],
        texture_resource="",
        texture=compressed_image(header=header(store, 0, ""), format="", data=no_bytes),
        uv_coordinates=[],
        text="",
        mesh_resource="",
        mesh_file=t("visualization_msgs/msg/MeshFile")(filename="", data=no_bytes),
        mesh_use_embedded_materials=False,
    )


def _stamp_bytes(stamp_ns: int) -> bytes:
    return struct.pack("<iI", *divmod(stamp_ns, 1_000_000_000))
