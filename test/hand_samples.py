"""Hands made of plain numbers, for tests of everything that publishes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.hand_models.hand_model import HandModel, KeypointRegressor
from hand_mesh_ros.types import Detection, Hand

NUM_VERTICES, NUM_FACES = 60, 100


def small_hand_model(side: Side = Side.RIGHT) -> HandModel:
    """A right hand's model with a small random mesh: only its topology matters here."""
    rng = np.random.default_rng(1)
    weights = rng.random((NUM_VERTICES, 16))
    regressor = KeypointRegressor(np.zeros(21, int), np.zeros((21, 3)), np.zeros((21, 3, 10)))
    model = HandModel(
        name="test_hand",
        side=Side.RIGHT,
        template_m=rng.random((NUM_VERTICES, 3)),
        faces=rng.integers(0, NUM_VERTICES, (NUM_FACES, 3)).astype(np.int32),
        shape_dirs_m=np.zeros((NUM_VERTICES, 3, 10)),
        joint_regressor=np.full((16, NUM_VERTICES), 1.0 / NUM_VERTICES),
        skinning_weights=weights / weights.sum(1, keepdims=True),
        keypoint_regressors={"detector": regressor},
        flexion_axes=np.tile([0.0, 0.0, 1.0], (16, 1)),
    )
    return model if side is Side.RIGHT else model.mirrored()


def sample_hand(side: Side = Side.RIGHT, *, track_id: int = 7, seed: int = 0, **changes) -> Hand:
    """A hand whose every number is different."""
    rng = np.random.default_rng(seed)
    T = np.eye(4)
    T[:3, 3] = 0.1, -0.05, 0.6
    hand = Hand(
        track_id=track_id,
        side=side,
        side_score=0.97,
        score=0.9,
        T_camera_wrist=T,
        root_covariance=np.arange(36.0).reshape(6, 6),
        root_source=RootSource.REPROJECTION,
        keypoints_m=rng.normal(0.0, 0.05, (21, 3)) + T[:3, 3],
        keypoints_px=rng.uniform(0.0, 480.0, (21, 2)),
        vertices_m=rng.normal(0.0, 0.05, (NUM_VERTICES, 3)) + T[:3, 3],
        pose=rng.normal(0.0, 0.5, 48),
        shape=rng.normal(0.0, 1.0, 10),
        box_px=np.array([100.4, 50.6, 200.2, 180.0]),
        grasp_aperture_m=0.043,
        model="landmark_fit",
        hand_model="test_hand",
    )
    return replace(hand, **changes)


def sample_detection(
    side: Side = Side.LEFT, *, seed: int = 0, with_depth: bool = True
) -> Detection:
    """A detection whose every number is different."""
    rng = np.random.default_rng(seed)
    keypoints_px = rng.uniform(0.0, 480.0, (21, 2))
    return Detection(
        side=side,
        side_score=0.8,
        score=0.75,
        keypoints_px=keypoints_px,
        keypoints_rel_m=rng.normal(0.0, 0.05, (21, 3)) if with_depth else None,
        box_px=np.concatenate([keypoints_px.min(0), keypoints_px.max(0)]),
    )
