"""The colour of skin: lighter in the palm, dark in creases, red at knuckles, shiny at nails."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from hand_mesh_ros.conventions import FINGER_JOINTS
from hand_mesh_ros.hand_models.hand_model import HandModel

# From light to dark, back of the hand under neutral light.
_SKIN_TONES = np.array(
    [
        [236, 196, 172],
        [224, 176, 146],
        [204, 152, 118],
        [172, 120, 88],
        [134, 90, 64],
        [98, 66, 50],
    ],
    float,
)


def skin_tone(amount: float) -> np.ndarray:
    """(3,) RGB of the back of a hand, from 0 (lightest) to 1 (darkest)."""
    place = amount * (len(_SKIN_TONES) - 1)
    return np.array([np.interp(place, np.arange(len(_SKIN_TONES)), c) for c in _SKIN_TONES.T])


def drawn_skin_rgb(rng: np.random.Generator) -> np.ndarray:
    """(3,) RGB of the back of a hand, uniform from the lightest to the darkest."""
    return skin_tone(rng.uniform())


def paint_skin(
    model: HandModel, points: np.ndarray, normals: np.ndarray, base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a hand at rest; either one, since nothing here depends on the sign of x.

    Args:
        model: the hand.
        points: (N, 3) m, on its skin or forearm, model frame, wrist at the origin.
        normals: (N, 3) unit, outwards.
        base: (3,) RGB of the back of the hand.

    Returns:
        (N, 3) RGB albedo and (N,) gloss, 0 to 1.
    """
    joints = model.joint_template_m - model.joint_template_m[0]
    palm_normal = np.array([0.0, -1.0, 0.0])
    palmar = np.clip(0.5 + 1.2 * (normals @ palm_normal), 0.0, 1.0)
    darkness = 1.0 - base.mean() / 255.0
    dark = np.zeros(len(points))
    red = np.zeros(len(points))
    nail = np.zeros(len(points))
    for finger, chain in FINGER_JOINTS.items():
        tip = points[_fingertip(model, chain[2])]
        pad = palm_normal if finger != "thumb" else np.array([0.0, -0.6, -0.8])
        for i, j in enumerate(chain):
            after = joints[chain[i + 1]] if i < 2 else tip
            before = joints[chain[i - 1]] if i > 0 else joints[0]
            along = (after - before) / np.linalg.norm(after - before)
            away = points - joints[j]
            s = away @ along
            radial = np.linalg.norm(away - s[:, None] * along, axis=1)
            near = np.exp(-((radial / 0.014) ** 4))
            front = np.clip(0.3 + normals @ pad, 0.0, 1.0)
            back = np.clip(0.2 - normals @ pad, 0.0, 1.0)
            if i > 0:
                dark += 0.30 * near * front * _bump(s, 0.0022)
                dark += 0.16 * near * back * (_bump(s - 0.002, 0.002) + _bump(s + 0.003, 0.002))
            elif finger != "thumb":
                dark += 0.25 * near * front * _bump(s - 0.018, 0.0025)
            red += 0.5 * near * back * _bump(s, 0.007)
        along = (tip - joints[chain[2]]) / np.linalg.norm(tip - joints[chain[2]])
        away = points - tip
        s = away @ along
        radial = np.linalg.norm(away - s[:, None] * along, axis=1)
        near = np.exp(-((radial / 0.013) ** 4)) * (np.abs(s) < 0.02)
        red += 0.6 * near * _bump(s, 0.009)
        nail += near * np.clip((-(normals @ pad) - 0.45) / 0.3, 0.0, 1.0) * _bump(s + 0.006, 0.006)
    for line in _palm_lines(joints):
        dark += 0.22 * (palmar > 0.7) * _bump(_distance_to_line(points, line), 0.0035)
    pale = base * 0.45 + np.array([238.0, 186.0, 166.0]) * 0.55
    albedo = base + (0.35 + 0.45 * darkness) * palmar[:, None] * (pale - base)
    albedo *= 1.0 - np.clip(red, 0.0, 1.0)[:, None] * np.array([0.02, 0.13, 0.12])
    albedo *= 1.0 - np.clip(dark, 0.0, 0.5)[:, None] * np.array([0.75, 1.0, 1.0])
    nail = np.clip(nail, 0.0, 1.0)[:, None]
    albedo = albedo * (1.0 - 0.6 * nail) + 0.6 * nail * (0.4 * base + [145.0, 112.0, 104.0])
    return albedo, 0.05 + 0.2 * nail[:, 0]


def _fingertip(model: HandModel, last_joint: int) -> int:
    """Vertex farthest from the last joint of a finger among those that it moves."""
    away = np.linalg.norm(model.template_m - model.joint_template_m[last_joint], axis=1)
    return int(np.argmax(np.where(model.skinning_weights[:, last_joint] > 0.6, away, -1.0)))


def _palm_lines(joints: np.ndarray) -> list[np.ndarray]:
    """Three (n, 3) polylines over the palm, between joints: heart, head and life line."""
    index, middle, little, thumb = joints[1], joints[4], joints[7], joints[13]

    def at(a: np.ndarray, b: np.ndarray, amount: float) -> np.ndarray:
        return a + amount * (b - a)

    heart = np.stack(
        [at(little, 0.2 * thumb, 0.18), at(middle, thumb, 0.12), at(index, middle, 0.5)]
    )
    head = np.stack([at(index, thumb, 0.25), at(middle, thumb, 0.4), at(little, 0 * little, 0.45)])
    life = np.stack([at(index, thumb, 0.25), at(middle, thumb, 0.65), 0.25 * middle + 0.1 * thumb])
    return [heart, head, life]


def _distance_to_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N,) distance to a polyline, as seen along the palm's normal y."""
    flat, line = points[:, [0, 2]], line[:, [0, 2]]
    best = np.full(len(points), np.inf)
    for a, b in pairwise(line):
        along = np.clip((flat - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
        best = np.minimum(best, np.linalg.norm(flat - a - along[:, None] * (b - a), axis=1))
    return best


def _bump(x: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-0.5 * (x / width) ** 2)
