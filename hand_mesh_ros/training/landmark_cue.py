"""A detector's landmarks as image networks take them: with the errors that detectors make."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.training.landmark_noise import LandmarkNoise


def noisy_landmark_cue(
    noise: LandmarkNoise,
    keypoints_m: np.ndarray,
    K_crop: np.ndarray,
    image_focal_px: np.ndarray,
    size_px: int,
    rng: np.random.Generator,
    *,
    noise_scale: np.ndarray | float = 1.0,
) -> np.ndarray:
    """(N, 21, 3) float32 u, v in crop units and weight 1, as a detector might see these hands.

    Args:
        noise: measured errors.
        keypoints_m: (N, 21, 3) "detector" convention, axes of the crops' cameras.
        K_crop: (N, 3, 3) px.
        image_focal_px: (N,) of the images that the crops are cut from: small hands are seen worse.
        size_px: S of the crops.
        rng: source of all randomness.
        noise_scale: (N, 21) or broadcast to it, factor on the errors.
    """
    seen = noise.observe(keypoints_m, image_focal_px, rng, noise_scale=noise_scale)
    px = seen.rays * K_crop[:, None, [0, 1], [0, 1]] + K_crop[:, None, :2, 2]
    uv = (px + 0.5) / size_px
    return np.concatenate([uv, np.ones_like(uv[..., :1])], axis=2).astype(np.float32)
