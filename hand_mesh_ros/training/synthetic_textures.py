"""Colour and gloss of skin, sleeves and objects: a new mixture of stored patterns for each image.

Everything is a sum in the logarithm of linear light, so that one matrix product paints a batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.sources.skin import skin_tone
from hand_mesh_ros.training.synthetic_adornments import adornment_marks, adornment_mix
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.synthetic_mesh import cube_grid
from hand_mesh_ros.training.synthetic_objects import CELLS
from hand_mesh_ros.training.synthetic_scene import Scene
from hand_mesh_ros.training.synthetic_skin import (
    GAMMA,
    NOISE_FIELDS,
    NOISE_WAVELENGTHS_M,
    SKIN_MARKS,
    noise_fields,
    skin_marks,
    skin_points,
)
from hand_mesh_ros.training.synthetic_veins import vein_marks, vein_mix

_TONES = 64
_NOISE_LIGHTNESS = (0.06, 0.04, 0.035, 0.03, 0.025)
_NOISE_REDNESS = (0.05, 0.04, 0.03, 0.015, 0.005)
_PALE_SRGB = (0.93, 0.73, 0.65)
_NAIL_SRGB = (0.88, 0.68, 0.63)
_CLOTH_SCALE = 1.3
"""A sleeve lies outside of the arm whose points at rest carry its pattern."""
_THING_SIZE_M = 0.03
_PLAIN_GLOSS = 0.03
_PALER = 0.14


class Textures(nn.Module):
    """(N, T, 4) linear RGB albedo and gloss of the texels of a scene, in the scene's order."""

    skin: Tensor
    sleeve: Tensor
    thing: Tensor
    tones: Tensor

    def __init__(self, model: HandModel, scene: Scene, config: SyntheticConfig) -> None:
        super().__init__()
        parts, forearm = scene.parts, scene.forearm
        points = skin_points(model, forearm, parts.skin)
        skin = [skin_marks(model, forearm, points), noise_fields(points.at, 1)]
        if max(config.veins, config.hair) > 0:
            skin.append(vein_marks(model, forearm, points))
        if max(config.rings, config.watch) > 0:
            skin.append(adornment_marks(model, forearm, points))
        rest = forearm.at_rest(model)
        on_sleeve = _CLOTH_SCALE * parts.sleeve.spread(rest[len(model.template_m) :])
        on_thing = _THING_SIZE_M * parts.thing.spread(cube_grid(CELLS)[0])
        cloth = [noise_fields(on_sleeve, 2), _stripes(on_sleeve, forearm.axis_hand)]
        thing = [noise_fields(on_thing, 3), _stripes(on_thing, np.array([0.0, 0.0, 1.0]))]
        tones = np.stack([skin_tone(a) for a in np.linspace(0.0, 1.0, _TONES)])
        for name, values in (
            ("skin", np.concatenate(skin, axis=1)),
            ("sleeve", np.concatenate(cloth, axis=1)),
            ("thing", np.concatenate(thing, axis=1)),
            ("tones", GAMMA * np.log(tones / 255.0)),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)
        self._config, self._strength = config, config.skin_texture

    def forward(self, dice: Dice) -> Tensor:
        """Paint N images' worth."""
        skin = self._paint(self.skin, *self._skin_mix(dice.stream("skin")))
        parts = [skin]
        for name, fields in (("cloth", self.sleeve), ("held", self.thing), ("passing", self.thing)):
            parts.append(self._paint(fields, *_thing_mix(fields.shape[1], dice.stream(name))))
        return torch.cat(parts, dim=1)

    @staticmethod
    def _paint(fields: Tensor, base: Tensor, weights: Tensor) -> Tensor:
        """(N, T, 4) from (T, C) fields, (N, 4) logarithms and (N, C, 4) of the fields."""
        # One product for the batch: (T, C) @ (C, N 4).
        mixed = fields @ weights.permute(1, 0, 2).flatten(1)
        mixed = mixed.unflatten(1, (len(base), 4)).transpose(0, 1)
        return (mixed + base[:, None]).exp_()

    def _skin_mix(self, dice: Dice) -> tuple[Tensor, Tensor]:
        n, tones = dice.n, self.tones
        # Lighter ones more often, as in the photographs that hands are tested on.
        place = dice.uniform(0.0, 1.0) ** 1.3 * (_TONES - 1.001)
        low = place.long()
        base = torch.lerp(tones[low], tones[low + 1], (place - low)[:, None])
        # Cameras render skin less orange than the palette has it.
        base = base + _PALER * (base.mean(1, keepdim=True) - base)
        warm = base.new_tensor([0.02, 0.0, -0.06]), base.new_tensor([0.05, -0.04, -0.04])
        base = base + self._strength * (dice.normal(1) * warm[0] + dice.normal(1) * warm[1])

        def toward(srgb: Tensor, amount: Tensor) -> Tensor:
            """What to add to the logarithm to reach a mixture with another colour."""
            target = srgb.clamp(0.02, 1.0) ** GAMMA
            return ((1.0 - amount) + amount * target / base.exp()).log()

        dark = 1.0 - base.exp().mean(1, keepdim=True) ** (1.0 / GAMMA)
        pale, nail = base.new_tensor([_PALE_SRGB]), base.new_tensor([_NAIL_SRGB])
        varnish = dice.chance(0.06, 1)
        nail = torch.where(varnish > 0, dice.uniform(0.05, 0.95, 3), nail)
        nail_amount = torch.where(varnish > 0, torch.ones_like(varnish), dice.uniform(0.2, 0.6, 1))
        band = dice.chance(self._config.wristband, 1)
        weight = {
            "palmar": toward(pale, (0.12 + 0.75 * dark) * dice.uniform(0.4, 0.8, 1)),
            "crease": -dice.uniform(0.15, 0.6, 1) * base.new_tensor([0.7, 1.0, 1.05]),
            "wrinkle": -dice.uniform(0.1, 0.5, 1) * base.new_tensor([0.8, 1.0, 1.0]),
            "flush": dice.uniform(0.0, 1.0, 1) * base.new_tensor([0.0, -0.3, -0.24]),
            "knuckle": dice.uniform(0.0, 1.0, 1) * base.new_tensor([-0.08, -0.26, -0.24]),
            "nail": toward(nail, nail_amount),
            "nail_edge": dice.uniform(0.0, 0.5, 1) * base.new_tensor([0.8, 1.0, 1.0]),
            "wristband": band
            * toward(dice.uniform(0.02, 0.9, 1) ** 2 + 0.08 * dice.normal(3), band),
        }
        of_kind = {
            **dict.fromkeys(("nail", "nail_edge"), self._config.nails),
            **dict.fromkeys(("crease", "wrinkle"), self._config.creases),
            **dict.fromkeys(("flush", "knuckle"), self._config.blush),
        }
        marks = torch.stack(
            [self._strength * of_kind.get(name, 1.0) * weight[name] for name in SKIN_MARKS], dim=1
        )
        light, red = (
            base.new_tensor(values).repeat_interleave(NOISE_FIELDS) / NOISE_FIELDS**0.5
            for values in (_NOISE_LIGHTNESS, _NOISE_REDNESS)
        )
        amount = self._strength * dice.uniform(0.3, 1.3, 1)
        lightness = amount * dice.normal(len(light)) * light  # (N, fields)
        redness = amount * dice.normal(len(red)) * red
        noise = lightness[..., None] + redness[..., None] * base.new_tensor([0.5, -1.0, -0.8])
        gloss = base.new_zeros(n, len(SKIN_MARKS) + len(light), 1)
        gloss[:, SKIN_MARKS.index("nail"), 0] = (
            self._strength * self._config.nails * dice.uniform(0.5, 2.2)
        )
        gloss[:, SKIN_MARKS.index("wristband"), 0] = band[:, 0] * 1.2
        weights = [torch.cat([torch.cat([marks, noise], dim=1), gloss], dim=2)]
        if max(self._config.veins, self._config.hair) > 0:
            weights.append(self._strength * vein_mix(self._config, dice))
        if max(self._config.rings, self._config.watch) > 0:
            weights.append(adornment_mix(base, self._config, dice))
        shine = np.log(_PLAIN_GLOSS) + dice.uniform(-0.7, 1.0, 1)
        return torch.cat([base, shine], dim=1), torch.cat(weights, dim=1)


def _thing_mix(num_fields: int, dice: Dice) -> tuple[Tensor, Tensor]:
    """Cloth and objects: a colour, some noise, and stripes or checks on some of them."""
    num_noise = NOISE_FIELDS * (len(NOISE_WAVELENGTHS_M) + 1)
    grey = dice.uniform(0.01, 0.9, 1) ** 1.6
    base = (grey + 1e-3).log() + dice.chance(0.6, 1) * 0.45 * dice.normal(3)
    noise = (
        0.035
        * dice.uniform(0.0, 1.6, 1, 1)
        * dice.normal(num_noise, 1)
        * (1.0 + 0.3 * dice.normal(1, 3))
    )
    num_stripes = num_fields - num_noise
    which = torch.nn.functional.one_hot(dice.index(num_stripes), num_stripes)
    striped = dice.chance(0.35, 1) * which  # (N, stripes)
    stripes = striped[..., None] * (dice.normal(1, 1) + 0.5 * dice.normal(1, 3))
    colors = torch.cat([noise.expand(-1, -1, 3), stripes], dim=1)
    weights = torch.cat([colors, torch.zeros_like(colors[..., :1])], dim=2)
    shine = -4.5 + dice.uniform(0.0, 2.6, 1)
    return torch.cat([base.clamp(-4.6, -0.05), shine], dim=1), weights


def _stripes(at_m: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(T, K) square waves, -1 to 1: along the axis, across it, both, of several widths."""
    along = at_m @ axis
    across = (at_m - along[:, None] * axis) @ np.array([0.3, 1.0, 0.7])
    fields = []
    for width in (0.012, 0.03):
        a, b = (np.tanh(4.0 * np.sin(np.pi * x / width)) for x in (along, across))
        fields += [a, b, a * b, np.tanh(4.0 * np.sin(np.pi * (along + across) / width))]
    return np.stack(fields, axis=1)
