"""MaskHand (Saleem et al. 2025, arXiv 2412.13393): a right hand's crop to codes, and to hands.

A transformer learns the distribution of VQ-MANO's codes (`vq_mano.py`) from crops and partly hidden
codes. A hand is found in a few steps: all codes are hidden at first, the most confident of each
step stay. That is the likeliest one; others are drawn beside it (`maskhand_sampling.py`).

The paper's sizes are not published; what it leaves open is from MoMask and Deformable DETR. Ours:
the global rotation, shape and camera are read off a token of their own, which sees the codes that
are known; any hand model; landmarks in the image by heat-maps; and the likeliest hand is decoded
from the mean code of each token, for there lies the least error. Crop units (uv): (0, 0) is the
outer corner of the crop's top left pixel, (1, 1) of its bottom right one, so
uv = (px + 0.5) / image_size_px.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from hand_mesh_ros.conventions import idx_keypoints_to_mano21
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_hand import TorchHand, rotations_from_6d
from hand_mesh_ros.networks.handmim import HandStep
from hand_mesh_ros.networks.layers.crop_inputs import example_crops
from hand_mesh_ros.networks.layers.deformable_attention import DeformableAttention
from hand_mesh_ros.networks.layers.graph_transformer import GraphTransformerBlock
from hand_mesh_ros.networks.layers.landmark_context import LandmarkContext
from hand_mesh_ros.networks.layers.multi_scale import RESNETS, BackboneName
from hand_mesh_ros.networks.layers.vit import Attention, Mlp
from hand_mesh_ros.networks.maskhand_context import Context, ContextEncoder
from hand_mesh_ros.networks.maskhand_sampling import (
    Sampled,
    TokenPrediction,
    drawn_hands,
    group_means,
    groups,
    likeliest_codes,
)
from hand_mesh_ros.networks.registry import register_network
from hand_mesh_ros.networks.vq_mano import NUM_JOINTS, ArticulationDecoder, VQMano, VQManoConfig

_START_SIDES_PER_M = 4.5
_START_GAIN = 0.01
_ROUNDS = 5
"""Of the groups of drawn hands: more change next to nothing."""
_PLACE_LOGIT = 4.0
"""Of the first places: a token looks at its joint's landmark, and a little at the others."""


@dataclass(frozen=True)
class MaskHandConfig:
    """Sizes, sampling, and the switches of the paper's ablations."""

    tokeniser: VQManoConfig = field(default_factory=VQManoConfig)
    """Of the codes; its weights are trained before, as task vq_mano."""
    backbone: BackboneName = "small"
    image_size_px: int = 224
    stage_width: int = 64
    """Channels of a ResNet's first stage; ImageNet weights fit 64."""
    levels: int = 3
    """Maps that tokens look at; 1 is the ablation without up-sampling."""
    width: int = 384
    heads: int = 6
    points: int = 4
    """Points of deformable attention, a head and level."""
    graph_blocks: int = 2
    """Refinement of the queries; 0 is the ablation without it."""
    layers: int = 6
    pose_cue: bool = True
    """Tokens of the 21 landmarks; False is the ablation without."""
    landmark_cue: bool = True
    """Takes a detector's landmarks beside the image."""
    landmark_context: bool = False
    """Ours: tokens start with what all landmarks together say; much of a pose is learned from that
    alone, long before the image's features are good."""
    cue_stddev: float = 0.03
    """Of their dots, crop units."""
    cue_dropout: float = 0.3
    """Share of training samples that get no cue, so that the network can do without."""
    steps: int = 5
    """T, in which all codes become known."""
    num_hypotheses: int = 1
    """H, the likeliest hand and others."""
    num_draws: int = 64
    """N, from H - 1 on: hands that are drawn; each hypothesis stands for a group of them."""
    drawn_share: float = 1.0 / 3.0
    """Of a drawn hand's codes; the others are what they are on average beside these."""
    temperature: float = 1.0
    """Of drawn codes; 0: the most probable ones."""
    keypoints: Literal["anatomical", "detector"] = "anatomical"
    """Which of the hand model's keypoints all 21 are, in the image and in space."""

    def __post_init__(self) -> None:
        for name in ("stage_width", "levels", "heads", "points", "layers", "steps"):
            _at_least(name, getattr(self, name), 1)
        _at_least("num_hypotheses", self.num_hypotheses, 1)
        _at_least("num_draws", self.num_draws, max(1, self.num_hypotheses - 1))
        _at_least("graph_blocks", self.graph_blocks, 0)
        for name, known in (
            ("backbone", get_args(BackboneName)),
            ("keypoints", ("anatomical", "detector")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.width < 1 or self.width % self.heads or self.width % 4:
            raise ValueError(f"width must be a multiple of heads and of 4, got {self.width}")
        most = 4 if self.backbone in RESNETS else 3
        if self.levels > most:
            raise ValueError(f"levels must be 1 to {most} for {self.backbone}, got {self.levels}")
        multiple = 32 if self.backbone in RESNETS else 16
        if self.image_size_px < 64 or self.image_size_px % multiple:
            raise ValueError(
                f"image_size_px must be a multiple of {multiple} from 64 on for {self.backbone}, "
                f"got {self.image_size_px}"
            )
        if not self.cue_stddev > 0.0:
            raise ValueError(f"cue_stddev must be positive, got {self.cue_stddev}")
        if not 0.0 <= self.cue_dropout < 1.0:
            raise ValueError(f"cue_dropout must be in [0, 1), got {self.cue_dropout}")
        if not 0.0 < self.drawn_share <= 1.0:
            raise ValueError(f"drawn_share must be in (0, 1], got {self.drawn_share}")
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")

    @classmethod
    def small(cls) -> MaskHandConfig:
        """Below 16 million parameters; trains on a CPU, and takes the ResNet of small M3DHMR."""
        return cls(
            backbone="resnet18",
            image_size_px=128,
            width=192,
            layers=4,
            points=2,
            graph_blocks=1,
            landmark_context=True,
        )


@register_network("maskhand", config=MaskHandConfig)
class MaskHand(nn.Module):
    """A crop of a right hand (a left one mirrored) to the likeliest hand, and to others."""

    codebook: Tensor
    """(K, D) of the tokeniser."""

    def __init__(self, config: MaskHandConfig, model: HandModel) -> None:
        super().__init__()
        self.config, self.num_tokens = config, config.tokeniser.tokens
        width, tokens = config.width, config.tokeniser.tokens
        self.context = ContextEncoder(
            config.backbone,
            config.image_size_px,
            width=width,
            levels=config.levels,
            stage_width=config.stage_width,
            cue_stddev=config.cue_stddev,
            cue_dropout=config.cue_dropout,
        )
        self.register_buffer(
            "codebook", torch.zeros(config.tokeniser.codes, config.tokeniser.code_width)
        )
        self.decoder = ArticulationDecoder(config.tokeniser).requires_grad_(False)
        self.hand = TorchHand(model)
        self.embed = nn.Linear(config.tokeniser.code_width, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.token_place = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.hand_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.whole = nn.Linear(width, width)
        self.looks_at = nn.Parameter(_first_places(config.tokeniser))
        self.together = LandmarkContext(width, 1 + tokens) if config.landmark_context else None
        queries = 1 + tokens + (21 if config.pose_cue else 0)
        self.graph = nn.ModuleList(
            GraphTransformerBlock(queries, width, config.heads) for _ in range(config.graph_blocks)
        )
        self.fuse = nn.Linear(config.graph_blocks * width, width) if config.graph_blocks else None
        finest = self.context.sizes[-1]
        self.layers = nn.ModuleList(SynthesisLayer(config, finest) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.to_logits = nn.Sequential(
            *(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)),
            nn.Linear(width, config.tokeniser.codes),
        )
        self.to_hand = nn.Sequential(
            *(nn.Linear(width, width), nn.GELU()), nn.Linear(width, 9 + self.hand.num_shape)
        )
        with torch.no_grad():
            last = cast(nn.Linear, self.to_hand[-1])
            last.weight.mul_(_START_GAIN)
            last.bias.zero_()
            last.bias[:6] = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
            last.bias[-3] = torch.tensor(_START_SIDES_PER_M).log()

    def forward(
        self, image: Tensor, landmark_cue: Tensor | None = None, draws: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Reconstruct a batch.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            landmark_cue: (B, 21, 3) u, v in crop units and a weight from 0 (unknown) to 1. None is
                the same as all unknown.
            draws: (B, N, 2, M) uniform random numbers in [0, 1), which decide the hypotheses
                beside the likeliest one; None for that one alone.

        Returns:
            Of the likeliest hand the fields of `HandStep` by name, where keypoints_uv are the
            landmarks that the image shows; score (B,), the share of the codes' variance that the
            image explains. With draws also hypotheses_vertices_m (B, H, V, 3), wrist joint at the
            origin, the likeliest first, and hypotheses_score (B, H), probabilities: the share of
            all hands, drawn and likeliest, that each one is nearest to; 0 where it is not needed.

        Raises:
            ValueError: a shape does not fit.
        """
        context = self.context(image, landmark_cue)
        values = self.values_of(context)
        sampled = self.sampled(context, values)
        step = self.posed(sampled.embedding, sampled.hand, context.uv)
        found = {**step._asdict(), "score": sampled.explained}
        if draws is None:
            return found
        wanted = (self.config.num_draws, 2, self.num_tokens)
        if draws.dim() != 4 or draws.shape[1:] != wanted:
            raise ValueError(
                f"draws must be (B, {', '.join(map(str, wanted))}) for num_draws and tokens, "
                f"got {tuple(draws.shape)}"
            )
        return {**found, **self.hypotheses(context, values, sampled, step.vertices_m, draws)}

    def sampled(self, context: Context, values: list[list[Tensor]]) -> Sampled:
        """The likeliest hands; values are those of `values_of`."""
        nothing = torch.zeros_like(context.uv[:, :1, 0], dtype=torch.int64)
        return likeliest_codes(
            lambda codes, masked: self.predicted(context, values, codes, masked),
            self.codebook,
            nothing.expand(-1, self.num_tokens),
            steps=self.config.steps,
        )

    def hypotheses(
        self,
        context: Context,
        values: list[list[Tensor]],
        likeliest: Sampled,
        vertices_m: Tensor,
        draws: Tensor,
    ) -> dict[str, Tensor]:
        """Hands beside the likeliest ones, whose (B, V, 3) vertices are given; see `forward`."""
        # Letters: B crops, N draws, H hypotheses, M tokens, D width of a code, V vertices.
        number, many, config = self.config.num_hypotheses, self.config.num_draws, self.config
        of_draws = Context(context.maps, *(_repeated(x, many) for x in context[1:]))
        drawn = drawn_hands(
            lambda codes, masked: self.predicted(of_draws, values, codes, masked),
            self.codebook,
            _repeated(likeliest.first_logits, many),
            draws.flatten(0, 1),
            tokens=max(1, round(config.drawn_share * self.num_tokens)),
            temperature=config.temperature,
        )
        # Articulations are compared: all hands are turned and shaped as the likeliest one is.
        alike = self.posed(drawn.embedding, _repeated(likeliest.hand, many), of_draws.uv)
        points = alike.vertices_m.unflatten(0, (-1, many)) - vertices_m[:, None]  # (B, N, V, 3)
        points = (points - points.mean(2, keepdim=True)).flatten(2)
        members = groups(points, number, rounds=_ROUNDS)  # (B, H, N)
        codes = drawn.embedding.flatten(1).unflatten(0, (-1, many))  # (B, N, M D)
        codes = group_means(members, codes, likeliest.embedding.flatten(1)).flatten(0, 1)
        hand = group_means(members, drawn.hand.unflatten(0, (-1, many)), likeliest.hand)
        step = self.posed(
            codes.unflatten(1, (self.num_tokens, -1)),  # (B H, M, D)
            hand.flatten(0, 1),
            _repeated(context.uv, number),
        )
        count = members.sum(2)  # (B, H)
        return {
            "hypotheses_vertices_m": step.vertices_m.unflatten(0, (-1, number)),
            "hypotheses_score": torch.cat([count[:, :1] + 1.0, count[:, 1:]], dim=1) / (many + 1),
        }

    def predicted(
        self, context: Context, values: list[list[Tensor]], codes: Tensor, masked: Tensor
    ) -> TokenPrediction:
        """One pass of the transformer.

        Args:
            context: of N hands; its maps are not needed.
            values: of `values_of`, of B crops where each comes N / B times in a row.
            codes: (N, M, D) of the codebook, or means of some; what is masked does not matter.
            masked: (N, M) bool.
        """
        tokens = torch.where(masked[..., None], self.mask_token, self.embed(codes))  # (N, M, C)
        tokens = tokens + self.token_place
        hand = self.hand_token + self.whole(context.whole)[:, None]  # (N, 1, C)
        places = torch.softmax(self.looks_at, dim=1) @ context.uv  # (N, 1 + M, 2)
        x = torch.cat([hand, tokens], dim=1)
        if self.together is not None:
            x = x + self.together(context.uv)
        if self.config.pose_cue:
            x = torch.cat([x, context.landmarks], dim=1)  # (N, 1 + M + 21, C)
            places = torch.cat([places, context.uv], dim=1)
        if self.fuse is not None:
            refined, y = [], x
            for block in self.graph:
                y = block(y)
                refined.append(y)
            x = x + self.fuse(torch.cat(refined, dim=2))
        for layer, of_layer in zip(self.layers, values, strict=True):
            x = layer(x, places, of_layer)
        x = self.norm(x)
        return TokenPrediction(self.to_logits(x[:, 1 : 1 + self.num_tokens]), self.to_hand(x[:, 0]))

    def values_of(self, context: Context) -> list[list[Tensor]]:
        """Every layer's maps: they do not depend on the tokens, so all passes share them."""
        layers = cast("list[SynthesisLayer]", list(self.layers))
        return [layer.look.values(context.maps) for layer in layers]

    def posed(self, embedding: Tensor, hand: Tensor, uv: Tensor) -> HandStep:
        """The hand of (N, M, D) codes and `TokenPrediction.hand`; uv are given on."""
        shape, camera = hand[:, 6:-3], hand[:, -3:]
        turn = rotations_from_6d(hand[:, :6])[:, None]  # (N, 1, 3, 3)
        rotations = torch.cat([turn, self.decoder(embedding)], dim=1)  # (N, 16, 3, 3)
        posed = self.hand(rotations, shape)
        keypoints = self.hand.keypoints(posed, shape, self.config.keypoints)
        scale, wrist = camera[:, :1].exp(), uv[:, 0].detach() + camera[:, 1:]
        return HandStep(
            posed.vertices_m, keypoints, uv, rotations, shape, torch.cat([scale, wrist], dim=1)
        )

    def take_tokeniser(self, tokeniser: VQMano) -> None:
        """Its codes and its decoder, which stay as they are.

        Raises:
            ValueError: its config is another.
        """
        if tokeniser.config != self.config.tokeniser:
            raise ValueError(
                f"the tokeniser is {tokeniser.config}, this network is made for "
                f"{self.config.tokeniser}; set network.tokeniser to it, or train another"
            )
        self.codebook.copy_(tokeniser.quantizer.codebook)
        self.decoder.load_state_dict(tokeniser.decoder.state_dict())

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        config = self.config
        inputs = example_crops(batch, config.image_size_px, landmark_cue=config.landmark_cue)
        if config.num_hypotheses > 1:
            shape = (batch, config.num_draws, 2, self.num_tokens)
            inputs["draws"] = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        return inputs


class SynthesisLayer(nn.Module):
    """Tokens among themselves, then at the maps, then each alone."""

    def __init__(self, config: MaskHandConfig, finest: int) -> None:
        super().__init__()
        width = config.width
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width)
        self.look = DeformableAttention(
            width, config.heads, levels=config.levels, points=config.points, finest=finest
        )
        self.norm3, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: Tensor, places_uv: Tensor, values: list[Tensor]) -> Tensor:
        """(N, Q, C) tokens after it; values of B crops, each of N / B hands in a row."""
        x = x + self.attention(self.norm1(x))
        hands, tokens = x.shape[0] // values[0].shape[0], x.shape[1]
        # To look, all tokens of a crop are one row: (B, N / B Q, C).
        of_crop, places = (
            y.unflatten(0, (-1, hands)).flatten(1, 2) for y in (self.norm2(x), places_uv)
        )
        seen = self.look(of_crop, places, values)
        x = x + seen.unflatten(1, (hands, tokens)).flatten(0, 1)
        return x + self.mlp(self.norm3(x))


def _first_places(config: VQManoConfig) -> Tensor:
    """(1 + M, 21) logits: the hand's token looks at all landmarks, the others at their joint's."""
    places = torch.zeros(1 + config.tokens, 21)
    for joint in range(NUM_JOINTS):
        first = 1 + joint * config.tokens_per_joint
        keypoint = int(idx_keypoints_to_mano21[1 + joint])
        places[first : first + config.tokens_per_joint, keypoint] = _PLACE_LOGIT
    return places


def _repeated(x: Tensor, times: int) -> Tensor:
    """(B times, ...) from (B, ...), each one several times in a row."""
    return x[:, None].expand(-1, times, *(-1,) * (x.dim() - 1)).flatten(0, 1)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
