"""Training images of hands without a dataset: crops as a detector cuts them, with exact labels.

Poses come from the pose prior, looks from the `synthetic_*` files beside this one. Everything but
the poses is drawn and rendered in torch on the device, a batch at a time; a seed decides all of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_hand import TorchHand
from hand_mesh_ros.training.rasterizer import Raster, rasterize
from hand_mesh_ros.training.synthetic_backgrounds import (
    PictureFolder,
    paint_backgrounds,
    toward_hand,
)
from hand_mesh_ros.training.synthetic_camera import photograph
from hand_mesh_ros.training.synthetic_clutter import add_clutter
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.synthetic_light import (
    Surface,
    cast_shadow,
    draw_lights,
    ground_shadow,
    openness,
    shade,
)
from hand_mesh_ros.training.synthetic_mesh import texel_lookup
from hand_mesh_ros.training.synthetic_scene import Scene
from hand_mesh_ros.training.synthetic_sheet import draw_sheet
from hand_mesh_ros.training.synthetic_textures import GAMMA, Textures
from hand_mesh_ros.training.synthetic_views import PoseBank, Views, draw_views
from hand_mesh_ros.training.synthetic_visibility import (
    covered_by_others,
    keypoint_visibility,
    project,
    vertex_visibility,
)


class SyntheticBatch(NamedTuple):
    """B crops of right hands; m in the frame of the crop's camera, px of the crop.

    That camera looks straight at the crop's middle and holds the hand up, see `cropping.py`.
    """

    image: Tensor
    """(B, 3, S, S) float32 sRGB, 0 to 1."""
    mask: Tensor
    """(B, S, S) bool, where the hand (without forearm) is seen."""
    visibility: Tensor
    """(B, V) bool, vertices that the image shows."""
    covered: Tensor
    """(B, V) bool, vertices that are hidden, and by a thing or another hand."""
    keypoint_visible: Tensor
    """(B, 21) bool, the image shows skin over the anatomical keypoint."""
    keypoint_covered: Tensor
    """(B, 21) bool, likewise for keypoints."""
    vertices_m: Tensor
    """(B, V, 3)"""
    keypoints_m: dict[str, Tensor]
    """(B, 21, 3) by each of the hand model's regressors."""
    keypoints_px: dict[str, Tensor]
    """(B, 21, 2)"""
    K_crop: Tensor
    """(B, 3, 3) of the crop, its principal point the middle: projects onto the hand's pixels."""
    root_m: Tensor
    """(B, 3) the wrist joint."""
    shape: Tensor
    """(B, 10)"""
    rotations: Tensor
    """(B, 16, 3, 3) of each joint relative to its parent; the first into the camera."""
    box_px: Tensor
    """(B,) about how long the crop's side is in the image that it is cut from."""


class SyntheticImages:
    """Renders batches of crops of one right hand model."""

    def __init__(self, model: HandModel, config: SyntheticConfig) -> None:
        """Draw the bank of poses and lay out the scene (seconds).

        Raises:
            ValueError: `background_folder` has no images.
        """
        folder = config.background_folder
        self._folder = None if folder is None else PictureFolder(folder)
        self.config = config
        self._scene = Scene(model, config)
        self._hand = TorchHand(model)
        self._textures = Textures(model, self._scene, config)
        self._bank = PoseBank(model, config.bank_size, config.bank_seed)

    def batch(self, n: int, seed: int, device: torch.device | str = "cpu") -> SyntheticBatch:
        """Render N crops on a device; the same N, seed, device and config give the same batch."""
        if n < 1:
            raise ValueError(f"a batch of {n} images; expected 1 or more")
        for part in (self._scene, self._hand, self._textures, self._bank):
            part.to(device)
        step = self.config.chunk
        with torch.no_grad():
            parts = [
                self._render(
                    Dice(seed, min(step, n - start), torch.device(device)).stream(f"{start}")
                )
                for start in range(0, n, step)
            ]
        return _joined(parts)

    def sheet(self, n: int, seed: int = 0) -> np.ndarray:
        """(H, W, 3) uint8 picture of N samples with their labels, to look at."""
        return draw_sheet(self.batch(n, seed))

    def _render(self, dice: Dice) -> SyntheticBatch:
        config, scene = self.config, self._scene
        views = draw_views(self._bank, self._hand, config, dice.stream("views"))
        vertices = scene.vertices(views, config, dice)
        normals = scene.normals(vertices)
        # Letters: B images, S pixels a side, D points a side (S times the supersampling).
        K_points = _of_points(views.K_crop, config.supersampling)
        px_depth = torch.cat([project(vertices, K_points), vertices[..., 2:]], dim=-1)
        points_a_side = config.size_px * config.supersampling
        raster = rasterize(px_depth, scene.faces, (points_a_side, points_a_side))
        drawn = self._foreground(vertices, normals, raster, views, dice)  # (B, 4, S, S)
        image = self._background(drawn, dice) * (1.0 - drawn[:, 3:]) + drawn[:, :3]
        image = photograph(image, views.box_px, config, dice)
        inside = _inside(views.edges, config.size_px)
        image = torch.where(inside[:, None], image, _beyond(dice.stream("beyond")))

        hand = (raster.face_id >= 0) & (raster.face_id < scene.num_hand_faces)
        hand = avg_pool2d(hand[:, None].float(), config.supersampling)[:, 0] >= 0.5
        whole = inside.repeat_interleave(config.supersampling, 1)
        whole = whole.repeat_interleave(config.supersampling, 2)  # (B, D, D)
        anatomical, num_hand = views.keypoints_m["anatomical"], scene.num_hand
        points, vertex_points = project(anatomical, K_points), px_depth[:, :num_hand, :2]
        visible = vertex_visibility(
            views.vertices_m, normals[:, :num_hand], vertex_points, raster, whole
        )
        seen = keypoint_visibility(anatomical, points, raster, scene.shows, whole)
        return SyntheticBatch(
            image=image,
            mask=hand & inside,
            visibility=visible,
            covered=covered_by_others(visible, vertex_points, raster, scene.first_other_face),
            keypoint_visible=seen,
            keypoint_covered=covered_by_others(seen, points, raster, scene.first_other_face),
            vertices_m=views.vertices_m,
            keypoints_m=views.keypoints_m,
            keypoints_px={k: project(v, views.K_crop) for k, v in views.keypoints_m.items()},
            K_crop=views.K_crop,
            root_m=views.wrist_m,
            shape=views.shape,
            rotations=views.rotations,
            box_px=views.box_px,
        )

    def _background(self, drawn: Tensor, dice: Dice) -> Tensor:
        """(B, 3, S, S) sRGB, with a shadow of what is `drawn` before it (B, 4, S, S)."""
        config = self.config
        size = config.size_px
        image = torch.full((dice.n, 3, size, size), 0.5, device=dice.device)
        if config.textured_background > 0:
            textured = dice.stream("textured").chance(config.textured_background, 1, 1, 1)
            image = torch.where(textured > 0, paint_backgrounds(size, dice.stream("paint")), image)
        if config.clutter > 0:
            image = add_clutter(image, config.clutter, dice.stream("clutter"))
        if self._folder is not None:
            of_folder = dice.stream("of folder").chance(0.5, 1, 1, 1)
            pictures = self._folder.draw(size, dice.stream("folder"))
            image = torch.where(of_folder > 0, pictures, image)
        if config.hand_colored_background > 0:
            share, stream = config.hand_colored_background, dice.stream("hand colored")
            image = toward_hand(image, drawn, share, stream)
        if config.ground_shadow > 0:
            shadow = ground_shadow(drawn[:, 3:], config.ground_shadow, dice.stream("ground shadow"))
            image = image * shadow
        return image

    def _foreground(
        self, vertices: Tensor, normals: Tensor, raster: Raster, views: Views, dice: Dice
    ) -> Tensor:
        """(B, 4, S, S) sRGB times the share of a pixel that is covered, and that share."""
        config, scene = self.config, self._scene
        face_id = raster.face_id.flatten()
        covered = (face_id >= 0).nonzero()[:, 0]  # (P,)
        face, shares = face_id[covered], raster.barycentric.flatten(0, 2)[covered]
        image = covered // raster.face_id[0].numel()
        corners = scene.faces[face] + (image * vertices.shape[1])[:, None]  # (P, 3)
        at_corners = torch.cat([vertices, normals], dim=2).flatten(0, 1)[corners]  # (P, 3, 6)
        mixed = (at_corners * shares[..., None]).sum(1)

        textures = self._textures(dice.stream("textures"))  # (B, T, 4)
        texels, parts = texel_lookup(scene.grid, face, shares)
        texels = texels + (image * textures.shape[1])[:, None]
        texture = (textures.flatten(0, 1)[texels] * parts[..., None]).sum(1)  # (P, 4)

        strength = config.ambient_occlusion
        around = openness(raster.depth, strength).flatten()[covered] if strength > 0 else None
        surface = Surface(
            image=image,
            point_m=mixed[:, :3],
            normal=normalize(mixed[:, 3:], dim=-1),
            albedo=texture[:, :3],
            gloss=texture[:, 3:],
            is_skin=scene.is_skin[face][:, None],
            open=torch.ones_like(shares[:, :1]) if around is None else around[:, None],
        )
        lights = draw_lights(views.vertices_m.mean(1), config, dice.stream("lights"))
        lamp_seen = torch.ones_like(shares[:, :1])
        if config.shadow > 0:
            lit = cast_shadow(vertices, scene.faces, surface.point_m, image, lights)
            lamp_seen = 1.0 - min(config.shadow, 1.0) * (1.0 - lit)
        radiance = shade(surface, lights, lamp_seen, config)
        # A shoulder keeps highlights from clipping hard.
        radiance = torch.where(radiance > 0.7, 1.0 - 0.09 / (radiance - 0.4), radiance)
        points = radiance.new_zeros(len(face_id), 4)  # (B D D, 4)
        points[covered, :3] = radiance.clamp_min(1e-5) ** (1.0 / GAMMA)
        points[covered, 3] = 1.0
        dense = points.unflatten(0, raster.face_id.shape).permute(0, 3, 1, 2)  # (B, 4, D, D)
        return avg_pool2d(dense, config.supersampling)


def _of_points(K: Tensor, supersampling: int) -> Tensor:
    """(B, 3, 3) cameras of the finer grid of points, whose pixels have several of them."""
    scaled = K * K.new_tensor([supersampling, supersampling, 1.0])[:, None]
    scaled[:, :2, 2] += 0.5 * (supersampling - 1)
    return scaled


def _inside(edges: Tensor, size: int) -> Tensor:
    """(B, S, S) bool: crop pixels that lie within the camera's image, by its (B, 4, 3) edges."""
    at = torch.arange(size, device=edges.device, dtype=edges.dtype)
    a, b, c = edges[..., None, None].unbind(2)  # (B, 4, 1, 1)
    return (a * at + b * at[:, None] + c >= 0).all(1)


def _beyond(dice: Dice) -> Tensor:
    """(B, 3, 1, 1) what is put beyond the image's edges: mostly black."""
    grey = dice.uniform(0.0, 1.0, 1, 1, 1) * dice.chance(0.25, 1, 1, 1)
    return grey.expand(-1, 3, 1, 1)


def _joined(parts: list[SyntheticBatch]) -> SyntheticBatch:
    """One batch of several."""
    if len(parts) == 1:
        return parts[0]
    joined = {}
    for name in SyntheticBatch._fields:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], dict):
            joined[name] = {key: torch.cat([v[key] for v in values]) for key in values[0]}
        else:
            joined[name] = torch.cat(values)
    return SyntheticBatch(**joined)
