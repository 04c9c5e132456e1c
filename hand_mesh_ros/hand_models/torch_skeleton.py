"""Keypoints of many hands from joint angles and shapes, in torch: no vertices, no skinning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_angles import TorchAngles


class TorchSkeleton(nn.Module):
    """Forward kinematics of one right hand model; has no parameters, moves with `.to()`.

    Agrees with `reconstruction.kinematics.HandKinematics`.
    """

    joint_template_m: Tensor
    joint_dirs_m: Tensor
    offset_m: Tensor
    offset_dirs_m: Tensor

    def __init__(self, model: HandModel, regressor: str) -> None:
        super().__init__()
        self.angles = TorchAngles(model)
        which = model.keypoint_regressors[regressor]

        def constant(name: str, values: object) -> None:
            tensor = torch.as_tensor(values, dtype=torch.float32).clone()
            self.register_buffer(name, tensor, persistent=False)

        constant("offset_m", which.offset_m)
        constant("offset_dirs_m", which.offset_dirs_m)
        joints, dirs = model.joint_template_m, model.joint_dirs_m
        constant("joint_template_m", joints - joints[0])
        constant("joint_dirs_m", dirs - dirs[0])
        self.register_buffer(
            "joint_of_keypoint", torch.as_tensor(which.joint, dtype=torch.long), persistent=False
        )

    def forward(self, angles_rad: Tensor, R: Tensor, shape: Tensor) -> Tensor:
        """(B, 21, 3) m, keypoints about the wrist.

        Args:
            angles_rad: (B, D)
            R: (B, 3, 3) turns the whole hand.
            shape: (B, S)
        """
        # Letters: B batch, D angles, F 5 fingers, L 3 levels (knuckle to last joint), S shape.
        batch = len(angles_rad)
        local = self.angles(angles_rad).unflatten(1, (5, 3))  # (B, F, L, 3, 3)
        rest = self.joint_template_m + torch.einsum("jcs,bs->bjc", self.joint_dirs_m, shape)
        fingers = rest[:, 1:].reshape(batch, 5, 3, 3)  # (B, F, L, xyz)
        R_parent = R[:, None].expand(batch, 5, 3, 3)
        before, start = fingers.new_zeros(batch, 5, 3), fingers.new_zeros(batch, 5, 3)
        R_levels, positions = [], []
        for level in range(3):
            bone = fingers[:, :, level] - before
            start = start + (R_parent @ bone[..., None])[..., 0]
            R_parent = R_parent @ local[:, :, level]
            before = fingers[:, :, level]
            R_levels.append(R_parent)
            positions.append(start)
        R_joints = torch.stack(R_levels, dim=2).reshape(batch, 15, 3, 3)
        R_joints = torch.cat([R[:, None], R_joints], dim=1)  # (B, 16, 3, 3)
        joints = torch.stack(positions, dim=2).reshape(batch, 15, 3)
        joints = torch.cat([joints.new_zeros(batch, 1, 3), joints], dim=1)  # (B, 16, 3)
        joint = self.get_buffer("joint_of_keypoint")
        offset = self.offset_m + torch.einsum("kcs,bs->bkc", self.offset_dirs_m, shape)
        return joints[:, joint] + (R_joints[:, joint] @ offset[..., None])[..., 0]
