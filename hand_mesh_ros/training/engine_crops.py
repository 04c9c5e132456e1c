"""The image engine's crops as batches for image networks.

What a batch of an image network holds (B crops of right hands, S px a side, all float32 unless said
otherwise; m, axes of the crop's camera; uv: crop units, (px + 0.5) / S):

    image (B, 3, S, S) sRGB 0 to 1 · vertices_m (B, V, 3) wrist joint at the origin · root_m (B, 3)
    the wrist · anatomical_m, detector_m (B, 21, 3) keypoints, wrist joint at the origin ·
    anatomical_uv, detector_uv (B, 21, 2) · landmark_cue (B, 21, 3) a detector's uv, weight ·
    K_crop (B, 3, 3) px · rotations (B, 16, 3, 3) · shape (B, 10) · size (B,) true length over the
    length that the labels have: 1, or with `template_size` that over the template's.

Batches that come from the engine alone also have mask (B, S, S), visibility and covered (B, V),
keypoint_visible and keypoint_covered (B, 21), all bool.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_size import HandSize
from hand_mesh_ros.training.landmark_cue import noisy_landmark_cue
from hand_mesh_ros.training.landmark_noise import COVERED_NOISE_SCALE, LandmarkNoise
from hand_mesh_ros.training.synthetic import SyntheticImages
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.task import Batch

KEYPOINTS = ("anatomical", "detector")


class EngineCrops:
    """Renders batches."""

    def __init__(
        self,
        model: HandModel,
        config: SyntheticConfig,
        noise: LandmarkNoise,
        *,
        template_size: bool,
    ) -> None:
        """Draw the bank of poses (seconds).

        Args:
            model: the right hand.
            config: of the images.
            noise: the detector's errors.
            template_size: scale each hand, about the camera, to the template's length: a crop shows
                form and pose, and hardly size.
        """
        self.images = SyntheticImages(model, config)
        self._model, self._noise = model, noise
        self._sizes = HandSizes(model, template_size=template_size)

    def batch(self, n: int, rng: np.random.Generator, device: torch.device) -> Batch:
        """N crops, decided by the state of `rng`."""
        made = self.images.batch(n, int(rng.integers(2**62)), device)
        size_px = made.image.shape[-1]
        K, detector = made.K_crop.cpu().numpy(), made.keypoints_m["detector"].cpu().numpy()
        image_focal_px = K[:, 0, 0] * made.box_px.cpu().numpy() / size_px
        noise_scale = np.where(made.keypoint_covered.cpu().numpy(), COVERED_NOISE_SCALE, 1.0)
        cue = noisy_landmark_cue(
            self._noise, detector, K, image_focal_px, size_px, rng, noise_scale=noise_scale
        )
        size, shape = self._sizes.of(made.shape)
        unit = size[:, None, None]
        return {
            "image": made.image,
            "vertices_m": (made.vertices_m - made.root_m[:, None]) / unit,
            "root_m": made.root_m / size[:, None],
            **{
                f"{name}_m": (made.keypoints_m[name] - made.root_m[:, None]) / unit
                for name in KEYPOINTS
            },
            **{f"{name}_uv": (made.keypoints_px[name] + 0.5) / size_px for name in KEYPOINTS},
            "landmark_cue": torch.from_numpy(cue).to(device),
            "K_crop": made.K_crop,
            "rotations": made.rotations,
            "shape": shape,
            "size": size,
            "mask": made.mask,
            "visibility": made.visibility,
            "covered": made.covered,
            "keypoint_visible": made.keypoint_visible,
            "keypoint_covered": made.keypoint_covered,
        }


class HandSizes:
    """Sizes of hands and their shapes without them; see `EngineCrops`."""

    def __init__(self, model: HandModel, *, template_size: bool) -> None:
        self._model, self._size = model, HandSize(model)
        self._template_size = template_size
        self._template_m = model.hand_length_m(np.zeros(model.shape_dirs_m.shape[2]))

    def of(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) sizes to divide labels by, and (N, S) shapes of the hands after that."""
        if not self._template_size:
            return torch.ones_like(shape[:, 0]), shape
        true = shape.cpu().numpy().astype(np.float64)
        size = self._model.hand_lengths_m(true) / self._template_m
        scaled = np.stack([self._size.scaled(s, 1.0 / r) for s, r in zip(true, size, strict=True)])
        return (
            torch.from_numpy(size).to(shape),
            torch.from_numpy(scaled).to(shape),
        )
