"""Pictures of single hands: in the image, and beside it from the side, predicted and true."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from hand_mesh_ros.conventions import BONES
from hand_mesh_ros.evaluation.samples import Convention, EvaluationSample, EvaluationSet
from hand_mesh_ros.evaluation.tally import Case
from hand_mesh_ros.viewer.palette import KEYPOINT_RGB

PANEL_PX = 240
_MARGIN = 1.25
"""Of the crop's side over that of the two hands' box."""
_SMALLEST_CROP_PX = 16.0
_TRUE_RGB, _TRUE_EDGE_RGB = (255, 255, 255), (0, 0, 0)
_BACKDROP_RGB = (104, 108, 116)
_SUBPIXEL_BITS = 4  # cv2 takes sixteenths of a pixel


def worst(cases: Sequence[Case], number: int) -> list[Case]:
    """The cases of largest error, the worst first."""
    measured = [case for case in cases if case.error is not None]
    return sorted(measured, key=lambda case: -(case.error or 0.0))[:number]


def case_pictures(
    cases: Sequence[Case], samples: EvaluationSet, convention: Convention
) -> tuple[list[np.ndarray], list[str]]:
    """A picture and a caption of each case; images are loaded again, they were not kept."""
    pictures, captions = [], []
    for case in cases:
        sample = samples[case.index]
        pictures.append(draw_case(case, sample, convention))
        side = "" if sample.labels.side is None else f"{sample.labels.side.name.lower()}  "
        error = f"{case.error:.1f} mm" if sample.has_3d else f"{case.error:.2f} box sides"
        captions.append(f"#{case.index}  {side}{error}")
    return pictures, captions


def draw_case(case: Case, sample: EvaluationSample, convention: Convention) -> np.ndarray:
    """Image crop with both skeletons and, with 3D labels, both turned 90 degrees beside it.

    True skeletons are white, predicted ones have the colours of the fingers.

    Returns:
        (PANEL_PX, PANEL_PX or twice that, 3) uint8 RGB.
    """
    labels, prediction = sample.labels, case.prediction
    true_px = np.where(labels.keypoints_valid[:, None], labels.keypoints_px, np.nan)
    if sample.has_3d:
        true_m, _ = sample.true_keypoints_m(convention)
        true_px = labels.camera.project(true_m)
    panel, to_panel = _crop(labels.load_image(), true_px, prediction.keypoints_px)
    _draw_skeletons(panel, to_panel(true_px), to_panel(prediction.keypoints_px))
    if not sample.has_3d:
        return panel
    true_m, _ = sample.true_keypoints_m(convention)
    return np.hstack([panel, _from_the_side(true_m, prediction.keypoints_m)])


def _crop(
    image: np.ndarray, *skeletons_px: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """A square of the image around the skeletons, PANEL_PX wide, and the map of points into it."""
    points = np.concatenate(skeletons_px)
    points = points[np.isfinite(points).all(1)]
    low, high = points.min(0), points.max(0)
    side = max(_MARGIN * float((high - low).max()), _SMALLEST_CROP_PX)
    scale = PANEL_PX / side
    corner = 0.5 * (low + high) - 0.5 * side
    # Half a pixel: whole numbers are the middles of pixels, the corner is an edge.
    A = np.column_stack([scale * np.eye(2), -scale * corner - 0.5])
    panel = cv2.warpAffine(
        image,
        A,
        (PANEL_PX, PANEL_PX),
        flags=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_BACKDROP_RGB,
    )
    return panel, lambda px: px @ A[:, :2].T + A[:, 2]


def _from_the_side(true_m: np.ndarray, predicted_m: np.ndarray) -> np.ndarray:
    """Both hands seen from the camera's right, wrists together: far is to the right."""
    skeletons = [(points - points[0])[:, [2, 1]] for points in (true_m, predicted_m)]  # (21, 2)
    both = np.concatenate(skeletons)
    low, high = both.min(0), both.max(0)
    scale = PANEL_PX / (_MARGIN * float((high - low).max()))
    middle = 0.5 * (PANEL_PX - 1)
    panel = np.full((PANEL_PX, PANEL_PX, 3), _BACKDROP_RGB, np.uint8)
    _draw_skeletons(panel, *((s - 0.5 * (low + high)) * scale + middle for s in skeletons))
    cv2.putText(
        panel,
        "from the side; white: true",
        (6, 16),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.42,
        _TRUE_RGB,
        1,
        cv2.LINE_AA,
    )
    return panel


def _draw_skeletons(panel: np.ndarray, true_px: np.ndarray, predicted_px: np.ndarray) -> None:
    _draw_skeleton(panel, true_px, [_TRUE_EDGE_RGB] * 21, 4)
    _draw_skeleton(panel, true_px, [_TRUE_RGB] * 21, 2)
    _draw_skeleton(panel, predicted_px, KEYPOINT_RGB, 2)


def _draw_skeleton(
    panel: np.ndarray, points_px: np.ndarray, colors: Sequence[tuple[int, int, int]], width: int
) -> None:
    seen = np.isfinite(points_px).all(1)
    limit = 10 * PANEL_PX
    fixed = np.round(
        np.clip(np.where(seen[:, None], points_px, 0.0), -limit, limit) * (1 << _SUBPIXEL_BITS)
    )
    points = fixed.astype(int).tolist()
    for parent, child in BONES:
        if seen[parent] and seen[child]:
            cv2.line(
                panel,
                points[parent],
                points[child],
                colors[child],
                width,
                cv2.LINE_AA,
                _SUBPIXEL_BITS,
            )
    for point, color, ok in zip(points, colors, seen, strict=True):
        if ok:
            cv2.circle(
                panel, point, (width + 1) << _SUBPIXEL_BITS, color, -1, cv2.LINE_AA, _SUBPIXEL_BITS
            )
