"""The 21 keypoints of a published hand in the convention that data sets label."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.samples import Convention
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.types import Hand


def hand_keypoints_m(hand: Hand, right: HandModel, convention: Convention) -> np.ndarray:
    """(21, 3) m, camera frame.

    Args:
        hand: as the pipeline gives it; its own keypoints are the detector's.
        right: the right hand of the model whose topology it has.
        convention: of the answer.
    """
    if convention == "detector":
        return hand.keypoints_m
    if hand.pose is None or hand.shape is None:
        # A free mesh. Weights that sum to 1 are the same for both hands.
        return vertex_keypoint_weights(right, "anatomical") @ hand.vertices_m
    model = right if hand.side is Side.RIGHT else right.mirrored()
    posed = model.pose_hand(hand.pose, hand.shape)
    return model.keypoints(posed, hand.shape, "anatomical") + hand.T_camera_wrist[:3, 3]
