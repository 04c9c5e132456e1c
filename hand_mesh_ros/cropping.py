"""Square crops of hands, as a camera takes them that looks straight at the hand and holds it up.

The imagined camera stands where the real one does, so its picture is exact: one remap undistorts,
turns, scales and, for left hands, mirrors. Its optical axis goes through the middle of the crop;
where in the image the hand was and how it was turned there, no network has to learn.
`training/synthetic_views.py` does the same in torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, mirror_points
from hand_mesh_ros.rotations import rotations_to_directions

DEFAULT_BOX_FACTOR = 1.7
"""Side of the crop over the larger side of the landmarks' own box: flesh, and room for errors."""
MIN_LANDMARKS = 6
PALM = (0, 5, 9, 13, 17)
PALM_UPRIGHT = (-1.0, 0.25, 0.25, 0.25, 0.25)
"""Weights that make the palm's direction of these: from the wrist to the four knuckles' middle."""
AIMING_ROUNDS = 4
"""Perspective moves the box's middle a little with each turn; after these it is off by 0.01%."""
NEAREST = 0.1
"""Cosine. Landmarks farther than 84 degrees off the axis would be behind the imagined camera."""
_UNSEEN_PX = -1e4


@dataclass(frozen=True, eq=False)
class CropView:
    """The imagined camera of one crop. Crop axes: x right, y down, z forward, of a right hand."""

    size_px: int
    """S, side of the crop."""
    focal_px: float
    """Of the crop's pixels; the principal point is its centre, (S - 1) / 2."""
    R_camera_view: np.ndarray
    """(3, 3) from the imagined camera's axes to the real one's."""
    mirrored: bool
    """Whether its picture is turned left to right, so that a left hand looks like a right one."""

    @property
    def K_crop(self) -> np.ndarray:
        """(3, 3) px."""
        middle = 0.5 * (self.size_px - 1)
        return np.array([[self.focal_px, 0.0, middle], [0.0, self.focal_px, middle], [0, 0, 1.0]])

    def to_camera(self, points_crop: np.ndarray) -> np.ndarray:
        """(..., 3) points or directions of the crop's axes in the real camera's axes."""
        return self._flipped(points_crop) @ self.R_camera_view.T

    def from_camera(self, points_camera: np.ndarray) -> np.ndarray:
        """(..., 3) the inverse of `to_camera`."""
        return self._flipped(points_camera @ self.R_camera_view)

    def to_image_px(self, crop_px: np.ndarray, camera: Camera) -> np.ndarray:
        """(..., 2) crop px to px of the raw image; NaN where the lens cannot see."""
        rays = (np.asarray(crop_px, float) - 0.5 * (self.size_px - 1)) / self.focal_px
        return camera.project(self.to_camera(_with_depth(rays)))

    def from_image_px(self, image_px: np.ndarray, camera: Camera) -> np.ndarray:
        """(..., 2) px of the raw image to crop px; NaN where there is none."""
        return self.from_rays(camera.rays(image_px))

    def from_rays(self, rays: np.ndarray) -> np.ndarray:
        """(..., 2) x/z, y/z of the real camera to crop px; NaN behind the imagined camera."""
        points = self.from_camera(_with_depth(rays))
        z = np.where(points[..., 2:] > 1e-6, points[..., 2:], np.nan)
        return points[..., :2] / z * self.focal_px + 0.5 * (self.size_px - 1)

    def _flipped(self, points: np.ndarray) -> np.ndarray:
        return mirror_points(points) if self.mirrored else points


def aim_crop(
    rays: np.ndarray, side: Side, *, size_px: int, box_factor: float = DEFAULT_BOX_FACTOR
) -> CropView | None:
    """Look at a hand: the crop's middle is that of its landmarks' box, its fingers point up.

    Args:
        rays: (21, 2) x/z, y/z of the landmarks in the camera; not finite where one is missing.
        side: a left hand is seen mirrored.
        size_px: side of the crop.
        box_factor: side of the crop over the larger side of the landmarks' box.

    Returns:
        The view, or None where fewer than six landmarks are usable or they lie at one point.

    Raises:
        ValueError: size_px below 1 or box_factor below 1.
    """
    if size_px < 1 or not box_factor >= 1.0:
        raise ValueError(
            f"a crop of {size_px} px, {box_factor} times its landmarks' box; expected at least 1"
        )
    present = np.isfinite(rays).all(axis=1)
    if present.sum() < MIN_LANDMARKS:
        return None
    towards = _with_depth(rays[present])
    towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    upright = _upright_weights(present)[present]
    aim = towards.mean(axis=0)
    R, extent = np.eye(3), 0.0
    for _ in range(AIMING_ROUNDS):
        R = rotations_to_directions(aim[None])[0]
        seen = _seen(towards @ R)
        R = R @ _turn_upright(upright @ seen)
        seen = _seen(towards @ R)
        low, high = seen.min(axis=0), seen.max(axis=0)
        aim, extent = R @ np.append(0.5 * (low + high), 1.0), float((high - low).max())
    if not extent > 0.0:
        return None
    return CropView(size_px, size_px / (box_factor * extent), R, side is Side.LEFT)


def crop_image(image: np.ndarray, camera: Camera, view: CropView) -> np.ndarray:
    """(S, S, 3) uint8 crop of an (H, W, 3) uint8 image; black beyond the image's edges."""
    at = np.arange(view.size_px)
    grid = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)  # (S S, 2) x, y
    place = view.to_image_px(grid, camera).reshape(view.size_px, view.size_px, 2)
    place[np.isnan(place[..., 0])] = _UNSEEN_PX
    x0, y0, x1, y1 = _region(place, camera)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((view.size_px, view.size_px, image.shape[2]), np.uint8)
    region = image[y0:y1, x0:x1]
    # Where the image is finer than the crop, it is brought to about the crop's scale first: means
    # over areas, of which no pixel is left out.
    shrunk = np.maximum(np.round(np.array([x1 - x0, y1 - y0]) / _pixels_a_step(place)), 1.0)
    scale = shrunk / [x1 - x0, y1 - y0]
    if (scale < 1.0).any():
        size = (int(shrunk[0]), int(shrunk[1]))
        region = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    # Pixel centres are whole numbers.
    place = ((place - [x0, y0] + 0.5) * scale - 0.5).astype(np.float32)
    x, y = np.ascontiguousarray(place[..., 0]), np.ascontiguousarray(place[..., 1])
    return cv2.remap(region, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _region(place: np.ndarray, camera: Camera) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 of the image's part that is looked at, with a pixel of margin."""
    x, y = place[..., 0], place[..., 1]
    x0, y0 = max(int(x.min()) - 1, 0), max(int(y.min()) - 1, 0)
    x1, y1 = min(int(x.max()) + 3, camera.width), min(int(y.max()) + 3, camera.height)
    return x0, y0, x1, y1


def _pixels_a_step(place: np.ndarray) -> float:
    """How many pixels of the image one of the crop's middle is wide, at least 1."""
    middle = len(place) // 2
    x, y = place[middle - 1, middle - 1], place[middle, middle]
    return max(float(np.linalg.norm(y - x)) / np.sqrt(2.0), 1.0)


def _with_depth(rays: np.ndarray) -> np.ndarray:
    """(..., 3) from (..., 2): depth 1."""
    return np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)


def _seen(points: np.ndarray) -> np.ndarray:
    """(N, 2) x/z, y/z."""
    return points[:, :2] / np.maximum(points[:, 2:], NEAREST)


def _upright_weights(present: np.ndarray) -> np.ndarray:
    """(21,) weights of landmarks that sum to 0 over those that are present."""
    weights = np.zeros(21)
    weights[list(PALM)] = PALM_UPRIGHT
    used = present & (weights != 0.0)
    weights[~used] = 0.0
    weights[used] -= weights[used].sum() / max(int(used.sum()), 1)
    return weights


def _turn_upright(along: np.ndarray) -> np.ndarray:
    """(3, 3) turn about the optical axis after which the (2,) direction points up."""
    length = float(np.hypot(*along))
    up_x, up_y = along / length if length > 1e-9 else (0.0, -1.0)
    return np.array([[-up_y, -up_x, 0.0], [up_x, -up_y, 0.0], [0.0, 0.0, 1.0]])
