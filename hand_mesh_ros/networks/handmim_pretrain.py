"""The student of HandMIM's pre-training (Li et al. 2025, Front. Phys. 12:1515842, section 3).

A vision transformer, a head that turns its tokens into pseudo keypoints, and a pyramid that paints
pixels; `handmim_pretrain_losses.py` says what they learn. What the paper leaves open is from iBOT
(Zhou et al. 2022), on which it builds. Ours: 4096 pseudo keypoints, so that their numbers are as
many as iBOT's outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.layers.crop_inputs import example_crops
from hand_mesh_ros.networks.layers.distillation import DistillationHead
from hand_mesh_ros.networks.layers.pixel_decoder import NUM_STEPS, PixelDecoder
from hand_mesh_ros.networks.layers.vit import (
    PATCH_PX,
    SIZES,
    VisionTransformer,
    ViTName,
    ViTTokens,
)
from hand_mesh_ros.networks.registry import register_network


@dataclass(frozen=True)
class HandMIMPretrainConfig:
    """Sizes, and the switches of the paper's table 7."""

    backbone: ViTName = "small"
    image_size_px: int = 224
    drop_path: float = 0.1
    pose_loss: bool = True
    """Class tokens of different views."""
    token_loss: bool = True
    """Hidden patch tokens of the same view."""
    pixel_loss: bool = True
    pose_alignment: bool = True
    """False leaves crop and rotation in the class token, as in iBOT."""
    pseudo_keypoints: int = 4096
    head_hidden: int = 2048
    head_bottleneck: int = 256
    decoder_blocks: tuple[int, ...] = (3, 6, 9, 12)
    """Blocks (1 is the first) that the pixels' pyramid takes tokens of, the deepest last."""
    decoder_widths: tuple[int, ...] = (256, 128, 64, 32)
    """Channels after each of its four doublings."""

    def __post_init__(self) -> None:
        check_vit(self.backbone, self.image_size_px, self.drop_path)
        for name in ("pseudo_keypoints", "head_hidden", "head_bottleneck"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.pose_loss or self.token_loss or self.pixel_loss):
            raise ValueError("pose_loss, token_loss and pixel_loss are all false; nothing to learn")
        blocks, most = self.decoder_blocks, SIZES[self.backbone].blocks
        rising = list(blocks) == sorted(set(blocks)) and all(1 <= b <= most for b in blocks)
        if len(blocks) != NUM_STEPS or not rising:
            raise ValueError(
                f"decoder_blocks must be {NUM_STEPS} rising numbers from 1 to {most}, got {blocks}"
            )
        if len(self.decoder_widths) != NUM_STEPS or min(self.decoder_widths) < 1:
            raise ValueError(
                f"decoder_widths must be {NUM_STEPS} numbers from 1 on, got {self.decoder_widths}"
            )

    @classmethod
    def small(cls) -> HandMIMPretrainConfig:
        """The transformer of `HandMIMConfig.small`, with a head and decoder that fit it."""
        return cls(
            backbone="tiny",
            image_size_px=128,
            drop_path=0.0,
            pseudo_keypoints=512,
            head_hidden=512,
            head_bottleneck=128,
            decoder_widths=(64, 48, 32, 16),
        )


def check_vit(backbone: str, image_size_px: int, drop_path: float) -> None:
    """Refuse what no transformer of ours can be built with; raises ValueError."""
    if backbone not in get_args(ViTName):
        raise ValueError(f"backbone must be one of {get_args(ViTName)}, got {backbone!r}")
    if image_size_px < 2 * PATCH_PX or image_size_px % PATCH_PX:
        raise ValueError(
            f"image_size_px must be a multiple of {PATCH_PX} from {2 * PATCH_PX} on, "
            f"got {image_size_px}"
        )
    if not 0.0 <= drop_path < 1.0:
        raise ValueError(f"drop_path must be in [0, 1), got {drop_path}")


@register_network("handmim_pretrain", config=HandMIMPretrainConfig)
class HandMIMPretrain(nn.Module):
    """The student: what `backbone` learns here, the mesh network starts from."""

    def __init__(self, config: HandMIMPretrainConfig, model: HandModel) -> None:
        super().__init__()
        self.config = config
        self.backbone = VisionTransformer(
            config.backbone, config.image_size_px, drop_path=config.drop_path, masked=True
        )
        width = SIZES[config.backbone].width
        self.head = None
        if config.pose_loss or config.token_loss:
            # One head for class and patch tokens: they are answered in the same space.
            outputs = 2 * config.pseudo_keypoints
            self.head = DistillationHead(width, config.head_hidden, config.head_bottleneck, outputs)
        self.decoder = PixelDecoder(width, config.decoder_widths) if config.pixel_loss else None

    def tokens(self, image: Tensor, mask: Tensor | None = None) -> ViTTokens:
        """Tokens of images, with those of the blocks that the pixels are made from."""
        return self.backbone(image, mask, take=self.config.decoder_blocks)

    def pixels(self, tokens: ViTTokens) -> Tensor:
        """(B, 3, S, S) painted images with ImageNet's colours taken to mean 0 and deviation 1.

        Raises:
            ValueError: it has no decoder.
        """
        if self.decoder is None:
            raise ValueError("this network paints no pixels; set pixel_loss in its config")
        return self.decoder(tokens.taken, self.backbone.grid, self.backbone.grid)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Encode a batch, and paint it where there is a decoder.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            mask: (B, N) bool, hidden patches; None hides nothing.

        Returns:
            cls (B, D), patches (B, N, D), and pixels (B, 3, S, S) RGB, about 0 to 1.
        """
        tokens = self.tokens(image, mask)
        out = {"cls": tokens.cls, "patches": tokens.patches}
        if self.decoder is not None:
            out["pixels"] = self.backbone.colors.inverse(self.pixels(tokens))
        return out

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        return example_crops(batch, self.config.image_size_px)
