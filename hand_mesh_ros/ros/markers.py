"""Hands as rviz markers: mesh, bones, keypoints and a label of each track.

A mesh marker is a list of 4,600 Point objects to a generic encoder: many milliseconds. But all its
bytes except stamp, id, points and the label's place and digits are the same in every frame, so the
bytes of such an array are made once (`marker_array`, the slow and obvious way), and those written
over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hand_mesh_ros.conventions import BONES, Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.ros.messages import faces_of, header
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.types import Hand
from hand_mesh_ros.viewer.palette import KEYPOINT_RGB, SIDE_RGB

MARKER_ARRAY = "visualization_msgs/msg/MarkerArray"
LIFETIME_S = 0.5
"""A node that dies leaves no frozen hand behind."""

_LISTS = ("hand_mesh", "hand_bones", "hand_keypoints")
_LABEL = "hand_label"
_NAMESPACES = (*_LISTS, _LABEL)
_BONES = np.array(BONES)
_BONE_WIDTH_M, _KEYPOINT_SIZE_M = 0.004, 0.009
_LABEL_SIZE_M, _LABEL_ABOVE_M = 0.025, 0.03
_FARTHEST_M = 9.99
"""Every distance is written with as many characters, so that one template serves all."""


@dataclass(frozen=True)
class HandPoints:
    """What the four markers of a hand are drawn from."""

    track_id: int
    side: Side
    points_m: tuple[np.ndarray, np.ndarray, np.ndarray]
    """(3 F, 3) mesh corners, (40, 3) bone ends, (21, 3) keypoints; camera frame."""
    label_m: np.ndarray
    """(3,) where the label stands; camera frame."""
    distance_m: float
    """Of the wrist from the camera."""

    @property
    def label(self) -> str:
        """Side and distance, e.g. "left 0.52 m"."""
        return f"{self.side.name.lower()} {min(self.distance_m, _FARTHEST_M):.2f} m"


class HandMarkers:
    """Encodes markers of hands, by templates that it keeps."""

    def __init__(self, store: Typestore, model: HandModel) -> None:
        self._store = store
        self._corners = {side: faces_of(model, side).reshape(-1) for side in Side}
        self._templates: dict[tuple[str, tuple[Side, ...]], _Template] = {}

    def encode(self, hands: Sequence[Hand], stamp_ns: int, frame_id: str) -> bytearray:
        """CDR of a MarkerArray that draws these hands."""
        hands = sorted(hands, key=lambda h: h.side)  # fewer templates
        drawn = [self.points(hand) for hand in hands]
        key = (frame_id, tuple(h.side for h in hands))
        if key not in self._templates:
            if len(self._templates) >= 16:  # cameras that rename their frame for ever
                self._templates.clear()
            self._templates[key] = _Template(self._store, drawn, frame_id)
        return self._templates[key].fill(drawn, stamp_ns)

    def encode_deletion(self, track_ids: Iterable[int], stamp_ns: int, frame_id: str) -> bytes:
        """CDR of a MarkerArray that removes what was drawn of these tracks."""
        markers = [
            _marker(self._store, stamp_ns, frame_id, ns, track_id, action="DELETE")
            for track_id in track_ids
            for ns in _NAMESPACES
        ]
        array = self._store.type(MARKER_ARRAY)(markers=markers)
        return self._store.encode(array)

    def points(self, hand: Hand) -> HandPoints:
        """The points of a hand's markers."""
        mesh = hand.vertices_m[self._corners[hand.side]]
        bones = hand.keypoints_m[_BONES].reshape(-1, 3)
        highest = hand.keypoints_m[hand.keypoints_m[:, 1].argmin()]
        return HandPoints(
            hand.track_id,
            hand.side,
            (mesh, bones, hand.keypoints_m),
            label_m=highest - [0.0, _LABEL_ABOVE_M, 0.0],
            distance_m=float(np.linalg.norm(hand.T_camera_wrist[:3, 3])),
        )


def marker_array(
    store: Typestore, hands: Iterable[HandPoints], stamp_ns: int, frame_id: str
) -> Any:
    """visualization_msgs/MarkerArray as objects, slowly: what `HandMarkers.encode` must equal."""
    markers = []
    for hand in hands:
        mesh_m, bones_m, keypoints_m = hand.points_m
        looks = (
            ("TRIANGLE_LIST", (1.0, 1.0, 1.0), mesh_m, ()),
            ("LINE_LIST", (_BONE_WIDTH_M, 0.0, 0.0), bones_m, _BONES[:, 1].repeat(2)),
            (
                "SPHERE_LIST",
                (_KEYPOINT_SIZE_M, _KEYPOINT_SIZE_M, _KEYPOINT_SIZE_M),
                keypoints_m,
                range(21),
            ),
        )
        for ns, (kind, scale, points_m, keypoint_of_point) in zip(_LISTS, looks, strict=True):
            marker = _marker(store, stamp_ns, frame_id, ns, hand.track_id, kind=kind, scale=scale)
            # One colour for the mesh: rviz does not shade triangles that have their own.
            marker.color = _color(store, SIDE_RGB[hand.side])
            marker.colors = [_color(store, KEYPOINT_RGB[k]) for k in keypoint_of_point]
            point = store.type("geometry_msgs/msg/Point")
            marker.points = [point(x=x, y=y, z=z) for x, y, z in np.asarray(points_m).tolist()]
            markers.append(marker)
        scale = (0.0, 0.0, _LABEL_SIZE_M)
        label = _marker(
            store, stamp_ns, frame_id, _LABEL, hand.track_id, kind="TEXT_VIEW_FACING", scale=scale
        )
        label.pose.position = store.type("geometry_msgs/msg/Point")(*hand.label_m.tolist())
        label.color, label.text = _color(store, SIDE_RGB[hand.side]), hand.label
        markers.append(label)
    return store.type(MARKER_ARRAY)(markers=markers)


class _Template:
    """The bytes of one MarkerArray, and where in them is what changes."""

    # Values that nothing else in a marker has; they are looked for in the encoded bytes.
    _PROBE_STAMP_NS = 0x13572468 * 1_000_000_000 + 0x02468ACE
    _PROBE_ID = 0x5B7D0000
    _PROBE_POINT = (-1.2345e67, 2.3456e-78, -3.4567e89)
    _PROBE_DISTANCE_M = 8.76

    def __init__(self, store: Typestore, hands: Sequence[HandPoints], frame_id: str) -> None:
        probes = [
            HandPoints(
                self._PROBE_ID + i,
                hand.side,
                tuple(np.tile(self._PROBE_POINT, (len(p), 1)) for p in hand.points_m),  # type: ignore[arg-type]
                np.array(self._PROBE_POINT),
                self._PROBE_DISTANCE_M,
            )
            for i, hand in enumerate(hands)
        ]
        array = marker_array(store, probes, self._PROBE_STAMP_NS, frame_id)
        self._bytes = store.encode(array)
        self._stamp_at: list[int] = []
        self._id_at: list[list[int]] = []
        self._points_at: list[list[int]] = []
        self._text_at: list[int] = []
        at = 4
        for probe in probes:
            ids, points = [], []
            for points_m in (*probe.points_m, probe.label_m):
                at = self._find(_stamp_bytes(self._PROBE_STAMP_NS), at)
                self._stamp_at.append(at)
                at = self._find(struct.pack("<i", probe.track_id), at)
                ids.append(at)
                at = self._find(struct.pack("<3d", *self._PROBE_POINT), at)
                points.append(at)
                at += 8 * points_m.size
            self._id_at.append(ids)
            self._points_at.append(points)
            self._text_at.append(self._find(probe.label.encode(), at))

    def fill(self, hands: Sequence[HandPoints], stamp_ns: int) -> bytearray:
        """The template's bytes with these hands' numbers."""
        out = bytearray(self._bytes)
        stamp = _stamp_bytes(stamp_ns)
        for at in self._stamp_at:
            out[at : at + 8] = stamp
        places = zip(hands, self._id_at, self._points_at, self._text_at, strict=True)
        for hand, ids, points, text_at in places:
            for at in ids:
                struct.pack_into("<i", out, at, hand.track_id)
            for at, points_m in zip(points, (*hand.points_m, hand.label_m), strict=True):
                np.frombuffer(out, "<f8", points_m.size, at)[:] = points_m.reshape(-1)
            text = hand.label.encode()
            out[text_at : text_at + len(text)] = text
        return out

    def _find(self, probe: bytes, start: int) -> int:
        at = self._bytes.find(probe, start)
        if at < 0:
            raise RuntimeError(
                "the encoded marker does not hold the probe; is it little-endian CDR?"
            )
        return at


def _marker(
    store: Typestore,
    stamp_ns: int,
    frame_id: str,
    ns: str,
    marker_id: int,
    *,
    action: str = "ADD",
    kind: str = "CUBE",
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Any:
    """visualization_msgs/Marker without points, at the origin of its frame."""
    t = store.type
    marker = t("visualization_msgs/msg/Marker")
    compressed_image = t("sensor_msgs/msg/CompressedImage")
    no_bytes = np.zeros(0, np.uint8)
    return marker(
        header=header(store, stamp_ns, frame_id),
        ns=ns,
        id=marker_id,
        type=getattr(marker, kind),
        action=getattr(marker, action),
        pose=t("geometry_msgs/msg/Pose")(
            position=t("geometry_msgs/msg/Point")(x=0.0, y=0.0, z=0.0),
            orientation=t("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=1.0),
        ),
        scale=t("geometry_msgs/msg/Vector3")(x=scale[0], y=scale[1], z=scale[2]),
        color=_color(store, (0, 0, 0)),
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


def _color(store: Typestore, rgb: tuple[int, int, int]) -> Any:
    r, g, b = (c / 255.0 for c in rgb)
    return store.type("std_msgs/msg/ColorRGBA")(r=r, g=g, b=b, a=1.0)


def _stamp_bytes(stamp_ns: int) -> bytes:
    return struct.pack("<iI", *divmod(stamp_ns, 1_000_000_000))
