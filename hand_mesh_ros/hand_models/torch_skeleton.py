"""Keypoints of many hands from joint angles and shapes, in torch: no vertices, no skinning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel


class TorchSkeleton(nn.Module):
    """Forward kinematics of one right hand model; has no parameters, moves with `.to()`.

    Agrees with `reconstruction.kinematics.HandKinematics`.
    """

    axis: Tensor
    rest_rad: Tensor
    joint_template_m: Tensor
    joint_dirs_m: Tensor
    offset_m: Tensor
    offset_dirs_m: Tensor

    def __init__(self, model: HandModel, regressor: str) -> None:
        super().__init__()
        anatomy = Anatomy.of(model)
        which = model.keypoint_regressors[regressor]

        def constant(name: str, values: object) -> None:
            tensor = torch.as_tensor(values, dtype=torch.float32).clone()
            self.register_buffer(name, tensor, persistent=False)

        constant("axis", anatomy.axis)
        constant("rest_rad", anatomy.rest_rad)
        constant("offset_m", which.offset_m)
        constant("offset_dirs_m", which.offset_dirs_m)
        joints, dirs = model.joint_template_m, model.joint_dirs_m
        constant("joint_template_m", joints - joints[0])
        constant("joint_dirs_m", dirs - dirs[0])
        # Row 3 (joint - 1) + slot of a table of 45 rotations, of which 24 stay the identity.
        self.register_buffer(
            "slot_of_angle",
            torch.as_tensor(3 * (anatomy.joint - 1) + anatomy.slot, dtype=torch.long),
            persistent=False,
        )
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
        turn = _rotations_about(self.axis, angles_rad - self.rest_rad)  # (B, D, 3, 3)
        eye = torch.eye(3, dtype=turn.dtype, device=turn.device)
        table = eye.expand(batch, 45, 3, 3).index_copy(1, self.get_buffer("slot_of_angle"), turn)
        table = table.reshape(batch, 5, 3, 3, 3, 3)  # (B, F, L, slot, 3, 3)
        local = table[:, :, :, 0] @ table[:, :, :, 1] @ table[:, :, :, 2]  # (B, F, L, 3, 3)
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


def _rotations_about(axis: Tensor, angle_rad: Tensor) -> Tensor:
    """(B, D, 3, 3) rotations about (D, 3) unit axes by (B, D) angles (Rodrigues' formula)."""
    x, y, z = axis.unbind(1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    sine, versine = (
        torch.sin(angle_rad)[..., None, None],
        1.0 - torch.cos(angle_rad)[..., None, None],
    )
    return eye + sine * K + versine * (K @ K)
