"""Which place of the hand each cell of a crop shows: truth for dense maps of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.rasterizer import rasterize
from hand_mesh_ros.training.task import Batch


class DenseTruth(nn.Module):
    """Renders places of the hand at rest, as seen in crops."""

    faces: Tensor
    rest: Tensor

    def __init__(self, model: HandModel, unit_m: float) -> None:
        """Keep the mesh at rest, wrist at the origin, in units of `unit_m`."""
        super().__init__()
        rest = (model.template_m - model.joint_template_m[0]) / unit_m
        self.register_buffer("rest", torch.tensor(rest, dtype=torch.float32), persistent=False)
        faces = torch.tensor(model.faces.astype("int64"))
        self.register_buffer("faces", faces, persistent=False)

    def forward(self, batch: Batch, cells: int) -> tuple[Tensor, Tensor]:
        """Share of each cell that shows the hand, and the place of the hand at its middle.

        Args:
            batch: of the image engine, keys as in `engine_crops.py`.
            cells: along each side of the crop.

        Returns:
            (B, cells, cells) shares, 0 where the cell's middle misses the hand; and
            (B, 3, cells, cells) places, which mean something where the share is more than a half.
        """
        mask = batch["mask"].float()
        share = nn.functional.interpolate(mask[:, None], (cells, cells), mode="area")[:, 0]
        scale = cells / mask.shape[-1]
        vertices = batch["vertices_m"] + batch["root_m"][:, None]
        ray = vertices @ batch["K_crop"].transpose(1, 2)
        px = ray[..., :2] / ray[..., 2:].clamp_min(1e-6)
        place_px = (px + 0.5) * scale - 0.5  # of the cells
        seen = rasterize(
            torch.cat([place_px, vertices[..., 2:]], dim=2), self.faces, (cells, cells)
        )
        hit = seen.face_id >= 0
        corners = self.rest[self.faces[seen.face_id.clamp_min(0)]]  # (B, cells, cells, 3, 3)
        place = (corners * seen.barycentric[..., None]).sum(3)  # (B, cells, cells, 3)
        return share * hit, place.permute(0, 3, 1, 2)
