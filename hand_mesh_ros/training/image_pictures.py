"""Crops with landmarks and mesh drawn into them, for people who watch a training."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hand_mesh_ros.conventions import BONES

_TRUE, _FOUND = (60, 230, 60), (250, 70, 60)
_CELL_PX = 192
_FINE = 16
"""OpenCV draws at sixteenths of a pixel."""
_SKIN = np.array([235.0, 195.0, 170.0])


@dataclass(frozen=True, eq=False)
class PicturedHand:
    """One crop and what was found in it."""

    image: np.ndarray
    """(S, S, 3) float, 0 to 1."""
    true_uv: np.ndarray
    """(21, 2) crop units."""
    found_uv: np.ndarray
    """(21, 2)"""
    vertices_m: np.ndarray
    """(V, 3) found mesh, in the axes of the crop's camera, at the true wrist."""
    K_crop: np.ndarray
    """(3, 3) px."""


def draw_hands(hands: list[PicturedHand], faces: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: above, crops with true (green) and found (red) landmarks; below, meshes."""
    columns = [np.concatenate([_landmarks(hand), _mesh(hand, faces)]) for hand in hands]
    return np.concatenate(columns, axis=1)


def _enlarged(hand: PicturedHand) -> np.ndarray:
    image = np.rint(255.0 * np.clip(hand.image, 0.0, 1.0)).astype(np.uint8)
    return cv2.resize(image, (_CELL_PX, _CELL_PX), interpolation=cv2.INTER_CUBIC)


def _place(uv: np.ndarray) -> np.ndarray:
    """(N, 2) int: fixed point pixels of the cell, as OpenCV counts them: from a pixel's middle."""
    bounded = np.clip(np.nan_to_num(uv), -2.0, 3.0)
    return np.rint((bounded * _CELL_PX - 0.5) * _FINE).astype(int)


def _landmarks(hand: PicturedHand) -> np.ndarray:
    cell = _enlarged(hand)
    for uv, color in ((hand.true_uv, _TRUE), (hand.found_uv, _FOUND)):
        place = _place(uv)
        for a, b in BONES:
            cv2.line(cell, place[a].tolist(), place[b].tolist(), color, 1, cv2.LINE_AA, 4)
        for point in place.tolist():
            cv2.circle(cell, point, 2 * _FINE, color, -1, cv2.LINE_AA, 4)
    return cell


def _mesh(hand: PicturedHand, faces: np.ndarray) -> np.ndarray:
    """The mesh over the darkened crop, far faces first."""
    cell = _enlarged(hand) // 2
    size = hand.image.shape[0]
    points = hand.vertices_m @ hand.K_crop.T
    if not (points[:, 2] > 0.0).all():  # early in training a mesh may reach behind the camera
        return cell
    place = _place((points[:, :2] / points[:, 2:] + 0.5) / size)
    corners = hand.vertices_m[faces]  # (F, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = corners.mean(1)
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(middle, axis=1)
    facing = -(normal * middle).sum(1) / np.maximum(length, 1e-12)
    for face in np.argsort(-middle[:, 2]):
        if facing[face] > 0.0:
            color = ((0.3 + 0.7 * facing[face]) * _SKIN).tolist()
            cv2.fillConvexPoly(cell, place[faces[face]], color, cv2.LINE_AA, 4)
    return cell
