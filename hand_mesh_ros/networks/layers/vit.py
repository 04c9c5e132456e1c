"""Vision transformers of patch 16 (Dosovitskiy et al. 2021), with timm's parameter names.

Ours: the mask token, outputs of blocks on the way, and colours normalised inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from hand_mesh_ros.networks.layers.imagenet import NormalizeColors

PATCH_PX = 16
ViTName = Literal["tiny", "small", "base", "large"]
_NORM_EPS = 1e-6
_INIT_STDDEV = 0.02
_MASK_TOKEN = "mask_token"


class ViTSize(NamedTuple):
    """What the sizes differ in; the MLP is four times as wide as the tokens."""

    width: int
    blocks: int
    heads: int


SIZES: dict[ViTName, ViTSize] = {
    "tiny": ViTSize(192, 12, 3),
    "small": ViTSize(384, 12, 6),
    "base": ViTSize(768, 12, 12),
    "large": ViTSize(1024, 24, 16),
}


class ViTTokens(NamedTuple):
    """What a transformer makes of B images with N patches each."""

    cls: Tensor
    """(B, D) class token."""
    patches: Tensor
    """(B, N, D), row by row."""
    taken: tuple[Tensor, ...]
    """(B, N, D) patches after each of the blocks that were asked for, not normalised."""


class VisionTransformer(nn.Module):
    """Images in [0, 1] to a class token and patch tokens."""

    def __init__(
        self, name: ViTName, image_size_px: int, *, drop_path: float = 0.0, masked: bool = False
    ) -> None:
        """Build it with random weights.

        Args:
            name: its size.
            image_size_px: side of the images that position embeddings are kept for; others (of
                multiples of 16) get interpolated ones.
            drop_path: share of samples that skip the last block while training; it rises linearly
                from 0 at the first.
            masked: has a mask token, so that patches can be hidden.
        """
        super().__init__()
        self.size, self.grid = SIZES[name], image_size_px // PATCH_PX
        width, blocks, heads = self.size
        self.colors = NormalizeColors()
        self.patch_embed = PatchEmbedding(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if masked else None
        rates = [drop_path * i / (blocks - 1) for i in range(blocks)]
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.apply(_initialise)
        for token in (self.cls_token, self.pos_embed, self.mask_token):
            if token is not None:
                nn.init.trunc_normal_(token, std=_INIT_STDDEV)

    def forward(
        self, image: Tensor, mask: Tensor | None = None, *, take: tuple[int, ...] = ()
    ) -> ViTTokens:
        """Run all blocks.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], sides multiples of 16.
            mask: (B, N) bool, patches that are replaced by the mask token.
            take: numbers of blocks, 1 is the first, whose outputs are wanted as well.

        Raises:
            ValueError: a shape does not fit, or there is no mask token.
        """
        if image.dim() != 4 or image.shape[1] != 3 or image.shape[2] % 16 or image.shape[3] % 16:
            raise ValueError(
                f"image is {tuple(image.shape)}, expected (B, 3, H, W) with multiples of 16"
            )
        rows, columns = image.shape[2] // PATCH_PX, image.shape[3] // PATCH_PX
        # Letters: B images, N patches, D width.
        patches = self.patch_embed(self.colors(image))  # (B, N, D)
        if mask is not None:
            patches = self._hide(patches, mask)
        first = self.cls_token.expand(image.shape[0], -1, -1)
        x = torch.cat([first, patches], dim=1)  # (B, 1 + N, D)
        x = x + self._positions(rows, columns)
        taken = {}
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in take:
                taken[number] = x[:, 1:]
        x = self.norm(x)
        return ViTTokens(x[:, 0], x[:, 1:], tuple(taken[number] for number in take))

    def train_last_blocks(self, number: int) -> None:
        """Freeze all but the last `number` blocks and the final norm; 0 freezes all.

        Raises:
            ValueError: there are not so many.
        """
        if not 0 <= number <= len(self.blocks):
            raise ValueError(f"{number} trained blocks, expected 0 to {len(self.blocks)}")
        self.requires_grad_(False)
        blocks = cast("list[Block]", list(self.blocks))
        frozen = len(blocks) - number
        for block in blocks[:frozen]:
            block.drop_path = 0.0  # what is not trained need not be made robust
        for module in (*blocks[frozen:], *([self.norm] if number else [])):
            module.requires_grad_(True)

    def _hide(self, patches: Tensor, mask: Tensor) -> Tensor:
        if self.mask_token is None:
            raise ValueError("this transformer has no mask token; build it with masked=True")
        if mask.shape != patches.shape[:2] or mask.dtype != torch.bool:
            wanted = tuple(patches.shape[:2])
            raise ValueError(f"mask is {mask.dtype} {tuple(mask.shape)}, expected bool {wanted}")
        return torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + N, D) of the class token and all patches."""
        if rows == columns == self.grid:
            return self.pos_embed
        return resized_positions(self.pos_embed, rows, columns)


class PatchEmbedding(nn.Module):
    """One linear map of each patch's pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH_PX, PATCH_PX)

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, D) from (B, 3, H, W)."""
        return self.proj(image).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention and MLP, each normalised before and added to what it was given."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) tokens after it."""
        x = x + self._dropped(self.attn(self.norm1(x)))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, branch: Tensor) -> Tensor:
        """Nothing, for some samples; the others make up for it (stochastic depth)."""
        if not self.training or self.drop_path == 0.0:
            return branch
        kept = 1.0 - self.drop_path
        return branch * (torch.rand(len(branch), 1, 1, device=branch.device) < kept) / kept


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) what each token gathers from all."""
        # Letters: B images, T tokens, H heads, C channels of a head.
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # (B, T, 3, H, C)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, C)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).flatten(2))  # (B, T, D)


class Mlp(nn.Module):
    """Four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) from (B, T, D)."""
        return self.fc2(nn.functional.gelu(self.fc1(x)))


def resized_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """(1, 1 + rows columns, D) position embeddings from (1, 1 + G G, D) ones, by bicubic curves."""
    side = round((positions.shape[1] - 1) ** 0.5)
    of_cls, of_patches = positions[:, :1], positions[:, 1:]
    maps = of_patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (1, D, G, G)
    maps = nn.functional.interpolate(maps, (rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([of_cls, maps.flatten(2).transpose(1, 2)], dim=1)


def load_vit_weights(network: VisionTransformer, state: Mapping[str, Tensor]) -> None:
    """Start from weights under timm's names; position embeddings are fitted to the image size.

    Names that the network does not have (a classifier's) are left out, and a mask token that the
    weights do not have stays as it is.

    Raises:
        ValueError: a tensor is missing there or has another shape.
    """
    taken: dict[str, Tensor] = {}
    for name, own in network.state_dict().items():
        given = state.get(name)
        if given is None and name == _MASK_TOKEN:
            continue
        if given is None:
            raise ValueError(f"ViT weights: {name!r} is missing; expected timm's names, patch 16")
        if name == "pos_embed" and given.shape != own.shape and given.shape[2:] == own.shape[2:]:
            given = resized_positions(given, network.grid, network.grid)
        if given.shape != own.shape:
            raise ValueError(
                f"ViT weights: {name!r} is {tuple(given.shape)}, the network's is "
                f"{tuple(own.shape)}; are they of another size?"
            )
        taken[name] = given
    network.load_state_dict(taken, strict=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.trunc_normal_(module.weight, std=_INIT_STDDEV)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
