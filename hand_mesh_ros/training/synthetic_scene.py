"""All that is drawn in front of the background, as one mesh: arm, sleeve, second arm, objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.synthetic_forearm import Forearm
from hand_mesh_ros.training.synthetic_mesh import (
    Texels,
    cube_grid,
    incident_faces,
    vertex_normals,
)
from hand_mesh_ros.training.synthetic_objects import (
    ABSENT_M,
    CELLS,
    held_objects,
    passing_objects,
    pinched_objects,
)
from hand_mesh_ros.training.synthetic_views import Views
from hand_mesh_ros.training.synthetic_visibility import skin_over_keypoints


@dataclass(frozen=True, eq=False)
class TextureParts:
    """Points in rest pose that carry texture: the scene's faces refer to them in this order."""

    skin: Texels
    sleeve: Texels
    thing: Texels
    """Of one object; there are two, one after the other."""


class Scene(nn.Module):
    """Topology of the scene, and its vertices for a batch of views.

    Vertices: arm, sleeve, second arm (a left hand), second sleeve, held object, passing object.
    """

    faces: Tensor
    grid: Tensor
    incident: Tensor
    is_skin: Tensor
    cube: Tensor
    shows: Tensor

    def __init__(self, model: HandModel, config: SyntheticConfig) -> None:
        super().__init__()
        self.forearm = Forearm(model)
        self.num_hand_faces, self.num_hand = len(model.faces), len(model.template_m)
        arm, sleeve = self.forearm.skin_faces, self.forearm.sleeve_faces
        cube, thing = cube_grid(CELLS)
        self.first_other_face = len(arm) + len(sleeve)
        mirrored = slice(None), [0, 2, 1]
        # A face listed with its corners in another order has the same texels.
        skin_texels = Texels.of(np.concatenate([arm, arm[mirrored]]), config.skin_detail)
        sleeve_texels = Texels.of(np.concatenate([sleeve, sleeve[mirrored]]), config.skin_detail)
        thing_texels = Texels.of(thing, config.skin_detail)
        self.parts = TextureParts(skin_texels, sleeve_texels, thing_texels)

        num_skin, num_sleeve = self.forearm.num_skin, self.forearm.num_sleeve
        sizes = [num_skin, num_sleeve, num_skin, num_sleeve, len(cube), len(cube)]
        starts = np.cumsum([0, *sizes])
        listed = [arm, sleeve, arm[mirrored], sleeve[mirrored], thing, thing]
        faces = np.concatenate([f + s for f, s in zip(listed, starts[:-1], strict=True)])
        first_sleeve = len(skin_texels.corners)
        first_thing = first_sleeve + len(sleeve_texels.corners)
        grids = [
            skin_texels.grid[: len(arm)],
            sleeve_texels.grid[: len(sleeve)] + first_sleeve,
            skin_texels.grid[len(arm) :],
            sleeve_texels.grid[len(sleeve) :] + first_sleeve,
            thing_texels.grid + first_thing,
            thing_texels.grid + first_thing + len(thing_texels.corners),
        ]
        is_skin = np.concatenate(
            [np.full(len(f), k in (0, 2)) for k, f in enumerate(listed)]
        ).astype(np.float32)
        for name, values in (
            ("faces", faces.astype(np.int64)),
            ("grid", np.concatenate(grids)),
            ("incident", incident_faces(faces, int(starts[-1]))),
            ("is_skin", is_skin),
            ("cube", cube.astype(np.float32)),
            ("shows", skin_over_keypoints(model, len(arm) - len(model.faces), len(faces))),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def vertices(self, views: Views, config: SyntheticConfig, dice: Dice) -> Tensor:
        """(N, W, 3) m, camera frame; what is absent lies behind the camera."""
        arms = self.forearm.dress(views.vertices_m, views.rotations[:, 0], dice.stream("forearm"))
        has_sleeve = dice.stream("sleeve").chance(config.sleeve)[:, None, None] > 0
        gone = arms.skin_m.new_tensor([0.0, 0.0, ABSENT_M])
        sleeve = torch.where(has_sleeve, arms.sleeve_m, gone)

        # The second hand is the next sample's in a mirror, put beside this one.
        beside = dice.stream("second hand")
        middle = views.vertices_m.mean(1)  # (N, 3)
        offset = torch.cat(
            [
                beside.direction(2) * beside.uniform(0.05, 0.2, 1),
                0.05 * beside.normal(1),
            ],
            dim=1,
        )
        present = beside.chance(config.second_hand)[:, None, None] > 0
        flip = middle.new_tensor([-1.0, 1.0, 1.0])
        to_place = (middle + offset - (flip * middle).roll(1, 0))[:, None]
        second = torch.where(present, flip * arms.skin_m.roll(1, 0) + to_place, gone)
        second_sleeve = flip * arms.sleeve_m.roll(1, 0) + to_place
        second_sleeve = torch.where(present & has_sleeve, second_sleeve, gone)

        keypoints = views.keypoints_m["anatomical"]
        held = held_objects(self.cube, keypoints, config, dice.stream("held object"))
        if config.pinched_object > 0:
            pinched = pinched_objects(self.cube, keypoints, config, dice.stream("pinched object"))
            held = torch.where(pinched[..., 2:] > 0, pinched, held)
        passing = passing_objects(self.cube, keypoints, config, dice.stream("passing object"))
        return torch.cat([arms.skin_m, sleeve, second, second_sleeve, held, passing], dim=1)

    def normals(self, vertices: Tensor) -> Tensor:
        """(N, W, 3) unit, outwards."""
        return vertex_normals(vertices, self.faces, self.incident)
