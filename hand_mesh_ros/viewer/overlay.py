"""Hands drawn into the camera image that they were seen in: mesh, skeleton, side and distance."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import BONES, Side
from hand_mesh_ros.types import Hand
from hand_mesh_ros.viewer.palette import KEYPOINT_RGB, SIDE_RGB

_MESH_OPACITY = 0.6
_AMBIENT = 0.35
_SUBPIXEL_BITS = 4  # cv2 takes sixteenths of a pixel


def draw_overlay(
    image_rgb: np.ndarray, hands: Iterable[Hand], camera: Camera, faces: np.ndarray
) -> np.ndarray:
    """A copy of the image with the hands drawn in.

    Args:
        image_rgb: (H, W, 3) uint8.
        hands: metric, in the camera's frame.
        camera: took the image.
        faces: (F, 3) of a right hand, counter-clockwise seen from outside; left hands turn them.
    """
    picture = image_rgb.copy()
    # The farther hand first, so that the nearer one covers it.
    for hand in sorted(hands, key=lambda h: -h.T_camera_wrist[2, 3]):
        hand_faces = faces if hand.side is Side.RIGHT else faces[:, ::-1]
        _draw_mesh(picture, hand, camera, hand_faces)
        _draw_skeleton(picture, camera.project(hand.keypoints_m))
        _draw_label(picture, hand)
    return picture


def _draw_mesh(picture: np.ndarray, hand: Hand, camera: Camera, faces: np.ndarray) -> None:
    # Components first: NumPy is several times as fast along long rows as on many short ones.
    xyz_m = np.ascontiguousarray(hand.vertices_m.T)  # (3, V)
    uv_px = np.ascontiguousarray(camera.project(hand.vertices_m).T)  # (2, V)
    a, b, c = (xyz_m[:, corner] for corner in faces.T)  # (3, F) each
    normal, middle_m = _cross(b - a, c - a), (a + b + c) / 3.0
    # Lit from the camera: brightness is the cosine between normal and line of sight.
    cosine = -_dot(normal, middle_m)
    cosine /= np.maximum(np.sqrt(_dot(normal, normal) * _dot(middle_m, middle_m)), 1e-12)
    drawable: np.ndarray = np.isfinite(uv_px).all(axis=0)  # (V,) NaN where the lens sees nothing
    seen = np.flatnonzero((cosine > 0.0) & drawable[faces].all(axis=1))
    seen = seen[np.argsort(-middle_m[2, seen])]  # far ones first
    if not seen.size:
        return
    corners = faces[seen]  # (S, 3)
    window = _window(uv_px[:, corners.reshape(-1)], picture.shape)
    if window is None:
        return
    x0, y0, x1, y1 = window
    colors = np.outer(_AMBIENT + (1.0 - _AMBIENT) * cosine[seen], SIDE_RGB[hand.side])
    patch = picture[y0:y1, x0:x1]
    painted = patch.copy()
    # Far beyond the window a polygon is clipped alike; larger numbers would overflow cv2's.
    limit = 4.0 * max(picture.shape)
    uv_px = np.where(drawable, np.clip(uv_px - [[x0], [y0]], -limit, limit), 0.0)
    fixed = np.round(uv_px * (1 << _SUBPIXEL_BITS)).astype(np.int32).T[corners]  # (S, 3, 2)
    for polygon, color in zip(fixed, colors.tolist(), strict=True):
        cv2.fillConvexPoly(painted, polygon, color, cv2.LINE_8, _SUBPIXEL_BITS)
    patch[:] = cv2.addWeighted(painted, _MESH_OPACITY, patch, 1.0 - _MESH_OPACITY, 0.0)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3, N) of (3, N) vectors."""
    return a[[1, 2, 0]] * b[[2, 0, 1]] - a[[2, 0, 1]] * b[[1, 2, 0]]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) of (3, N) vectors."""
    return np.einsum("if,if->f", a, b)


def _draw_skeleton(picture: np.ndarray, keypoints_px: np.ndarray) -> None:
    limit = 4.0 * max(picture.shape)
    on_screen = np.isfinite(keypoints_px).all(axis=1) & (np.abs(keypoints_px) < limit).all(axis=1)
    points = np.round(np.where(on_screen[:, None], keypoints_px, 0.0)).astype(int).tolist()
    thickness = max(1, picture.shape[0] // 240)
    for parent, child in BONES:
        if on_screen[parent] and on_screen[child]:
            cv2.line(
                picture,
                points[parent],
                points[child],
                KEYPOINT_RGB[child],
                thickness,
                cv2.LINE_AA,
            )
    for point, color, ok in zip(points, KEYPOINT_RGB, on_screen, strict=True):
        if ok:
            cv2.circle(picture, point, thickness + 1, color, -1, cv2.LINE_AA)


def _draw_label(picture: np.ndarray, hand: Hand) -> None:
    """Side and distance of the wrist, above the hand's box and inside the image."""
    text = f"{hand.side.name.lower()} {np.linalg.norm(hand.T_camera_wrist[:3, 3]):.2f} m"
    scale = max(picture.shape[0] / 900.0, 0.35)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = int(np.clip(hand.box_px[0], 0, max(picture.shape[1] - width, 0)))
    y = int(np.clip(hand.box_px[1] - below, height, max(picture.shape[0] - below, height)))
    for color, thickness in (((0, 0, 0), 3), (SIDE_RGB[hand.side], 1)):
        cv2.putText(
            picture,
            text,
            (x, y),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            color,
            thickness,
            cv2.LINE_AA,
        )


def _window(uv_px: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """x0 y0 x1 y1 (whole px, ends excluded) of the image part that (2, N) points span, if any."""
    height, width = shape[:2]
    low = np.clip(np.floor(uv_px.min(axis=1)), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(uv_px.max(axis=1)) + 1, 0, [width, height]).astype(int)
    if (low >= high).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
