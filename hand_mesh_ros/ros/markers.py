"""What a hand looks like in rviz: mesh, bones, keypoints, a label, and what else it may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from hand_mesh_ros.conventions import BONES, Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.ros.marker_encoder import DrawnMarker, MarkerEncoder, deletion
from hand_mesh_ros.ros.messages import faces_of
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.types import Hand
from hand_mesh_ros.viewer.palette import KEYPOINT_RGB, SIDE_RGB, uncertainty_rgb

MarkerColors = Literal["side", "uncertainty", "texture"]

_OF_A_HAND = ("hand_mesh", "hand_bones", "hand_keypoints", "hand_label")
_HYPOTHESES = "hand_hypotheses"
NAMESPACES = (*_OF_A_HAND, _HYPOTHESES)
"""Of all markers there are."""
_IDS_A_TRACK = 64
"""Hypotheses are numbered within their track; no more than so many are drawn."""
_BONES = np.array(BONES)
_BONE_WIDTH_M, _KEYPOINT_SIZE_M = 0.004, 0.009
_LABEL_SIZE_M, _LABEL_ABOVE_M = 0.025, 0.03
_FARTHEST_M = 9.99
"""Every distance is written with as many characters, so that few templates serve all."""
_FAINTEST, _MOST_SOLID = 0.08, 0.6
"""Alpha of hypotheses, by their probability."""


def _rgba(rgb: np.ndarray | Sequence[tuple[int, int, int]]) -> np.ndarray:
    """(N, 4) float32 of (N, 3) of 0 to 255."""
    colors = np.asarray(rgb, np.float32) / np.float32(255.0)
    return np.concatenate([colors, np.ones((len(colors), 1), np.float32)], axis=1)


_KEYPOINT_RGBA = _rgba(KEYPOINT_RGB)
_BONE_RGBA = _KEYPOINT_RGBA[_BONES[:, 1].repeat(2)]


class HandMarkers:
    """Draws hands and hypotheses as MarkerArrays in CDR."""

    def __init__(self, store: Typestore, model: HandModel) -> None:
        self._store = store
        self._encoder = MarkerEncoder(store)
        self._corners = {side: faces_of(model, side).reshape(-1) for side in Side}

    def encode(
        self,
        hands: Sequence[Hand],
        stamp_ns: int,
        frame_id: str,
        *,
        colors: MarkerColors = "side",
        hypotheses: Sequence[Hand] = (),
    ) -> bytearray:
        """CDR of a MarkerArray.

        Args:
            hands: to draw.
            stamp_ns: of their image.
            frame_id: of the camera.
            colors: of meshes; a hand that has no deviations or colours has its side's.
            hypotheses: further hands of the same tracks, the likelier the more solid.
        """
        return self._encoder.encode(
            self.drawn(hands, colors=colors, hypotheses=hypotheses), stamp_ns, frame_id
        )

    def drawn(
        self,
        hands: Sequence[Hand],
        *,
        colors: MarkerColors = "side",
        hypotheses: Sequence[Hand] = (),
    ) -> list[DrawnMarker]:
        """The markers; arguments as of `encode`."""
        markers = [marker for hand in hands for marker in self._of_hand(hand, colors)]
        number: dict[int, int] = {}
        for hand in hypotheses:
            k = number[hand.track_id] = number.get(hand.track_id, -1) + 1
            if k < _IDS_A_TRACK:
                markers.append(self._of_hypothesis(hand, k))
        return markers

    def encode_deletion(self, track_ids: Iterable[int], stamp_ns: int, frame_id: str) -> bytes:
        """CDR of a MarkerArray that removes what was drawn of these tracks.

        Hypotheses vanish with their lifetime: there may be another number of them in every frame.
        """
        names = [(ns, track_id) for track_id in track_ids for ns in _OF_A_HAND]
        return self._store.encode(deletion(self._store, names, stamp_ns, frame_id))

    def _of_hand(self, hand: Hand, colors: MarkerColors) -> list[DrawnMarker]:
        color = _side_rgba(hand.side)
        highest = hand.keypoints_m[hand.keypoints_m[:, 1].argmin()]
        distance_m = float(np.linalg.norm(hand.T_camera_wrist[:3, 3]))
        spheres = (_KEYPOINT_SIZE_M, _KEYPOINT_SIZE_M, _KEYPOINT_SIZE_M)
        corners = self._corners[hand.side]
        mesh, bones, keypoints, label = _OF_A_HAND
        return [
            # One colour for the mesh where it will do: rviz shades no triangles that have their
            # own.
            DrawnMarker(
                *(mesh, hand.track_id, "TRIANGLE_LIST", (1.0, 1.0, 1.0)),
                *(hand.vertices_m[corners], color),
                point_rgba=_mesh_rgba(hand, colors)[corners] if colors != "side" else _NOTHING,
            ),
            DrawnMarker(
                *(bones, hand.track_id, "LINE_LIST", (_BONE_WIDTH_M, 0.0, 0.0)),
                *(hand.keypoints_m[_BONES].reshape(-1, 3), color, _BONE_RGBA),
            ),
            DrawnMarker(
                *(keypoints, hand.track_id, "SPHERE_LIST", spheres),
                *(hand.keypoints_m, color, _KEYPOINT_RGBA),
            ),
            DrawnMarker(
                *(label, hand.track_id, "TEXT_VIEW_FACING", (0.0, 0.0, _LABEL_SIZE_M)),
                *((highest - [0.0, _LABEL_ABOVE_M, 0.0])[None], color),
                text=f"{hand.side.name.lower()} {min(distance_m, _FARTHEST_M):.2f} m",
            ),
        ]

    def _of_hypothesis(self, hand: Hand, number: int) -> DrawnMarker:
        alpha = _FAINTEST + (_MOST_SOLID - _FAINTEST) * min(hand.score, 1.0)
        return DrawnMarker(
            *(_HYPOTHESES, _IDS_A_TRACK * hand.track_id + number, "TRIANGLE_LIST"),
            *((1.0, 1.0, 1.0), hand.vertices_m[self._corners[hand.side]]),
            (*_side_rgba(hand.side)[:3], alpha),
        )


_NOTHING = np.zeros((0, 4), np.float32)


def _side_rgba(side: Side) -> tuple[float, float, float, float]:
    r, g, b = (c / 255.0 for c in SIDE_RGB[side])
    return r, g, b, 1.0


def _mesh_rgba(hand: Hand, colors: MarkerColors) -> np.ndarray:
    """(V, 4) float32."""
    if colors == "texture" and hand.vertex_colors is not None:
        return _rgba(hand.vertex_colors)
    if colors == "uncertainty" and hand.vertex_stddev_m is not None:
        return _rgba(uncertainty_rgb(hand.vertex_stddev_m))
    return _rgba([SIDE_RGB[hand.side]] * len(hand.vertices_m))
