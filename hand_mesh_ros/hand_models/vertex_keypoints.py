"""Keypoints of a free mesh: 21 weighted means of its vertices, fitted to a hand model (numpy).

A hand model's own keypoints hang on its joints, which a mesh without a skeleton does not have.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.pose_prior import PosePrior

NUM_NEAREST = 64
"""Vertices that a keypoint is made of. With 16 the error is half as large again."""
VERTEX_NOISE_M = 2.5e-4
"""Error of a vertex that the weights are to bear; without it they grow large and cancel."""
_NUM_HANDS = 300
_SEED = 0


@lru_cache(maxsize=8)
def vertex_keypoint_weights(model: HandModel, regressor: str) -> np.ndarray:
    """(21, V) weights, rows summing to 1, that give the named regressor's keypoints.

    Least squares over hands of the pose prior. On other hands of the open hand model they are
    0.2 mm off for "anatomical" and 0.3 mm for "detector" (means).
    """
    vertices, keypoints = sample_hands(model, regressor, _NUM_HANDS, _SEED)
    at_rest = model.keypoints_at_rest(regressor) + model.joint_template_m[0]
    weights = np.zeros((21, len(model.template_m)))
    for k in range(21):
        distance = np.linalg.norm(model.template_m - at_rest[k], axis=1)
        near = np.argsort(distance, kind="stable")[:NUM_NEAREST]
        # About the mean of the vertices, weights that sum to anything leave the same error; the
        # share that is missing from 1 is spread evenly.
        mean = vertices[:, near].mean(axis=1)  # (N, 3)
        A = (vertices[:, near] - mean[:, None]).transpose(0, 2, 1).reshape(-1, len(near))
        b = (keypoints[:, k] - mean).reshape(-1)  # (N 3,)
        ridge = len(b) * VERTEX_NOISE_M**2 * np.eye(len(near))
        w = np.linalg.solve(A.T @ A + ridge, A.T @ b)
        weights[k, near] = w + (1.0 - w.sum()) / len(near)
    return weights


def sample_hands(
    model: HandModel, regressor: str, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N, V, 3) vertices and (N, 21, 3) keypoints of random hands; m, wrist at the origin."""
    prior = PosePrior(model)
    samples = prior.sample(n, np.random.default_rng(seed))
    vertices, keypoints = [], []
    for local, shape in zip(samples.rotations(prior.anatomy), samples.shape, strict=True):
        hand = model.pose_rotations(local, shape)
        vertices.append(hand.vertices_m)
        keypoints.append(model.keypoints(hand, shape, regressor))
    return np.stack(vertices), np.stack(keypoints)
