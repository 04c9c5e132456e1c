"""Where on an arm at rest skin is pale, creased, red or nail; colour comes per image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.synthetic_forearm import Forearm
from hand_mesh_ros.training.synthetic_mesh import Texels

GAMMA = 2.2
"""sRGB is linear light to the power of 1 / GAMMA, nearly."""
SKIN_MARKS = (
    *("palmar", "crease", "wrinkle", "flush", "nail", "nail_edge", "wristband", "knuckle"),
)
NOISE_WAVELENGTHS_M = (0.06, 0.025, 0.012, 0.006)
NOISE_FIELDS = 4
"""So many independent fields of each wavelength, mixed anew for each image."""
PALM_NORMAL = np.array([0.0, -1.0, 0.0])
_BAND_M = (0.028, 0.052)
_WAVES = 40


@dataclass(frozen=True, eq=False)
class SkinPoints:
    """Texels of the arm at rest; m, hand frame, wrist at the origin."""

    at: np.ndarray
    """(T, 3)"""
    normal: np.ndarray
    """(T, 3) unit, outwards."""
    weight: np.ndarray
    """(T, 16) of skinning; none on the forearm."""


def skin_points(model: HandModel, forearm: Forearm, texels: Texels) -> SkinPoints:
    """The points that marks are made for."""
    rest = forearm.at_rest(model)
    weight = np.zeros((len(rest), 16))
    weight[: len(model.template_m)] = model.skinning_weights
    normal = texels.spread(_normals(rest, forearm.skin_faces))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return SkinPoints(texels.spread(rest), normal, texels.spread(weight))


def skin_marks(model: HandModel, forearm: Forearm, points: SkinPoints) -> np.ndarray:
    """(T, M) each of `SKIN_MARKS` at each texel, 0 to about 1."""
    marks = {name: np.zeros(len(points.at)) for name in SKIN_MARKS}
    marks["palmar"] = step(points.normal @ PALM_NORMAL, -0.25, 0.45)
    for finger in FINGERS:
        _mark_finger(model, finger, points, marks)
    joints = model.joint_template_m - model.joint_template_m[0]
    along = points.at @ forearm.axis_hand
    for line in _palm_lines(joints):
        # Lines end softly, and lie on the palm alone.
        on_palm = marks["palmar"] * points.weight[:, [0, 13]].sum(1)
        marks["crease"] += 0.8 * on_palm * bump(distance_to_line(points.at, line), 0.0016)
    for place in (-0.004, 0.004):
        marks["crease"] += 0.5 * marks["palmar"] * bump(along - place, 0.0014)
    heel = 0.35 * joints[4] + 0.3 * joints[7]
    marks["flush"] += 0.35 * marks["palmar"] * bump(np.linalg.norm(points.at - heel, axis=1), 0.03)
    marks["wristband"] = ((along > _BAND_M[0]) & (along < _BAND_M[1])).astype(float)
    marks["wristband"] *= 1.0 - points.weight.sum(1)
    return np.stack([marks[name] for name in SKIN_MARKS], axis=1)


def noise_fields(at_m: np.ndarray, seed: int) -> np.ndarray:
    """(T, fields) smooth noise of each wavelength, then white, standard deviation 1."""
    rng = np.random.default_rng(seed)
    fields = []
    for wavelength in NOISE_WAVELENGTHS_M:
        for _ in range(NOISE_FIELDS):
            # Waves of one length to all sides: spots without a grain.
            k = rng.standard_normal((_WAVES, 3))
            k *= 2.0 * np.pi / wavelength / np.linalg.norm(k, axis=1, keepdims=True)
            waves = np.cos(at_m @ k.T + rng.uniform(0.0, 2.0 * np.pi, _WAVES))
            fields.append(waves.sum(1) / np.sqrt(0.5 * _WAVES))
    white = rng.standard_normal((NOISE_FIELDS, len(at_m)))
    return np.stack([*fields, *white], axis=1)


def _mark_finger(
    model: HandModel, finger: str, points: SkinPoints, marks: dict[str, np.ndarray]
) -> None:
    joints = model.joint_template_m - model.joint_template_m[0]
    chain = FINGER_JOINTS[finger]
    tip = model.keypoints_at_rest("anatomical")[4 * FINGERS.index(finger) + 4]
    ends = [*joints[list(chain[1:])], tip]
    for i, (joint, end) in enumerate(zip(chain, ends, strict=True)):
        along = (end - joints[joint]) / np.linalg.norm(end - joints[joint])
        radial = model.flexion_axes[joint] - (model.flexion_axes[joint] @ along) * along
        radial /= np.linalg.norm(radial)
        palm_side = np.cross(radial, along)
        s = (points.at - joints[joint]) @ along
        mine = points.weight[:, chain[max(i - 1, 0)]] + points.weight[:, joint]
        front = mine * step(points.normal @ palm_side, -0.5, 0.3)
        back = mine * step(-(points.normal @ palm_side), 0.0, 0.6)
        if i > 0:
            for place in (-0.0012, 0.0016):
                marks["crease"] += 0.55 * front * bump(s - place, 0.0011)
            for place in (-0.0045, -0.0015, 0.0015, 0.0045):
                marks["wrinkle"] += (0.7 if i == 1 else 0.4) * back * bump(s - place, 0.0009)
        elif finger != "thumb":
            # The web: a finger leaves the palm past the middle of its first bone.
            place = 0.5 * np.linalg.norm(end - joints[joint])
            marks["crease"] += 0.7 * front * bump(s - place, 0.0016)
        if i < 2 or finger == "thumb":
            marks["knuckle"] += back * bump(s, 0.006)
    # The last bone's frame serves the nail.
    away = points.at - tip
    s, across = away @ along, away @ radial
    mine = points.weight[:, chain[-1]]
    marks["flush"] += mine * bump(s, 0.011)
    size = 1.25 if finger == "thumb" else 0.85 if finger == "little" else 1.0
    outline = np.sqrt(
        (across / (0.0062 * size)) ** 4 + ((s + 0.0075 * size) / (0.0068 * size)) ** 4
    )
    nail = mine * step(-(points.normal @ palm_side), 0.1, 0.4) * step(-outline, -1.25, -0.75)
    marks["nail"] += nail
    marks["nail_edge"] += nail * bump(s + 0.0008 * size, 0.0011)


def _palm_lines(joints: np.ndarray) -> list[np.ndarray]:
    """Heart, head and life line: (n, 3) curves over the palm, each a parabola by three points."""
    index, middle, ring, little, thumb = (joints[j] for j in (1, 4, 10, 7, 13))
    between = 0.5 * (index + middle)
    inner = 0.68 * index + 0.32 * thumb
    controls = (
        (0.8 * little, 0.72 * ring + 0.1 * middle, between),
        (inner, 0.55 * middle + 0.1 * thumb, 0.5 * little),
        (inner, 0.42 * middle + 0.25 * thumb, 0.1 * middle + 0.12 * thumb),
    )
    t = np.linspace(0.0, 1.0, 9)[:, None]
    return [
        (2 * t - 1) * (t - 1) * a + 4 * t * (1 - t) * b + t * (2 * t - 1) * c
        for a, b, c in controls
    ]


def distance_to_line(at: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(T,) distance to a polyline, as seen along the palm's normal y."""
    flat, line = at[:, [0, 2]], line[:, [0, 2]]
    best = np.full(len(at), np.inf)
    for a, b in pairwise(line):
        along = np.clip((flat - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
        best = np.minimum(best, np.linalg.norm(flat - a - along[:, None] * (b - a), axis=1))
    return best


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], of_face)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def bump(x: np.ndarray, width: float) -> np.ndarray:
    """1 at 0, falling to both sides; the width is a standard deviation."""
    return np.exp(-0.5 * (x / width) ** 2)


def step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
