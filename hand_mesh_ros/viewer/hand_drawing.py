"""One hand in the 3D page: mesh, skeleton, root and grasp frame, trail, name and distance."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hand_mesh_ros.conventions import BONES, KEYPOINT_NAMES
from hand_mesh_ros.grasp import T_camera_grasp
from hand_mesh_ros.ros.messages import quaternion_xyzw
from hand_mesh_ros.viewer.palette import KEYPOINT_RGB, SIDE_RGB, uncertainty_rgb
from hand_mesh_ros.viewer.snapshot import SeenHand

if TYPE_CHECKING:
    import viser

Colours = Literal["side", "uncertainty", "texture"]
TRAIL_NS = 2_000_000_000
_TRAIL_GAP_NS = 500_000_000
"""A longer pause, or a step back in time, begins a new trail."""
_BONES = np.array(BONES)
_KEYPOINT_RGB = np.array(KEYPOINT_RGB, np.uint8)
_LABEL_AT = KEYPOINT_NAMES.index("middle_tip")
_OPAQUE = 0.99
_NOTHING = np.zeros((1, 2, 3), np.float32)


@dataclass(frozen=True)
class Look:
    """How hands are drawn."""

    opacity: float = 1.0
    colours: Colours = "side"
    mesh: bool = True
    skeleton: bool = True
    frames: bool = True
    trail: bool = True


class HandDrawing:
    """Owns the scene nodes of one hand below `name`; hidden until `show`.

    What stays as it is is not written again: viser converts and compares whatever it is given,
    and that is most of what a page costs.
    """

    def __init__(self, scene: viser.SceneApi, name: str, hand: SeenHand) -> None:
        self._scene, self._name = scene, name
        self._track_id = hand.track_id
        self._trail: deque[tuple[int, np.ndarray]] = deque()
        color = SIDE_RGB[hand.side]
        self._base = scene.add_frame(name, show_axes=False, visible=False)
        self._mesh: Any = None
        self._mesh_model = ""
        self._paint: Any = None
        self._bones = scene.add_line_segments(
            f"{name}/bones", np.zeros((len(_BONES), 2, 3)), (0, 0, 0), thickness=0.003
        )
        self._bones.colors = np.repeat(_KEYPOINT_RGB[_BONES[:, 1], None], 2, axis=1)
        self._keypoints = scene.add_point_cloud(
            f"{name}/keypoints",
            np.zeros((21, 3), np.float32),
            _KEYPOINT_RGB,
            point_size=0.007,
            point_shape="circle",
            precision="float32",
        )
        self._keypoint_rgb = _KEYPOINT_RGB
        self._root = scene.add_frame(f"{name}/root", axes_length=0.05, axes_radius=0.0015)
        self._grasp = scene.add_frame(f"{name}/grasp", axes_length=0.05, axes_radius=0.0015)
        self._label = scene.add_label(f"{name}/label", "")
        self._line = scene.add_line_segments(f"{name}/trail", _NOTHING, color, thickness=0.002)

    def hide(self) -> None:
        """Show nothing until the next `show`."""
        _show(self._base, False)
        self._trail.clear()

    def show(
        self, hand: SeenHand, faces: np.ndarray | None, stamp_ns: int, look: Look, *, named: bool
    ) -> None:
        """Draw a hand.

        Args:
            hand: of the side that this was made for.
            faces: (F, 3) of its mesh; None: unknown, so there is no mesh.
            stamp_ns: of its image.
            look: how.
            named: whether its side and distance are written beside it.
        """
        origin_m = hand.root_position_m
        self._base.position = origin_m
        _show(self._base, True)
        self._show_mesh(hand, faces, look)
        self._show_skeleton(hand, look)
        self._root.wxyz = hand.root_wxyz
        _show(self._root, look.frames)
        T = T_camera_grasp(hand.keypoints_m)
        _show(self._grasp, look.frames and T is not None)
        if T is not None:
            x, y, z, w = quaternion_xyzw(T[:3, :3])
            self._grasp.wxyz, self._grasp.position = (w, x, y, z), T[:3, 3] - origin_m
        self._label.text = f"{hand.side.name.lower()} {hand.distance_m:.2f} m"
        self._label.position = hand.keypoints_m[_LABEL_AT] - origin_m + [0.0, -0.03, 0.0]
        _show(self._label, named)
        self._show_trail(hand, stamp_ns, look)

    def _show_mesh(self, hand: SeenHand, faces: np.ndarray | None, look: Look) -> None:
        vertices = (hand.vertices_m - hand.root_position_m).astype(np.float32)
        rgb = _vertex_rgb(hand, look.colours)
        if self._mesh is None and faces is not None:
            self._mesh = self._scene.add_mesh_simple(
                f"{self._name}/mesh", vertices, faces, color=SIDE_RGB[hand.side]
            )
        if self._mesh is not None:
            _show(self._mesh, look.mesh and faces is not None)
            if faces is not None:
                if hand.hand_model != self._mesh_model:
                    self._mesh.faces, self._mesh_model = faces, hand.hand_model
                self._mesh.vertices = vertices
            opacity = None if look.opacity > _OPAQUE else look.opacity
            if self._mesh.opacity != opacity:
                self._mesh.opacity = opacity
        self._show_paint(vertices, faces, rgb if look.mesh else None)

    def _show_paint(
        self, vertices: np.ndarray, faces: np.ndarray | None, rgb: np.ndarray | None
    ) -> None:
        if faces is None or rgb is None:
            if self._paint is not None:
                _show(self._paint, False)
            return
        points, colors = painted_points(vertices, faces, rgb)
        if self._paint is None:
            self._paint = self._scene.add_point_cloud(
                f"{self._name}/paint",
                points,
                colors,
                point_size=0.005,
                point_shape="circle",
                precision="float32",
                point_shading="flat",
            )
        self._paint.points, self._paint.colors = points, colors
        _show(self._paint, True)

    def _show_skeleton(self, hand: SeenHand, look: Look) -> None:
        points = (hand.keypoints_m - hand.root_position_m).astype(np.float32)
        self._bones.points, self._keypoints.points = points[_BONES], points
        stddev_m = hand.keypoint_stddev_m if look.colours == "uncertainty" else None
        rgb = _KEYPOINT_RGB if stddev_m is None else uncertainty_rgb(stddev_m)
        if rgb is not self._keypoint_rgb:
            self._keypoints.colors = self._keypoint_rgb = rgb
        _show(self._bones, look.skeleton)
        _show(self._keypoints, look.skeleton)

    def _show_trail(self, hand: SeenHand, stamp_ns: int, look: Look) -> None:
        trail = self._trail
        if trail and not 0 <= stamp_ns - trail[-1][0] <= _TRAIL_GAP_NS:
            trail.clear()
        if hand.track_id != self._track_id:
            trail.clear()
            self._track_id = hand.track_id
        if not trail or stamp_ns > trail[-1][0]:
            trail.append((stamp_ns, hand.root_position_m))
        while trail[0][0] < stamp_ns - TRAIL_NS:
            trail.popleft()
        visible = look.trail and len(trail) > 1
        _show(self._line, visible)
        if visible:
            points = np.array([p for _, p in trail]) - hand.root_position_m
            segments = np.stack([points[:-1], points[1:]], axis=1).astype(np.float32)
            self._line.points = segments
            if self._line.colors.shape != segments.shape:
                color = np.array(SIDE_RGB[hand.side], np.uint8)
                self._line.colors = np.broadcast_to(color, segments.shape)


def _show(node: Any, visible: bool) -> None:
    if node.visible != visible:
        node.visible = visible


def painted_points(
    vertices_m: np.ndarray, faces: np.ndarray, rgb: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points that cover a mesh with a colour a vertex: the vertices and the faces' middles.

    viser's meshes have one colour each, and a textured one would have to be sent whole, as a
    file, for every image.

    Returns:
        (V + F, 3) float32 m, and (V + F, 3) uint8.
    """
    points = np.concatenate([vertices_m, vertices_m[faces].mean(axis=1)])
    colors = np.concatenate([rgb, rgb[faces].mean(axis=1)])
    return points.astype(np.float32), colors.astype(np.uint8)


def _vertex_rgb(hand: SeenHand, colours: Colours) -> np.ndarray | None:
    """(V, 3) uint8, or None where the hand has no such colours."""
    if colours == "uncertainty" and hand.vertex_stddev_m is not None:
        return uncertainty_rgb(hand.vertex_stddev_m)
    return hand.vertex_rgb if colours == "texture" else None
