"""One row of numbers for each hand of each frame, kept on the disk until a table is made of them.

A recording may last for hours, so rows are never gathered in memory.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.hand_model import HandModel, forward_kinematics
from hand_mesh_ros.joint_angles import JointAngles
from hand_mesh_ros.processing.outputs import Answer
from hand_mesh_ros.ros.messages import T_camera_root, quaternion_xyzw
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.types import Hand

_ROWS_AT_ONCE = 4096

HAND_ROW = np.dtype(
    [
        ("frame_index", "<i4"),
        ("stamp_ns", "<i8"),
        ("track_id", "<u4"),
        ("side", "u1"),  # 0 left, 1 right
        ("side_score", "<f4"),
        ("score", "<f4"),
        ("root_source", "u1"),  # HandMesh.root_source
        ("root_position_m", "<f8", (3,)),
        ("root_quaternion_xyzw", "<f8", (4,)),
        ("root_covariance_m_rad", "<f8", (6, 6)),
        ("keypoints_m", "<f4", (21, 3)),
        ("keypoint_stddev_m", "<f4", (21,)),
        ("keypoints_px", "<f4", (21, 2)),
        ("joints_m", "<f4", (16, 3)),
        ("pose_rad", "<f4", (48,)),
        ("shape", "<f4", (10,)),
        ("joint_angles_rad", "<f4", (21,)),
        ("box_px", "<f4", (4,)),
        ("grasp_aperture_m", "<f4"),
    ]
)
"""Columns of all tables; camera frame, orders of `conventions.py`; NaN where not estimated."""
FRAME_ROW = np.dtype([("stamp_ns", "<i8"), ("num_hands", "<u4")])
"""One for each processed frame, those without hands included."""


class HandRows:
    """Rows of hands and of frames, in the order of the recording."""

    def __init__(self, hand_model: HandModel, folder: Path) -> None:
        """Keep rows in nameless files in `folder`."""
        self._models = {Side.RIGHT: hand_model, Side.LEFT: hand_model.mirrored()}
        self._joint_angles = JointAngles(hand_model)
        self.angle_names = self._joint_angles.names
        self.hands = Spool(HAND_ROW, folder)
        self.frames = Spool(FRAME_ROW, folder)

    def add(self, answer: Answer) -> None:
        """Append the hands of one frame."""
        hands = answer.result.hands
        rows = np.zeros(len(hands), HAND_ROW)
        for row, hand in zip(rows, hands, strict=True):
            row["frame_index"], row["stamp_ns"] = answer.index, answer.frame.stamp_ns
            self._fill(row, hand)
        self.hands.append(rows)
        self.frames.append(np.array([(answer.frame.stamp_ns, len(hands))], FRAME_ROW))

    def close(self) -> None:
        """Let go of the files; safe to call twice."""
        self.hands.close()
        self.frames.close()

    def _fill(self, row: np.void, hand: Hand) -> None:
        T = T_camera_root(hand)
        row["root_position_m"], row["root_quaternion_xyzw"] = T[:3, 3], quaternion_xyzw(T[:3, :3])
        row["root_covariance_m_rad"] = hand.root_covariance
        for name in ("track_id", "side", "side_score", "score", "root_source", "keypoints_m"):
            row[name] = getattr(hand, name)
        for name in ("keypoint_stddev_m", "keypoints_px", "shape", "box_px", "grasp_aperture_m"):
            value = getattr(hand, name)
            row[name] = np.nan if value is None else value
        row["pose_rad"] = np.nan if hand.pose is None else hand.pose
        row["joints_m"] = row["joint_angles_rad"] = np.nan
        if hand.pose is not None:
            row["joint_angles_rad"] = self._joint_angles.of(hand.pose, hand.side)
            if hand.shape is not None:
                row["joints_m"] = self._joints_m(hand.pose, hand.shape, hand)

    def _joints_m(self, pose: np.ndarray, shape: np.ndarray, hand: Hand) -> np.ndarray:
        """(16, 3) m, camera frame: the skeleton without its skin, which is what takes time."""
        model = self._models[hand.side]
        local = rotation_from_axis_angle(model.full_pose(pose).reshape(16, 3))
        _, joints_m = forward_kinematics(local, model.joints_at_rest(shape))
        return joints_m + hand.T_camera_wrist[:3, 3]


class Spool:
    """Records of one kind on the disk."""

    def __init__(self, dtype: np.dtype, folder: Path) -> None:
        self._dtype = dtype
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # lives as long as we
        self.count = 0

    def append(self, rows: np.ndarray) -> None:
        """Write records behind those that are there."""
        self._file.write(rows.tobytes())
        self.count += len(rows)

    def blocks(self) -> Iterator[np.ndarray]:
        """All records, some thousand at once; none may be appended meanwhile."""
        self._file.seek(0)
        while data := self._file.read(_ROWS_AT_ONCE * self._dtype.itemsize):
            yield np.frombuffer(data, self._dtype)

    def close(self) -> None:
        """Forget all records; safe to call twice."""
        with contextlib.suppress(OSError):  # a full disk: what is lost is not needed any more
            self._file.close()
