"""What a view shows of one image: hands as arrays, taken from a HandMeshArray message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.ros.typestore import Typestore

HAND_MESH_ARRAY = "hand_mesh_ros/msg/HandMeshArray"
HAND_TOPOLOGY = "hand_mesh_ros/msg/HandTopology"
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SeenHand:
    """One hand of a message; everything in the camera frame."""

    track_id: int
    side: Side
    root_position_m: np.ndarray
    """(3,) float64, wrist."""
    root_wxyz: np.ndarray
    """(4,) float64, unit quaternion of the published root frame."""
    root_stddev_m: float
    """Of the distance: deviation of the wrist along its line of sight."""
    root_source: RootSource
    keypoints_m: np.ndarray
    """(21, 3) float64."""
    keypoint_stddev_m: np.ndarray | None
    """(21,) float64; None where not estimated."""
    vertices_m: np.ndarray
    """(V, 3) float32."""
    vertex_stddev_m: np.ndarray | None
    """(V,) float64; None where not estimated."""
    vertex_rgb: np.ndarray | None
    """(V, 3) uint8; None where not estimated."""
    grasp_aperture_m: float
    model: str
    hand_model: str

    @property
    def distance_m(self) -> float:
        """Camera to wrist."""
        return float(np.linalg.norm(self.root_position_m))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All hands of one image."""

    stamp_ns: int
    hands: tuple[SeenHand, ...]
    latency_s: float
    """The node's own, image in to hands out; 0 in a recording."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Faces of the meshes of one hand model."""

    hand_model: str
    right_faces: np.ndarray
    """(F, 3) uint32, counter-clockwise seen from outside."""

    def faces(self, hand: SeenHand) -> np.ndarray | None:
        """(F, 3) faces of that hand; None where it is made of another hand model."""
        fits = hand.hand_model == self.hand_model and len(hand.vertices_m)
        if not fits or int(self.right_faces.max(initial=0)) >= len(hand.vertices_m):
            return None
        return self.right_faces if hand.side is Side.RIGHT else self.right_faces[:, ::-1]


def snapshot_from(array: Any) -> Snapshot:
    """Snapshot of a decoded HandMeshArray."""
    stamp, latency = array.header.stamp, array.latency
    return Snapshot(
        stamp_ns=stamp.sec * _NS_PER_S + stamp.nanosec,
        hands=tuple(_hand(message) for message in array.hands),
        latency_s=latency.sec + 1e-9 * latency.nanosec,
    )


def decode_topology(store: Typestore, cdr: bytes | memoryview) -> Topology:
    """Topology of a HandTopology's bytes; raises TypestoreError."""
    message = store.decode(cdr, HAND_TOPOLOGY)
    return Topology(message.hand_model, np.asarray(message.faces, np.uint32).reshape(-1, 3))


def _hand(message: Any) -> SeenHand:
    pose = message.root.pose
    position_m = np.array([pose.position.x, pose.position.y, pose.position.z])
    q = pose.orientation
    covariance = np.asarray(message.root.covariance, np.float64).reshape(6, 6)[:3, :3]
    away = position_m / max(float(np.linalg.norm(position_m)), 1e-9)
    keypoint_stddev_m = np.asarray(message.keypoint_stddev, np.float64)
    num_vertices = len(message.vertices) // 3
    vertex_stddev_m = np.asarray(message.vertex_stddev, np.float64)
    vertex_rgb = np.asarray(message.vertex_colors, np.uint8)
    return SeenHand(
        track_id=int(message.track_id),
        side=Side(message.side),
        root_position_m=position_m,
        root_wxyz=np.array([q.w, q.x, q.y, q.z]),
        root_stddev_m=float(np.sqrt(max(away @ covariance @ away, 0.0))),
        root_source=RootSource(message.root_source),
        keypoints_m=np.asarray(message.keypoints, np.float64).reshape(21, 3),
        keypoint_stddev_m=keypoint_stddev_m if keypoint_stddev_m.any() else None,
        vertices_m=np.asarray(message.vertices, np.float32).reshape(-1, 3),
        vertex_stddev_m=vertex_stddev_m if vertex_stddev_m.size == num_vertices > 0 else None,
        vertex_rgb=vertex_rgb.reshape(-1, 3) if vertex_rgb.size == 3 * num_vertices > 0 else None,
        grasp_aperture_m=float(message.grasp_aperture),
        model=message.model,
        hand_model=message.hand_model,
    )
