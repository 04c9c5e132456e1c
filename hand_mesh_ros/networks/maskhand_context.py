"""What MaskHand's tokens look at: maps of the crop at several scales, and its 21 landmarks."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from hand_mesh_ros.networks.layers.crop_inputs import check_crop
from hand_mesh_ros.networks.layers.gaussian_maps import gaussian_maps
from hand_mesh_ros.networks.layers.graph_transformer import SkeletonGraph
from hand_mesh_ros.networks.layers.landmark_cue import landmark_numbers
from hand_mesh_ros.networks.layers.multi_scale import BackboneName, multi_scale_maps

_HEATMAP_WIDTH = 64
_FIRST_TRUST = 10.0
"""Of heat-maps in the cue: the share of a cell that it names is e to the power of this."""


class Context(NamedTuple):
    """Of B crops; C is the tokens' width."""

    maps: list[Tensor]
    """(B, C, h, w) of every level, coarse to fine."""
    whole: Tensor
    """(B, C) the coarsest map's mean."""
    landmarks: Tensor
    """(B, 21, C) tokens of the pose cue."""
    uv: Tensor
    """(B, 21, 2) where the landmarks seem to be, crop units."""


class ContextEncoder(nn.Module):
    """Image and landmark cue to a `Context`."""

    def __init__(
        self,
        backbone: BackboneName,
        image_size_px: int,
        *,
        width: int,
        levels: int,
        stage_width: int,
        cue_stddev: float,
        cue_dropout: float,
    ) -> None:
        """Build it; the arguments are fields of `MaskHandConfig`."""
        super().__init__()
        self.image_size_px = image_size_px
        self.cue_stddev, self.cue_dropout = cue_stddev, cue_dropout
        self.maps = multi_scale_maps(
            backbone, image_size_px, width, levels, stage_width=stage_width
        )
        # Zero at the start: the maps are what they are without a cue.
        self.cue = nn.ModuleList(nn.Conv2d(21, width, 3, padding=1, bias=False) for _ in self.sizes)
        for layer in self.cue:
            nn.init.zeros_(cast(nn.Conv2d, layer).weight)
        self.heatmaps = nn.Sequential(
            nn.Conv2d(width, _HEATMAP_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_HEATMAP_WIDTH, 21, 1),
        )
        self.trust = nn.Parameter(torch.tensor(_FIRST_TRUST))
        self.skeleton = SkeletonGraph(width + 5, width)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells a side of each map, coarse to fine."""
        return tuple(self.image_size_px // stride for stride in self.maps.strides)

    def forward(self, image: Tensor, landmark_cue: Tensor | None) -> Context:
        """Encode a batch; arguments as of `MaskHand.forward`.

        Raises:
            ValueError: a shape does not fit.
        """
        check_crop(image, self.image_size_px)
        maps = self.maps(image)
        if landmark_cue is None:
            landmark_cue = image.new_zeros(image.shape[0], 21, 3)
        numbers = landmark_numbers(landmark_cue, dropout=self.cue_dropout if self.training else 0.0)
        weight = numbers[..., 2:]  # (B, 21, 1)
        maps = [
            x
            + layer(
                gaussian_maps(landmark_cue[..., :2], cells, self.cue_stddev) * weight[..., None]
            )
            for x, layer, cells in zip(maps, self.cue, self.sizes, strict=True)
        ]
        # At the start landmarks are where the cue says, in the middle where it says nothing.
        finest = self.sizes[-1]
        near = gaussian_maps(landmark_cue[..., :2], finest, max(self.cue_stddev, 1.0 / finest))
        uv = _centres(self.heatmaps(maps[-1]) + self.trust * near * weight[..., None])
        # align_corners=False puts -1 and 1 on the outer corners, where uv has 0 and 1.
        grid = (2.0 * uv - 1.0)[:, :, None]  # (B, 21, 1, 2)
        seen = nn.functional.grid_sample(maps[-1], grid, padding_mode="border", align_corners=False)
        seen = seen[..., 0].transpose(1, 2)  # (B, 21, C)
        landmarks = self.skeleton(torch.cat([uv - 0.5, numbers, seen], dim=2))
        return Context(maps, maps[0].mean((2, 3)), landmarks, uv)


def _centres(logits: Tensor) -> Tensor:
    """(B, N, 2) crop units: mean place under each of (B, N, h, w) heat-maps (soft arg-max)."""
    cells = logits.shape[-1]
    share = torch.softmax(logits.flatten(2), dim=2).unflatten(2, (cells, cells))
    at = (torch.arange(cells, dtype=logits.dtype, device=logits.device) + 0.5) / cells
    return torch.stack([share.sum(2) @ at, share.sum(3) @ at], dim=2)
