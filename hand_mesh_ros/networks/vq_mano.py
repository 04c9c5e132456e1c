"""VQ-MANO (MaskHand, Saleem et al. 2025, arXiv 2412.13393): a hand's articulation as a few codes.

Fifteen joint rotations go through a convolutional encoder over the joints; each joint becomes a few
tokens, each token the nearest code of one codebook, and a decoder makes rotations of codes again.
The global rotation and the shape are not part of it.

The paper's sizes are not published; what it leaves open is after TokenHMR (Dwivedi et al. 2024).
Ours: any hand model, no token of the wrist, convolutions that stay on the fifteen joints (a joint's
tokens are channels of it until the last moment, which is much cheaper), and a learned place of each
joint, since a thumb is not an index finger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_hand import rotations_from_6d, six_from_rotations
from hand_mesh_ros.networks.layers.vector_quantizer import VectorQuantizer
from hand_mesh_ros.networks.registry import register_network

NUM_JOINTS = 15
"""Those of MANO without the wrist, which only turns the whole hand."""
_DILATIONS = (1, 3)


@dataclass(frozen=True)
class VQManoConfig:
    """Sizes of the tokeniser."""

    tokens_per_joint: int = 1
    codes: int = 256
    """K"""
    code_width: int = 32
    """D"""
    width: int = 96
    """Channels of encoder and decoder."""
    blocks: int = 3
    """Residual blocks of each."""
    decay: float = 0.99
    """Of the moving averages that codes are."""
    dead_below: float = 1.0
    """A code that fewer tokens of a batch choose, on average, is set to another token."""

    def __post_init__(self) -> None:
        for name in ("tokens_per_joint", "code_width", "width", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.codes < 2:
            raise ValueError(f"codes must be at least 2, got {self.codes}")
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")
        if not self.dead_below >= 0.0:
            raise ValueError(f"dead_below must be 0 or more, got {self.dead_below}")

    @property
    def tokens(self) -> int:
        """M, of a hand: those of the first joint come first."""
        return NUM_JOINTS * self.tokens_per_joint

    @classmethod
    def paper(cls) -> VQManoConfig:
        """As near to the paper's 64 tokens as fifteen joints get, with TokenHMR's sizes."""
        return cls(tokens_per_joint=4, codes=2048, code_width=256, width=512)


class Tokenised(NamedTuple):
    """A hand's articulation on its way through the tokeniser."""

    latent: Tensor
    """(B, M, D) before quantisation."""
    index: Tensor
    """(B, M) int64, the nearest codes."""
    rotations: Tensor
    """(B, 15, 3, 3) decoded; gradients go through the codes as if they were the latent."""


@register_network("vq_mano", config=VQManoConfig)
class VQMano(nn.Module):
    """Joint rotations to codes and back."""

    def __init__(self, config: VQManoConfig, model: HandModel) -> None:
        super().__init__()
        self.config = config
        self.encoder = ArticulationEncoder(config)
        self.quantizer = VectorQuantizer(
            config.codes, config.code_width, decay=config.decay, dead_below=config.dead_below
        )
        self.decoder = ArticulationDecoder(config)

    def forward(self, rotations: Tensor) -> dict[str, Tensor]:
        """What is left of articulations after their codes.

        Args:
            rotations: (B, 15, 3, 3) of each joint relative to its parent, mean pose included.

        Returns:
            rotations (B, 15, 3, 3) decoded, and index (B, M) int64.
        """
        done = self.tokenise(rotations)
        return {"rotations": done.rotations, "index": done.index}

    def tokenise(self, rotations: Tensor) -> Tokenised:
        """Encode, quantise and decode; arguments as of `forward`."""
        latent = self.encoder(rotations)
        index = self.quantizer.nearest(latent)
        codes = self.quantizer.codes_of(index)
        passed = latent + (codes - latent).detach()
        return Tokenised(latent, index, self.decoder(passed))

    def encode(self, rotations: Tensor) -> Tensor:
        """(B, M) int64 codes of (B, 15, 3, 3) rotations."""
        return self.quantizer.nearest(self.encoder(rotations))

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        random = torch.Generator().manual_seed(0)
        six = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        six = six + 0.3 * torch.randn(batch, NUM_JOINTS, 6, generator=random)
        return {"rotations": rotations_from_6d(six)}


class ArticulationEncoder(nn.Module):
    """(B, M, D) from (B, 15, 3, 3)."""

    def __init__(self, config: VQManoConfig) -> None:
        super().__init__()
        self.tokens_per_joint = config.tokens_per_joint
        self.start = nn.Conv1d(6, config.width, 3, padding=1)
        self.place = nn.Parameter(0.02 * torch.randn(1, config.width, NUM_JOINTS))
        self.blocks = _blocks(config)
        self.end = nn.Conv1d(config.width, config.tokens_per_joint * config.code_width, 1)

    def forward(self, rotations: Tensor) -> Tensor:
        """Latents of the tokens."""
        # Letters: B hands, J 15 joints, R tokens a joint, D width of a code.
        six = six_from_rotations(rotations).transpose(1, 2)  # (B, 6, J)
        x = self.end(self.blocks(self.start(six) + self.place))  # (B, R D, J)
        x = x.transpose(1, 2).unflatten(2, (self.tokens_per_joint, -1))  # (B, J, R, D)
        return x.flatten(1, 2)


class ArticulationDecoder(nn.Module):
    """(B, 15, 3, 3) from (B, M, D): codes, or means of codes."""

    rest_6d: Tensor

    def __init__(self, config: VQManoConfig) -> None:
        super().__init__()
        self.tokens_per_joint = config.tokens_per_joint
        self.start = nn.Conv1d(
            config.tokens_per_joint * config.code_width, config.width, 3, padding=1
        )
        self.place = nn.Parameter(0.02 * torch.randn(1, config.width, NUM_JOINTS))
        self.blocks = _blocks(config)
        self.end = nn.Conv1d(config.width, 6, 1)
        rest = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        self.register_buffer("rest_6d", rest, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Joint rotations."""
        x = codes.unflatten(1, (NUM_JOINTS, self.tokens_per_joint)).flatten(2)  # (B, J, R D)
        x = self.end(self.blocks(self.start(x.transpose(1, 2)) + self.place))  # (B, 6, J)
        return rotations_from_6d(x.transpose(1, 2) + self.rest_6d)


class _Residual(nn.Module):
    """A dilated convolution over the joints and a linear map, added to what it was given."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.across = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.within = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.within.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, J) from (B, C, J)."""
        return x + self.within(torch.relu(self.across(torch.relu(x))))


def _blocks(config: VQManoConfig) -> nn.Sequential:
    dilations = (_DILATIONS[i % len(_DILATIONS)] for i in range(config.blocks))
    return nn.Sequential(*(_Residual(config.width, d) for d in dilations))
