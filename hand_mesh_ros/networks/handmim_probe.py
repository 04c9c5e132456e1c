"""The probe of HandMIM's section 4.3.1: what two small networks read off a frozen transformer.

2.5D: keypoints in the crop and their depth about the wrist's; with the camera's intrinsics and the
wrist's depth these are 3D keypoints. Ours: they read the class token and the patches' mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.handmim import UNIT_M
from hand_mesh_ros.networks.handmim_pretrain import check_vit
from hand_mesh_ros.networks.layers.crop_inputs import example_crops
from hand_mesh_ros.networks.layers.vit import SIZES, VisionTransformer, ViTName
from hand_mesh_ros.networks.registry import register_network


@dataclass(frozen=True)
class HandMIMProbeConfig:
    """Sizes."""

    backbone: ViTName = "small"
    image_size_px: int = 224
    hidden: int = 512
    """Of both three-layer networks."""

    def __post_init__(self) -> None:
        check_vit(self.backbone, self.image_size_px, 0.0)
        if self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")


@register_network("handmim_probe", config=HandMIMProbeConfig)
class HandMIMProbe(nn.Module):
    """A frozen transformer and what is learned to be read off it."""

    def __init__(self, config: HandMIMProbeConfig, model: HandModel) -> None:
        super().__init__()
        self.config = config
        self.backbone = VisionTransformer(config.backbone, config.image_size_px)
        self.backbone.train_last_blocks(0)
        width = 2 * SIZES[config.backbone].width
        self.normalize = nn.BatchNorm1d(width, affine=False)
        self.place = _three_layers(width, config.hidden, 42)
        self.depth = _three_layers(width, config.hidden, 21)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Read keypoints off a batch.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].

        Returns:
            keypoints_uv (B, 21, 2) in crop units, and depth_m (B, 21) about the wrist joint's.
        """
        tokens = self.backbone(image)
        x = self.normalize(torch.cat([tokens.cls, tokens.patches.mean(1)], dim=1))
        return {
            "keypoints_uv": 0.5 + self.place(x).unflatten(1, (21, 2)),
            "depth_m": UNIT_M * self.depth(x),
        }

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        return example_crops(batch, self.config.image_size_px)


def lifted(keypoints_uv: Tensor, depth_m: Tensor, K_crop: Tensor, image_size_px: int) -> Tensor:
    """(B, 21, 3) m in the crop's camera, of keypoints at these distances along its axis.

    Args:
        keypoints_uv: (B, 21, 2) crop units.
        depth_m: (B, 21) from the camera.
        K_crop: (B, 3, 3) px of the crop.
        image_size_px: side of the crop.
    """
    px = keypoints_uv * image_size_px - 0.5
    focal = torch.stack([K_crop[:, 0, 0], K_crop[:, 1, 1]], dim=1)[:, None]
    rays = (px - K_crop[:, None, :2, 2]) / focal
    return torch.cat([rays * depth_m[..., None], depth_m[..., None]], dim=2)


def _three_layers(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(width, hidden), nn.ReLU()),
        *(nn.Linear(hidden, hidden), nn.ReLU()),
        nn.Linear(hidden, outputs),
    )
