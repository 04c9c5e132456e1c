"""A picture of synthetic samples, to look at: images, keypoints, what the labels call seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from hand_mesh_ros.conventions import BONES

if TYPE_CHECKING:
    from hand_mesh_ros.training.synthetic import SyntheticBatch

_SEEN, _HIDDEN, _BONE = (60, 230, 60), (240, 60, 60), (240, 220, 120)
_ASPECT = 1.6
"""Width over height that a sheet comes near to."""
_FINE = 16
"""OpenCV draws at sixteenths of a pixel."""


def draw_sheet(batch: SyntheticBatch) -> np.ndarray:
    """(H, W, 3) uint8: each sample as its image, and smaller beside it keypoints and vertices."""
    cells = [_cell(batch, i) for i in range(len(batch.image))]
    height, width = cells[0].shape[:2]
    columns = max(round((_ASPECT * len(cells) * height / width) ** 0.5), 1)
    cells += [np.full_like(cells[0], 40)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


def _cell(batch: SyntheticBatch, index: int) -> np.ndarray:
    """(S, 1.5 S, 3) uint8 of one sample."""
    values = batch.image[index].permute(1, 2, 0).cpu().numpy()
    image = np.ascontiguousarray(np.rint(255.0 * values).astype(np.uint8))
    points = batch.keypoints_px["anatomical"][index].cpu().numpy()
    seen = batch.keypoint_visible[index].cpu().numpy()
    over = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    place = np.rint((0.5 * points - 0.25) * _FINE).astype(int)
    for a, b in BONES:
        cv2.line(over, place[a].tolist(), place[b].tolist(), _BONE, 1, cv2.LINE_AA, 4)
    for point, visible in zip(place.tolist(), seen, strict=True):
        cv2.circle(over, point, 2 * _FINE, _SEEN if visible else _HIDDEN, -1, cv2.LINE_AA, 4)

    mask = batch.mask[index].cpu().numpy()[::2, ::2]
    labels = np.where(mask[..., None], 110, 30).repeat(3, 2).astype(np.uint8)
    visible = batch.visibility[index].cpu().numpy()
    vertices = batch.vertices_m[index].cpu().numpy() @ batch.K_crop[index].cpu().numpy().T
    spots = np.rint(0.5 * vertices[:, :2] / vertices[:, 2:]).astype(int)
    for x, y in spots[visible]:
        if 0 <= x < labels.shape[1] and 0 <= y < labels.shape[0]:
            labels[y, x] = _SEEN
    return np.concatenate([image, np.concatenate([over, labels])], axis=1)
