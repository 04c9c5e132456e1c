"""Veins, tendons and hair on the backs of hands: where they are at rest, and how much per image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.synthetic_forearm import Forearm
from hand_mesh_ros.training.synthetic_skin import (
    PALM_NORMAL,
    SkinPoints,
    bump,
    distance_to_line,
    step,
)

VEIN_MARKS = ("veins", "other veins", "tendons", "hair")
"""Two nets of veins, of which an image shows any mixture."""
_VEIN_M, _TENDON_M = 0.0014, 0.0022
"""Half widths."""
_WIGGLE_M = 0.004
_UP_THE_ARM_M = 0.2


def vein_marks(model: HandModel, forearm: Forearm, points: SkinPoints) -> np.ndarray:
    """(T, M) each of `VEIN_MARKS` at each texel, 0 to about 1."""
    dorsal = step(-(points.normal @ PALM_NORMAL), 0.0, 0.5)
    arm = np.clip(1.0 - points.weight.sum(1), 0.0, 1.0)
    back = dorsal * np.clip(points.weight[:, 0] + arm, 0.0, 1.0)
    nets = [_near(points, _veins(model, forearm, seed), _VEIN_M) for seed in (1, 2)]
    tendons = _near(points, _tendons(model), _TENDON_M)
    first_bones = points.weight[:, [FINGER_JOINTS[finger][0] for finger in FINGERS[1:]]].sum(1)
    speckle = 0.4 + 0.6 * np.abs(np.random.default_rng(3).standard_normal(len(back)))
    hairy = dorsal * (arm + 0.35 * points.weight[:, 0] + 0.35 * first_bones)
    columns = [*(back * net for net in nets), back * (1.0 - arm) * tendons, hairy * speckle]
    return np.stack(columns, axis=1)


def vein_mix(config: SyntheticConfig, dice: Dice) -> Tensor:
    """(N, M, 4) what each mark adds to the logarithm of linear RGB and of gloss."""
    veins, hair = dice.stream("veins"), dice.stream("hair")
    blue = torch.tensor([-1.0, -0.6, -0.35], device=dice.device)
    grey = torch.tensor([1.0, 1.0, 1.0], device=dice.device)
    amounts = config.veins * 0.3 * veins.uniform(0.0, 1.0, 2, 1) ** 2
    tendons = config.veins * 0.16 * veins.uniform(0.0, 1.0, 1, 1) ** 2
    dark = config.hair * 0.7 * hair.uniform(0.0, 1.0, 1, 1) ** 4  # few are hairy
    colors = torch.cat([amounts * blue, tendons * grey, -dark * grey], dim=1)
    return torch.cat([colors, torch.zeros_like(colors[..., :1])], dim=2)


def _near(points: SkinPoints, lines: list[np.ndarray], width: float) -> np.ndarray:
    """(T,) 1 on any of the lines, as seen along the palm's normal."""
    distance = np.min([distance_to_line(points.at, line) for line in lines], axis=0)
    return bump(distance, width)


def _veins(model: HandModel, forearm: Forearm, seed: int) -> list[np.ndarray]:
    """(n, 3) curves from between the knuckles to the wrist, joined now and then, and up the arm."""
    rng = np.random.default_rng(seed)
    joints = model.joint_template_m - model.joint_template_m[0]
    knuckles = joints[[FINGER_JOINTS[finger][0] for finger in FINGERS[1:]]]
    webs = 0.5 * (knuckles[1:] + knuckles[:-1])
    across = knuckles[0] - knuckles[3]
    places = np.sort(rng.uniform(-0.25, 0.25, 3))[::-1]
    lines = [
        _wiggled(web, place * across, across, rng) for web, place in zip(webs, places, strict=True)
    ]
    for a, b in ((0, 1), (1, 2)):
        lines.append(np.stack([lines[a][rng.integers(3, 8)], lines[b][rng.integers(3, 8)]]))
    for place in rng.choice(places, 2, replace=False):
        start, end = place * across, _UP_THE_ARM_M * forearm.axis_hand + 0.8 * place * across
        lines.append(_wiggled(start, end, across, rng))
    return lines


def _wiggled(
    start: np.ndarray, end: np.ndarray, across: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(12, 3) from start to end, m."""
    t = np.linspace(0.0, 1.0, 12)[:, None]
    waves = np.sin(2.0 * np.pi * (rng.uniform(0.6, 1.6) * t + rng.uniform()))
    aside = across / np.linalg.norm(across)
    return (1.0 - t) * start + t * end + _WIGGLE_M * waves * aside


def _tendons(model: HandModel) -> list[np.ndarray]:
    """(2, 3) lines from the wrist's middle to four knuckles."""
    joints = model.joint_template_m - model.joint_template_m[0]
    knuckles = joints[[FINGER_JOINTS[finger][0] for finger in FINGERS[1:]]]
    return [np.stack([0.25 * knuckle, 0.97 * knuckle]) for knuckle in knuckles]
