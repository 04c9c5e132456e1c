"""Every metric of predicted hands against true ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hand_mesh_ros.evaluation.metrics import (
    auc,
    distances_m,
    f_scores,
    hand_length_m,
    procrustes,
    scale_translation_aligned,
)

_F_THRESHOLDS_M = (0.005, 0.015)


@dataclass(frozen=True)
class Hands:
    """B hands, predicted or true; row i of both sides is the same hand."""

    keypoints_m: np.ndarray
    """(B, 21, 3) m, camera frame; one convention on both sides."""
    vertices_m: np.ndarray | None = None
    """(B, V, 3) m, same frame, or None where there is no mesh."""
    hand_model: str | None = None
    """Whose topology the vertices have; only then do vertices of both sides correspond. 778
    vertices alone prove nothing: the open hand has as many as MANO."""
    in_camera_space: bool = True
    """False where the wrist's place means nothing (root-relative output)."""

    def __post_init__(self) -> None:
        """Refuse what would silently give a wrong figure."""
        shape = self.keypoints_m.shape
        if len(shape) != 3 or shape[1:] != (21, 3) or shape[0] == 0:
            raise ValueError(f"keypoints_m has shape {shape}; expected (B, 21, 3), B at least 1")
        _refuse_non_finite("keypoints_m", self.keypoints_m)
        if self.vertices_m is None:
            return
        if self.vertices_m.ndim != 3 or self.vertices_m.shape[::2] != (shape[0], 3):
            raise ValueError(
                f"vertices_m has shape {self.vertices_m.shape}; expected ({shape[0]}, V, 3), as "
                f"there are {shape[0]} hands of keypoints"
            )
        _refuse_non_finite("vertices_m", self.vertices_m)


def _refuse_non_finite(name: str, points: np.ndarray) -> None:
    finite = np.isfinite(points).all((1, 2))
    if not finite.all():
        raise ValueError(
            f"{name} of hand {int(np.argmin(finite))} is not finite; leave such hands out on both "
            "sides and count them as missed"
        )


@dataclass(frozen=True)
class HandErrors:
    """Every metric of B hands; None where either side lacks what it needs.

    `*_mm` are (B,) means over the points of a hand. PA: after Procrustes alignment, of joints and
    vertices each by their own; the others of the first group have their wrists laid together.
    """

    pa_mpjpe_mm: np.ndarray
    mpjpe_mm: np.ndarray
    st_mpjpe_mm: np.ndarray
    """After HO3D's scale and translation alignment."""
    auc: np.ndarray
    """(B,) of PA keypoints, 0 to 50 mm."""
    pa_mpvpe_mm: np.ndarray | None
    mpvpe_mm: np.ndarray | None
    auc_vertices: np.ndarray | None
    f_at_5mm: np.ndarray | None
    """(B,) of PA vertices; meshes of two topologies are laid together by their keypoints."""
    f_at_15mm: np.ndarray | None
    root_error_mm: np.ndarray | None
    """(B,) distance of the wrists in the camera frame."""
    root_error_share: np.ndarray | None
    """(B,) of the true wrist's distance from the camera."""
    root_error_known_length_mm: np.ndarray | None
    """(B,) distance of the wrists after the hand was scaled about the camera, which changes nothing
    in the image, to the true hand's length: what is left where a hand's length is known."""
    cs_mpjpe_mm: np.ndarray | None
    """(B,) in the camera frame, no alignment."""
    cs_mpvpe_mm: np.ndarray | None
    cs_auc: np.ndarray | None
    cs_auc_vertices: np.ndarray | None
    pa_keypoints_mm: np.ndarray
    """(B, 21) of each keypoint after Procrustes alignment: for plots."""

    def __len__(self) -> int:
        """Number of hands."""
        return len(self.pa_mpjpe_mm)

    def rows(self, chosen: np.ndarray) -> HandErrors:
        """Those of some hands alone: (B,) bool, or their row numbers."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        left: dict[str, Any] = {k: v if v is None else v[chosen] for k, v in columns.items()}
        return HandErrors(**left)


def hand_errors(predicted: Hands, true: Hands) -> HandErrors:
    """Every metric that predicted and true hands allow, for a batch of them."""
    keypoints, goal = predicted.keypoints_m, true.keypoints_m
    if len(keypoints) != len(goal):
        raise ValueError(
            f"{len(keypoints)} predicted hands, {len(goal)} true ones; expected as many, row by row"
        )
    alignment = procrustes(keypoints, goal)
    pa = distances_m(alignment.apply(keypoints), goal)  # (B, 21)
    placed = predicted.in_camera_space and true.in_camera_space
    cs = distances_m(keypoints, goal) if placed else None  # (B, 21)
    metrics: dict[str, Any] = dict.fromkeys(f.name for f in fields(HandErrors))
    metrics |= {
        "pa_keypoints_mm": 1e3 * pa,
        "pa_mpjpe_mm": 1e3 * pa.mean(1),
        "mpjpe_mm": 1e3
        * distances_m(_from_wrist(keypoints, keypoints), _from_wrist(goal, goal)).mean(1),
        "st_mpjpe_mm": 1e3 * distances_m(scale_translation_aligned(keypoints, goal), goal).mean(1),
        "auc": auc(pa),
    }
    if cs is not None:
        metrics |= {
            "root_error_mm": 1e3 * cs[:, 0],
            "root_error_share": cs[:, 0] / np.linalg.norm(goal[:, 0], axis=1),
            "root_error_known_length_mm": 1e3 * _root_error_known_length_m(keypoints, goal),
            "cs_mpjpe_mm": 1e3 * cs.mean(1),
            "cs_auc": auc(cs),
        }
    if predicted.vertices_m is None or true.vertices_m is None:
        return HandErrors(**metrics)

    vertices, goal_vertices = predicted.vertices_m, true.vertices_m
    corresponding = predicted.hand_model is not None and predicted.hand_model == true.hand_model
    if corresponding:
        if vertices.shape != goal_vertices.shape:
            raise ValueError(
                f"both meshes are {true.hand_model}, but have {vertices.shape[1]} and "
                f"{goal_vertices.shape[1]} vertices; name their hand models rightly"
            )
        aligned = procrustes(vertices, goal_vertices).apply(vertices)
        pa_vertices = distances_m(aligned, goal_vertices)  # (B, V)
        relative = _from_wrist(vertices, keypoints), _from_wrist(goal_vertices, goal)
        metrics |= {
            "pa_mpvpe_mm": 1e3 * pa_vertices.mean(1),
            "mpvpe_mm": 1e3 * distances_m(*relative).mean(1),
            "auc_vertices": auc(pa_vertices),
        }
        if placed:
            cs_vertices = distances_m(vertices, goal_vertices)
            metrics |= {
                "cs_mpvpe_mm": 1e3 * cs_vertices.mean(1),
                "cs_auc_vertices": auc(cs_vertices),
            }
    else:
        aligned = alignment.apply(vertices)
    scores = np.array(
        [f_scores(a, b, _F_THRESHOLDS_M) for a, b in zip(aligned, goal_vertices, strict=True)]
    )  # (B, 2)
    metrics |= {"f_at_5mm": scores[:, 0], "f_at_15mm": scores[:, 1]}
    return HandErrors(**metrics)


def _root_error_known_length_m(keypoints: np.ndarray, goal: np.ndarray) -> np.ndarray:
    own, true = hand_length_m(keypoints), hand_length_m(goal)  # (B,)
    scale = np.where(own > 0.0, true / np.where(own > 0.0, own, 1.0), 1.0)
    return distances_m(scale[:, None] * keypoints[:, 0], goal[:, 0])


def _from_wrist(points: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    return points - keypoints[:, :1]
