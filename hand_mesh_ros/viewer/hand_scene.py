"""The 3D half of the page: all hands of a snapshot, and the camera with its image."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.viewer.hand_drawing import HandDrawing, Look
from hand_mesh_ros.viewer.snapshot import Snapshot, Topology

if TYPE_CHECKING:
    import viser

LOOKED_AT_M = (0.0, 0.0, 0.5)
"""Point in front of the camera that the page turns about; where `follow` keeps the hand."""
_EYE_M = (0.4, -0.3, -0.1)
_IMAGE_AT_M = 0.12


class HandScene:
    """Draws in the camera's frame (x right, y down, z forward); draw within `server.atomic()`."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._scene = server.scene
        self._scene.set_up_direction("-y")
        # Shadows fall on nothing here, and cost software renderers most of their time.
        self._scene.configure_default_lights(cast_shadow=False)
        server.initial_camera.position = _EYE_M
        server.initial_camera.look_at = LOOKED_AT_M
        server.initial_camera.fov = np.radians(45.0)
        # Everything hangs below this node, so that following a hand leaves the user's view alone.
        self._world = self._scene.add_frame("/camera", axes_length=0.05, axes_radius=0.0015)
        self._drawings: dict[tuple[Side, int], HandDrawing] = {}
        self._frustum: viser.CameraFrustumHandle | None = None
        self._camera: Camera | None = None

    def show_hands(
        self,
        snapshot: Snapshot,
        topology: Topology | None,
        look: Look,
        *,
        sides: Collection[Side],
        named: bool,
    ) -> None:
        """Draw the hands of those sides; hide all others."""
        shown: set[tuple[Side, int]] = set()
        for hand in sorted(snapshot.hands, key=lambda h: h.track_id):
            if hand.side not in sides:
                continue
            rank = sum(side is hand.side for side, _ in shown)
            slot = (hand.side, rank)
            shown.add(slot)
            if slot not in self._drawings:
                name = f"/camera/{hand.side.name.lower()}_{rank}"
                self._drawings[slot] = HandDrawing(self._scene, name, hand)
            faces = None if topology is None else topology.faces(hand)
            self._drawings[slot].show(hand, faces, snapshot.stamp_ns, look, named=named)
        for slot, drawing in self._drawings.items():
            if slot not in shown:
                drawing.hide()

    def hide_hands(self) -> None:
        """Show no hand."""
        for drawing in self._drawings.values():
            drawing.hide()

    def follow(self, point_m: np.ndarray | None) -> None:
        """Move the world so that a point of the camera frame stays in the middle; None: stop."""
        shift_m = np.zeros(3) if point_m is None else np.array(LOOKED_AT_M) - point_m
        self._world.position = shift_m

    def show_camera(self, camera: Camera | None, image: np.ndarray | None, visible: bool) -> None:
        """Draw the camera's pyramid, with an (H, W, 3) uint8 RGB image if there is one.

        The pyramid is that of a pinhole with its axis in the image's middle.
        """
        if camera is not None and camera is not self._camera:
            self._camera = camera
            fov = 2.0 * np.arctan(0.5 * camera.height / camera.K[1, 1])
            self._frustum = self._scene.add_camera_frustum(
                "/camera/frustum",
                fov=float(fov),
                aspect=camera.width / camera.height,
                color=(120, 120, 120),
                thickness=0.001,
                format="jpeg",
            )
            # The drawn size is that of a pyramid with unit volume; this puts the image at a depth.
            depth = self._frustum.compute_canonical_frustum_size()[2]
            self._frustum.scale = _IMAGE_AT_M / depth
        if self._frustum is not None:
            self._frustum.visible = visible
            if image is not None and visible:
                self._frustum.image = image
