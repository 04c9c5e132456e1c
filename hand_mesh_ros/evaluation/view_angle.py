"""From which side a hand is seen: errors depend on it more than on anything else."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.conventions import Side

_WRIST, _INDEX_MCP, _LITTLE_MCP = 0, 5, 17


def view_angles_deg(keypoints_m: np.ndarray, side: Side) -> np.ndarray:
    """Angle at which the palm is seen: 0 from the palm's side, 90 edge on, 180 from the back.

    Args:
        keypoints_m: (..., 21, 3) m, camera frame, wrist in front of the camera.
        side: of all these hands.

    Returns:
        (...) degrees.
    """
    wrist = keypoints_m[..., _WRIST, :]
    to_index = keypoints_m[..., _INDEX_MCP, :] - wrist
    to_little = keypoints_m[..., _LITTLE_MCP, :] - wrist
    # Fingers up and the palm towards the viewer, a right hand's index finger is to the right.
    out_of_palm = np.cross(to_index, to_little) * (1.0 if side is Side.RIGHT else -1.0)
    to_camera = -(wrist + keypoints_m[..., _INDEX_MCP, :] + keypoints_m[..., _LITTLE_MCP, :])
    cosine = (out_of_palm * to_camera).sum(-1) / (
        np.linalg.norm(out_of_palm, axis=-1) * np.linalg.norm(to_camera, axis=-1)
    )
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
