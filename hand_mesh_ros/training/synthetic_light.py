"""Light on the scene: a lamp with a cast shadow, a second one, sky and ground, shaded crevices.

All of it in linear light; a lamp is at a finite distance from the hand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import (
    affine_grid,
    avg_pool2d,
    grid_sample,
    interpolate,
    normalize,
    pad,
)

from hand_mesh_ros.training.rasterizer import rasterize
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice

SHADOW_MAP_PX = 112
_SHADOW_RADIUS_M = 0.16
"""Of the ball around the hand that the shadow map covers."""
_SHADOW_BIAS_M = 0.004
_CREVICE_SHARES = (0.055, 0.13)
"""Widths of the neighbourhoods that may shade a pixel, of the image's side."""
_CREVICE_DEPTH_M = (0.009, 0.022)


class Lights(NamedTuple):
    """For each of N images; camera frame, linear RGB, 1 is a white surface well exposed."""

    lamp_m: Tensor
    """(N, 3)"""
    lamp_color: Tensor
    """(N, 3)"""
    fill_toward: Tensor
    """(N, 3) unit, to the second lamp."""
    fill_color: Tensor
    """(N, 3)"""
    up: Tensor
    """(N, 3) unit"""
    sky: Tensor
    """(N, 3)"""
    ground: Tensor
    """(N, 3)"""
    shine_power: Tensor
    """(N, 1) Blinn's exponent."""
    shadow_softness: Tensor
    """(N, 1) of the shadow map's side."""
    centre_m: Tensor
    """(N, 3) of the hand."""


class Surface(NamedTuple):
    """P covered pixels."""

    image: Tensor
    """(P,) which image."""
    point_m: Tensor
    """(P, 3) camera frame."""
    normal: Tensor
    """(P, 3) unit."""
    albedo: Tensor
    """(P, 3) linear."""
    gloss: Tensor
    """(P, 1)"""
    is_skin: Tensor
    """(P, 1)"""
    open: Tensor
    """(P, 1) 1 where nothing around shades it, towards 0 in crevices."""


def draw_lights(centre_m: Tensor, config: SyntheticConfig, dice: Dice) -> Lights:
    """Draw lamps around hands at `centre_m` (N, 3); without variety one lamp is at the camera."""
    variety = min(config.lamp_variety, 1.0)
    toward_camera = normalize(-centre_m, dim=-1)
    # Mostly from the camera's side; sometimes from behind.
    toward = normalize(toward_camera + variety * 1.1 * dice.normal(3), dim=-1)
    distance = dice.uniform(-1.4, 1.0, 1).exp()
    near_camera = centre_m.norm(dim=-1, keepdim=True)
    lamp = centre_m + toward * torch.lerp(near_camera, distance, variety)
    white = torch.ones_like(centre_m)

    def tint(amount: float) -> Tensor:
        # From candle to sky, and a little green or magenta.
        warm, green = dice.normal(1), dice.normal(1)
        steps = white.new_tensor([1.0, 0.1, -1.0]), white.new_tensor([-0.3, 0.5, -0.3])
        return (variety * amount * (warm * steps[0] + 0.4 * green * steps[1])).exp()

    share = 0.55 + variety * dice.uniform(-0.4, 0.3, 1)  # of the lamp in all light
    cast = white
    if config.harsh_light > 0:
        share, cast = _harsher(share, config.harsh_light, dice.stream("harsh"))
    exposure = (variety * 0.18 * dice.normal(1)).exp()
    ambient = exposure * (1.0 - share)
    contrast = variety * dice.uniform(0.0, 0.6, 1)
    up = normalize(variety * dice.normal(3) + white.new_tensor([0.0, -1.0, 0.0]), dim=-1)
    return Lights(
        lamp_m=lamp,
        lamp_color=1.15 * exposure * share * tint(0.08) * cast,
        fill_toward=dice.direction(),
        fill_color=variety * exposure * dice.uniform(0.0, 0.35, 1) * tint(0.15),
        up=up,
        sky=ambient * (1.0 + contrast) * tint(0.07) / cast,
        ground=ambient * (1.0 - contrast) * tint(0.08) / cast,
        shine_power=2.0 ** dice.uniform(3.0, 6.0, 1),
        shadow_softness=dice.uniform(0.006, 0.03, 1),
        centre_m=centre_m,
    )


def _harsher(share: Tensor, strength: float, dice: Dice) -> tuple[Tensor, Tensor]:
    """(N, 1) shares of the lamp in all light, larger than before, and (N, 3) its own colour.

    What the lamp has of a colour, the light around lacks: sun and blue sky, bulb and window.
    """
    larger = share + (strength * dice.uniform(0.0, 0.65, 1)).clamp_max(1.0) * (1.0 - share)
    warm = strength * 0.05 * dice.normal(1) * share.new_tensor([1.0, 0.1, -1.0])
    return larger, warm.exp()


def shade(surface: Surface, lights: Lights, lamp_seen: Tensor, config: SyntheticConfig) -> Tensor:
    """(P, 3) linear radiance.

    Args:
        surface: what the pixels see.
        lights: of the images.
        lamp_seen: (P, 1) share of the lamp that shines there, of `cast_shadow`.
        config: has the strengths of specular and subsurface.
    """
    of = surface.image
    n, p = surface.normal, surface.point_m
    skin = config.subsurface * surface.is_skin
    to_lamp = lights.lamp_m[of] - p
    to_centre = (lights.lamp_m - lights.centre_m).norm(dim=-1, keepdim=True)
    square = (to_lamp * to_lamp).sum(-1, keepdim=True)
    toward = to_lamp * square.rsqrt()
    falloff = ((to_centre * to_centre)[of] / square).clamp_max(3.0)
    # Light wraps around the edge of shadow in skin, redder there: it passed through flesh.
    wrap = skin * n.new_tensor([0.32, 0.16, 0.11])
    cosine = (n * toward).sum(-1, keepdim=True)
    diffuse = ((cosine + wrap) / (1.0 + wrap)).clamp_min(0.0)
    seen = lamp_seen ** (1.0 - skin * n.new_tensor([0.4, 0.0, -0.1]))
    lamp = lights.lamp_color[of] * falloff * seen
    fill = lights.fill_color[of] * (
        ((n * lights.fill_toward[of]).sum(-1, keepdim=True) + 0.2) / 1.2
    ).clamp_min(0.0)
    upward = 0.5 + 0.5 * (n * lights.up[of]).sum(-1, keepdim=True)
    ambient = torch.lerp(lights.ground[of], lights.sky[of], upward)
    # In crevices light is reflected more than once: by skin, so it is reddish.
    crevice = surface.open ** (1.0 + surface.is_skin * n.new_tensor([-0.35, 0.05, 0.12]))
    light = lamp * diffuse * (0.4 + 0.6 * crevice) + (ambient + fill) * crevice
    radiance = surface.albedo * light
    if config.specular > 0:
        to_camera = -normalize(p, dim=-1)
        half = normalize(toward + to_camera, dim=-1)
        power = lights.shine_power[of]
        shine = (n * half).sum(-1, keepdim=True).clamp_min(0.0) ** power
        facing = (n * to_camera).sum(-1, keepdim=True).clamp(0.0, 1.0)
        glance = 1.0 + 4.0 * (1.0 - facing) ** 4  # Fresnel: grazing sides mirror more
        lobe = shine * (power + 8.0) / 8.0
        mirrored = lobe * lamp * (cosine > 0) + 0.5 * ambient * crevice * (glance - 1.0)
        radiance = radiance + config.specular * surface.gloss * mirrored
    return radiance


def cast_shadow(
    vertices_m: Tensor, faces: Tensor, surface_point_m: Tensor, image: Tensor, lights: Lights
) -> Tensor:
    """(P, 1) share of the lamp that P points see: a shadow map around the hand, softly read.

    Args:
        vertices_m: (N, W, 3) m, camera frame; absent ones behind the camera.
        faces: (F, 3)
        surface_point_m: (P, 3) m.
        image: (P,) whose point it is.
        lights: of the N images.
    """
    forward = normalize(lights.centre_m - lights.lamp_m, dim=-1)
    # Any frame across the light's direction.
    aside = torch.where(forward[:, :1].abs() < 0.8, forward.new_tensor([1.0, 0.0, 0.0]),
                        forward.new_tensor([0.0, 1.0, 0.0]))  # fmt: skip
    x = normalize(torch.linalg.cross(aside, forward), dim=-1)
    R = torch.stack([x, torch.linalg.cross(forward, x), forward], dim=1)  # (N, 3, 3)
    scale = 0.5 * SHADOW_MAP_PX / _SHADOW_RADIUS_M
    middle = 0.5 * (SHADOW_MAP_PX - 1)

    def to_map(points: Tensor, turn: Tensor) -> Tensor:
        seen = (turn @ points[..., None])[..., 0]
        # Depth in metres from well before the ball; orthographic.
        return torch.cat([seen[..., :2] * scale + middle, seen[..., 2:] + 3.0], dim=-1)

    about = (vertices_m - lights.centre_m[:, None]) @ R.transpose(1, 2)  # (N, W, 3)
    in_map = torch.cat([about[..., :2] * scale + middle, about[..., 2:] + 3.0], dim=-1)
    in_map = torch.where(vertices_m[..., 2:] > 0, in_map, torch.full_like(in_map, -1.0))
    size = (SHADOW_MAP_PX, SHADOW_MAP_PX)
    # Farther sides (back faces of the light) keep a lit skin from shading itself.
    depth = rasterize(in_map, faces[:, [0, 2, 1]], size, near=0.5).depth.flatten()
    place = to_map(surface_point_m - lights.centre_m[image], R[image])  # (P, 3)
    reach = lights.shadow_softness[image] * SHADOW_MAP_PX
    first = image * (SHADOW_MAP_PX * SHADOW_MAP_PX)
    lit = torch.zeros_like(place[:, :1])
    for dx, dy in _TAPS:
        u = (place[:, 0] + dx * reach[:, 0]).round().clamp(0, SHADOW_MAP_PX - 1).long()
        v = (place[:, 1] + dy * reach[:, 0]).round().clamp(0, SHADOW_MAP_PX - 1).long()
        blocker = depth[first + v * SHADOW_MAP_PX + u]
        lit += ((blocker - place[:, 2] + 2 * _SHADOW_BIAS_M) / _SHADOW_BIAS_M).clamp(0, 1)[:, None]
    return lit / len(_TAPS)


_TAPS = ((0.0, 0.0), (0.9, 0.3), (-0.3, 0.9), (-0.9, -0.3), (0.3, -0.9), (0.4, 0.5), (-0.5, 0.4),
         (-0.4, -0.5), (0.5, -0.4))  # fmt: skip


def openness(depth: Tensor, strength: float) -> Tensor:
    """(N, H, W) 1 in the open, less where a pixel lies behind the surfaces around it.

    Unsharp masking of the depth buffer (Luft, Colditz, Deussen 2006), in two sizes.
    """
    covered = torch.isfinite(depth).float()
    known = torch.where(covered > 0, depth, torch.zeros_like(depth))
    both = torch.stack([known, covered], dim=1)  # (N, 2, H, W)
    result = torch.ones_like(depth)
    for share, reach in zip(_CREVICE_SHARES, _CREVICE_DEPTH_M, strict=True):
        total, count = _box_mean(both, 2 * round(0.5 * share * depth.shape[-1]) + 1).unbind(1)
        behind = (known - total / count.clamp_min(1e-6)) / reach
        result = result * (1.0 - 0.42 * strength * behind.clamp(0.0, 1.0))
    return result.clamp_min(0.05)


def _box_mean(values: Tensor, width: int) -> Tensor:
    """(N, C, H, W) mean over a square, zero beyond the edges; one axis after the other."""
    half = width // 2
    for axis, around in ((3, [half, half]), (2, [0, 0, half, half])):
        values = _running_sum(pad(values, around), width, axis) / width
    return values


def _running_sum(values: Tensor, width: int, axis: int) -> Tensor:
    """Sums of `width` neighbours along the axis, which gets shorter by width - 1.

    From sums of 1, 2, 4, ... neighbours: a few additions for any width.
    """
    length = values.shape[axis] - width + 1
    total, start, have = torch.zeros_like(values.narrow(axis, 0, length)), 0, 1
    while True:
        if width & have:
            total += values.narrow(axis, start, length)
            start += have
        if 2 * have > width:
            return total
        left = values.shape[axis] - have
        values = values.narrow(axis, 0, left) + values.narrow(axis, have, left)
        have *= 2


def ground_shadow(covered: Tensor, strength: float, dice: Dice) -> Tensor:
    """(N, 1, H, W) factors of what lies behind: a soft shadow of what is covered, (N, 1, H, W)."""
    size = covered.shape[-1]
    small = avg_pool2d(covered, 4)
    small = _box_mean(_box_mean(small, 3), 2 * (size // 64) + 1)
    shift = 0.25 * dice.normal(2, 1)
    turn = torch.eye(2, device=covered.device).expand(dice.n, 2, 2)
    shape = [dice.n, 1, *small.shape[2:]]
    grid = affine_grid(torch.cat([turn, shift], dim=2), shape, align_corners=False)
    moved = grid_sample(small, grid, padding_mode="border", align_corners=False)
    dark = strength * 0.5 * dice.uniform(0.0, 1.0, 1, 1, 1) * dice.chance(0.45, 1, 1, 1)
    return 1.0 - dark * interpolate(moved, (size, size), mode="bilinear")
