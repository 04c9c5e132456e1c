"""AMVUR (Jiang et al. 2023, arXiv 2304.14299): a right hand's crop to a mesh and how sure it is.

A prior-net gives the hand that a hand model can have; attention of vertices to joints and to each
other gives a Gaussian for every coordinate of the mesh, which training holds near the prior. While
training, meshes are drawn from the Gaussians; afterwards the mesh is their mean.

Ours: any hand model, and a prior-net by anatomical angles (`amvur_prior.py`); a choice between
tokens for all vertices and, as in the authors' code, for a quarter of them, whose features are then
interpolated; the optional landmark cue; a wrist at the origin exactly, and deviations about the
hand's centre, since where the hand is has its own. Crop units (uv): (0, 0) is the outer corner of
the crop's top left pixel, (1, 1) the bottom right one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mesh_levels import NUM_LEVELS
from hand_mesh_ros.hand_models.torch_precision import in_single_precision
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.networks.amvur_prior import CameraHead, PriorHand, PriorNet, project
from hand_mesh_ros.networks.amvur_texture import TextureName, TextureNet
from hand_mesh_ros.networks.amvur_vertices import UNIT_M, FullyConnected, VertexRegressor
from hand_mesh_ros.networks.layers.crop_inputs import check_crop, example_crops
from hand_mesh_ros.networks.layers.image_features import EncoderName, ImageEncoder, ImageFeatures
from hand_mesh_ros.networks.layers.landmark_cue import cue_network, optional_numbers
from hand_mesh_ros.networks.registry import register_network

PRIOR_STDDEV_M = 0.01
"""The prior distribution's deviation: what the paper's variance of 1 is in."""
_LARGEST_LOG = 6.0
"""Of a variance, in units of the prior's: deviations from 0.5 to 200 mm."""

Parts = Literal["both", "prior", "amvur"]
Regressor = Literal["fully_connected", "self_attention", "cross_attention"]


@dataclass(frozen=True)
class AMVURConfig:
    """Sizes, and the switches of the paper's tables 1 and 5."""

    encoder: EncoderName = "resnet50"
    """The paper has resnet50, and efficientnet_b0 for weak supervision."""
    image_size_px: int = 224
    parts: Parts = "both"
    """"prior" is the prior-net alone, which knows no deviations; "amvur" has no pose."""
    regressor: Regressor = "cross_attention"
    """Of vertices: experiments A (fully connected), B (self-attention alone), C and D."""
    positions: Literal["index", "template"] = "template"
    """What tells tokens apart: a learned vector each (B, C), or their place at rest (D)."""
    mesh_level: int = 0
    """Of the mesh whose vertices have tokens: 0 has all of them, 2 a quarter."""
    widths: tuple[int, ...] = (512, 128, 64)
    """Of the tokens, one entry for each round of cross- and self-attention."""
    heads: int = 4
    layers: int = 4
    """Of self-attention in each round."""
    from_prior: bool = False
    """Ours: tokens know where the prior's vertices lie, and means are corrections of them. Needs
    much less training than means from nothing, which the paper has; needs both parts."""
    hidden: int = 512
    """Of the prior-net's and the camera's small networks."""
    perspective: bool = True
    """False: the paper's weak perspective."""
    texture: TextureName = "none"
    """A colour for each vertex; "global" and "one_color" are there to be compared with."""
    texture_width: int = 128
    landmark_cue: bool = False
    """Takes a detector's landmarks beside the image."""
    cue_dropout: float = 0.1
    """Share of training samples that get no cue, so that the network can do without."""
    keypoints: Literal["anatomical", "detector"] = "anatomical"
    """Which of the hand model's keypoints all 21 are, in the image and in space."""

    def __post_init__(self) -> None:
        for name, known in (
            ("encoder", get_args(EncoderName)),
            ("parts", get_args(Parts)),
            ("regressor", get_args(Regressor)),
            ("positions", ("index", "template")),
            ("texture", get_args(TextureName)),
            ("keypoints", ("anatomical", "detector")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name in ("heads", "layers", "hidden", "texture_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, widths in (("widths", self.widths), ("texture_width", (self.texture_width,))):
            if not widths or any(w < 1 or w % self.heads for w in widths):
                raise ValueError(
                    f"{name} must be multiples of heads, which is {self.heads}; "
                    f"got {getattr(self, name)}"
                )
        if not 0 <= self.mesh_level < NUM_LEVELS:
            raise ValueError(f"mesh_level must be 0 to {NUM_LEVELS - 1}, got {self.mesh_level}")
        if self.image_size_px < 64 or self.image_size_px % 32:
            raise ValueError(
                f"image_size_px must be a multiple of 32 from 64 on, got {self.image_size_px}"
            )
        if self.from_prior and self.parts == "amvur":
            raise ValueError('from_prior is true with parts "amvur", expected false: no prior')
        if not 0.0 <= self.cue_dropout < 1.0:
            raise ValueError(f"cue_dropout must be in [0, 1), got {self.cue_dropout}")

    @classmethod
    def small(cls) -> AMVURConfig:
        """Below 15 million parameters, for small crops; still takes ImageNet weights."""
        return cls(
            encoder="resnet18",
            image_size_px=128,
            mesh_level=2,
            widths=(128, 64),
            layers=2,
            from_prior=True,
            texture_width=64,
        )


class MeshDistribution(NamedTuple):
    """A Gaussian for every coordinate of B meshes; m, crop's axes, wrist joint at the origin."""

    mean_m: Tensor
    """(B, V, 3)"""
    stddev_m: Tensor
    """(B, V, 3) about the hand's centre."""


class Estimate(NamedTuple):
    """What the network makes of B crops: distributions, not yet a hand."""

    camera: Tensor
    """(B, 3) or (B, 4) mean, see `amvur_prior.project`."""
    prior: PriorHand | None
    """None where the network is AMVUR alone."""
    mesh: MeshDistribution | None
    """None where it is the prior-net alone."""
    features: ImageFeatures

    @property
    def vertices_m(self) -> Tensor:
        """(B, V, 3) means."""
        if self.mesh is not None:
            return self.mesh.mean_m
        assert self.prior is not None  # a network has one part at least
        return self.prior.vertices_m


@register_network("amvur", config=AMVURConfig)
class AMVUR(nn.Module):
    """A crop of a right hand (a left one mirrored) to mesh, deviations, pose and colours."""

    keypoint_weights: Tensor
    wrist_weights: Tensor

    def __init__(self, config: AMVURConfig, model: HandModel) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config.encoder)
        channels = self.encoder.whole_channels
        self.cue = cue_network(channels, config.hidden) if config.landmark_cue else None
        self.camera = CameraHead(channels, config.hidden, perspective=config.perspective)
        self.prior = None
        if config.parts != "amvur":
            self.prior = PriorNet(channels, config.hidden, model, config.keypoints)
        self.vertices: nn.Module | None = None
        if config.parts != "prior":
            if config.regressor == "fully_connected":
                self.vertices = FullyConnected(channels, config.hidden, len(model.template_m))
            else:
                self.vertices = VertexRegressor(channels, config, model)
        self.texture = None
        if config.texture != "none":
            self.texture = TextureNet(
                config.texture, self.encoder, config.texture_width, config.heads, model
            )
        # Saved with the weights: fitted numbers may differ in their last digits elsewhere.
        keypoints = vertex_keypoint_weights(model, config.keypoints)
        wrist = vertex_keypoint_weights(model, "anatomical")[:1]
        self.register_buffer("keypoint_weights", torch.tensor(keypoints, dtype=torch.float32))
        self.register_buffer("wrist_weights", torch.tensor(wrist, dtype=torch.float32))

    def forward(self, image: Tensor, landmark_cue: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruct a batch; in training mode, draw the mesh from its distribution.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            landmark_cue: (B, 21, 3) u, v in crop units and a weight from 0 (unknown) to 1. None is
                the same as all unknown.

        Returns:
            vertices_m (B, V, 3) and keypoints_m (B, 21, 3), crop's axes, wrist joint at the origin;
            keypoints_uv (B, 21, 2) in crop units; camera (B, 3) or (B, 4), see
            `amvur_prior.project`. But for the prior-net alone: vertex_stddev_m
            (B, V) and keypoint_stddev_m (B, 21), of a coordinate about the hand's centre. But for
            AMVUR alone: rotations (B, 16, 3, 3) and shape (B, 10) of the prior's hand. With a
            texture: vertex_colors (B, V, 3) RGB in [0, 1].
        """
        estimate = self.estimate(image, landmark_cue)
        vertices, keypoints = self.hand_of(estimate)
        out = {
            "vertices_m": vertices,
            "keypoints_m": keypoints,
            "keypoints_uv": project(keypoints, estimate.camera),
            "camera": estimate.camera,
        }
        if estimate.mesh is not None:
            variance = estimate.mesh.stddev_m.square()
            out["vertex_stddev_m"] = variance.mean(2).sqrt()
            out["keypoint_stddev_m"] = self.keypoint_variance(variance).mean(2).sqrt()
        if estimate.prior is not None:
            out["rotations"], out["shape"] = estimate.prior.rotations, estimate.prior.shape
        if self.texture is not None:
            out["vertex_colors"] = self.texture(image, estimate.features, vertices, estimate.camera)
        return out

    def estimate(self, image: Tensor, landmark_cue: Tensor | None = None) -> Estimate:
        """The distributions, for losses; arguments as of `forward`."""
        check_crop(image, self.config.image_size_px)
        features = self.encoder(image)
        cue = optional_numbers(
            landmark_cue,
            features.whole,
            reader=self.cue,
            dropout=self.config.cue_dropout if self.training else 0.0,
        )
        if self.cue is not None:
            features = features._replace(whole=features.whole + self.cue(cue.flatten(1)))
        whole = features.whole
        prior = None if self.prior is None else self.prior(whole)
        mesh = None
        if self.vertices is not None:
            # Detached: the prior's own losses say what it is.
            start = prior.vertices_m.detach() if prior and self.config.from_prior else None
            mean, log_variance = self.vertices(whole, cue, start)
            mesh = self._distribution(mean, log_variance, start)
        return Estimate(self.camera(whole), prior, mesh, features)

    @in_single_precision
    def _distribution(
        self, mean: Tensor, log_variance: Tensor, start: Tensor | None
    ) -> MeshDistribution:
        """From (B, V, 3) numbers of the regressor, and (B, V, 3) m that its means start from."""
        mean = UNIT_M * mean if start is None else start + UNIT_M * mean
        mean = mean - self.wrist_weights @ mean
        log_variance = _LARGEST_LOG * torch.tanh(log_variance / _LARGEST_LOG)
        return MeshDistribution(mean, PRIOR_STDDEV_M * torch.exp(0.5 * log_variance))

    def hand_of(self, estimate: Estimate) -> tuple[Tensor, Tensor]:
        """(B, V, 3) vertices and (B, 21, 3) keypoints: means, or drawn while training."""
        vertices, mesh = estimate.vertices_m, estimate.mesh
        if mesh is None and estimate.prior is not None:
            return vertices, estimate.prior.keypoints_m
        if mesh is not None and self.training:
            vertices = vertices + mesh.stddev_m * torch.randn_like(vertices)
        return vertices, self.keypoint_weights @ vertices

    def keypoint_variance(self, variance: Tensor) -> Tensor:
        """(B, 21, 3) of the keypoints, from (B, V, 3) of the vertices, any unit.

        Neighbours err alike, so errors do not cancel as independent ones would: the mean variance
        of the vertices that a keypoint is made of.
        """
        weights = self.keypoint_weights.abs()
        return (weights / weights.sum(dim=1, keepdim=True)) @ variance

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Start the encoder from torchvision's weights; ValueError where they are another's."""
        self.encoder.load_imagenet(state)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of the right shapes; `forward(**inputs)`."""
        config = self.config
        return example_crops(batch, config.image_size_px, landmark_cue=config.landmark_cue)
