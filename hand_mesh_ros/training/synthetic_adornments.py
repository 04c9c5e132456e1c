"""Rings and watches: painted on the skin, so that every label stays that of the hand beneath.

A ring counts as hand in the mask, and a keypoint under it as seen. A watch lies on the forearm,
which is no part of the hand, as its skin is not.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.synthetic_forearm import Forearm
from hand_mesh_ros.training.synthetic_skin import GAMMA, PALM_NORMAL, SkinPoints, step

RINGED = FINGERS[1:]
ADORNMENT_MARKS = (*(f"{finger} ring" for finger in RINGED), "watch strap", "watch face")
_RING_AT, _RING_M = 0.7, 0.0026
"""Of the first bone, past the web; half a ring's width."""
_WATCH_AT_M, _STRAP_M, _FACE_M = 0.042, 0.009, 0.017
"""Along the arm from the wrist; half the strap's width, the face's radius."""
_METALS_SRGB = ((0.93, 0.75, 0.42), (0.85, 0.85, 0.87), (0.9, 0.66, 0.55), (0.25, 0.25, 0.27))
_METAL_GLOSS, _GLASS_GLOSS = 2.5, 2.0
"""Added to the logarithm of the skin's gloss."""
_SECOND_RING = 0.25


def adornment_marks(model: HandModel, forearm: Forearm, points: SkinPoints) -> np.ndarray:
    """(T, M) each of `ADORNMENT_MARKS` at each texel, 0 to 1."""
    along = points.at @ forearm.axis_hand - _WATCH_AT_M
    on_arm = np.clip(1.0 - points.weight.sum(1), 0.0, 1.0)
    strap = on_arm * _band(along, _STRAP_M)
    dorsal = -(points.at @ PALM_NORMAL)
    dorsal = dorsal - dorsal[on_arm > 0.5].mean() if (on_arm > 0.5).any() else dorsal
    side = np.cross(forearm.axis_hand, PALM_NORMAL)
    aside = points.at @ side
    aside = aside - aside[strap > 0.5].mean() if (strap > 0.5).any() else aside
    face = on_arm * (dorsal > 0.0) * _band(np.hypot(along, aside), _FACE_M)
    rings = [_ring(model, finger, points) for finger in RINGED]
    return np.stack([*rings, strap * (1.0 - face), face], axis=1)


def adornment_mix(base: Tensor, config: SyntheticConfig, dice: Dice) -> Tensor:
    """(N, M, 4) what each mark adds to the logarithm of linear RGB and of gloss.

    Args:
        base: (N, 3) logarithm of the skin's linear RGB.
        config: has the shares of rings and watches.
        dice: source of all randomness.
    """
    rings, watch = dice.stream("rings"), dice.stream("watch")
    metals = base.new_tensor(_METALS_SRGB)
    first = torch.nn.functional.one_hot(rings.index(len(RINGED)), len(RINGED))
    more = rings.chance(_SECOND_RING, 1) * torch.nn.functional.one_hot(
        rings.index(len(RINGED)), len(RINGED)
    )
    worn = rings.chance(config.rings, 1) * torch.maximum(first.float(), more)  # (N, 4)
    metal = _painted(base, metals[rings.index(len(metals))], _METAL_GLOSS)  # (N, 4)

    has_watch = watch.chance(config.watch, 1, 1)
    leather = watch.uniform(0.03, 0.6, 1) ** 1.5 + 0.05 * watch.normal(3)
    of_metal = watch.chance(0.4, 1) > 0
    strap = torch.where(of_metal, metals[watch.index(len(metals))], leather.clamp(0.02, 0.9))
    strap_gloss = torch.where(of_metal, 2.0, 0.5)
    dial = watch.uniform(0.0, 1.0, 1).round() * 0.85 + 0.05 + 0.03 * watch.normal(3)
    parts = torch.stack(
        [_painted(base, strap, strap_gloss), _painted(base, dial, _GLASS_GLOSS)], dim=1
    )
    return torch.cat([worn[..., None] * metal[:, None], has_watch * parts], dim=1)


def _painted(base: Tensor, srgb: Tensor, gloss: float | Tensor) -> Tensor:
    """(N, 4) what leads from the skin's colour to another, and to its gloss."""
    color = GAMMA * srgb.clamp(0.02, 1.0).log() - base
    return torch.cat([color, torch.zeros_like(color[:, :1]) + gloss], dim=1)


def _ring(model: HandModel, finger: str, points: SkinPoints) -> np.ndarray:
    """(T,) 1 where a ring sits."""
    first, second = FINGER_JOINTS[finger][:2]
    joints = model.joint_template_m - model.joint_template_m[0]
    bone = joints[second] - joints[first]
    length = np.linalg.norm(bone)
    s = (points.at - joints[first]) @ bone / length
    own = points.weight[:, [first, second]].sum(1)
    return step(own, 0.4, 0.7) * _band(s - _RING_AT * length, _RING_M)


def _band(x: np.ndarray, half_width: float) -> np.ndarray:
    """1 about 0, 0 beyond the width, with an edge as soft as texels are coarse."""
    return 1.0 - step(np.abs(x), half_width - 0.0008, half_width + 0.0008)
