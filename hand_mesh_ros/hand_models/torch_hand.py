"""The torch half of a hand model: batched, differentiable, exportable; equal to the numpy half."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hand_mesh_ros.conventions import JOINT_PARENTS
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_precision import in_single_precision


class TorchPosedHand(NamedTuple):
    """A batch of posed hands; m, model axes turned by the global rotation, wrist at the origin."""

    vertices_m: Tensor
    """(B, V, 3)"""
    joints_m: Tensor
    """(B, 16, 3) MANO order."""
    R_joints: Tensor
    """(B, 16, 3, 3) rotation of each joint's frame from rest."""


class TorchHand(nn.Module):
    """Linear blend skinning of one hand model; has no parameters, moves with `.to()`."""

    template_m: Tensor
    shape_dirs_m: Tensor
    pose_dirs_m: Tensor
    joint_template_m: Tensor
    joint_dirs_m: Tensor
    joint_regressor: Tensor
    skinning_weights: Tensor
    faces: Tensor

    def __init__(self, model: HandModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.name = model.name
        self.num_vertices, self.num_shape = len(model.template_m), model.shape_dirs_m.shape[2]

        def constant(name: str, values: object) -> None:
            tensor = torch.as_tensor(values).clone()
            tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
            self.register_buffer(name, tensor, persistent=False)

        constant("template_m", model.template_m)
        constant("shape_dirs_m", model.shape_dirs_m)
        constant("joint_template_m", model.joint_template_m)
        constant("joint_dirs_m", model.joint_dirs_m)
        constant("skinning_weights", model.skinning_weights)
        constant("faces", model.faces.astype("int64"))
        constant("joint_regressor", model.joint_regressor)
        self.has_pose_dirs = model.pose_dirs_m is not None
        if model.pose_dirs_m is not None:
            constant("pose_dirs_m", model.pose_dirs_m)
        for name, regressor in model.keypoint_regressors.items():
            constant(f"{name}_joint", regressor.joint.astype("int64"))
            constant(f"{name}_offset_m", regressor.offset_m)
            constant(f"{name}_offset_dirs_m", regressor.offset_dirs_m)

    @in_single_precision
    def forward(self, rotations: Tensor, shape: Tensor) -> TorchPosedHand:
        """Shape, then pose a batch of hands.

        Args:
            rotations: (B, 16, 3, 3) of each joint relative to its parent, mean pose included; the
                first turns the whole hand.
            shape: (B, 10)
        """
        # Letters: B batch, V vertices, J 16 joints, S shape.
        rest_joints = self.joint_template_m + torch.einsum("jcs,bs->bjc", self.joint_dirs_m, shape)
        vertices = self.template_m + torch.einsum("vcs,bs->bvc", self.shape_dirs_m, shape)
        vertices = vertices - rest_joints[:, :1]  # (B, V, 3)
        rest_joints = rest_joints - rest_joints[:, :1]  # (B, J, 3)
        if self.has_pose_dirs:
            eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            bend = (rotations[:, 1:] - eye).flatten(1)  # (B, 135)
            vertices = vertices + torch.einsum("vcp,bp->bvc", self.pose_dirs_m, bend)
        R, joints = _forward_kinematics(rotations, rest_joints)
        t = joints - torch.einsum("bjac,bjc->bja", R, rest_joints)  # (B, J, 3)
        A = torch.cat([R, t[..., None]], dim=3).flatten(2)  # (B, J, 12)
        blended = (self.skinning_weights @ A).unflatten(2, (3, 4))  # (B, V, 3, 4)
        posed = torch.einsum("bvac,bvc->bva", blended[..., :3], vertices) + blended[..., 3]
        return TorchPosedHand(posed, joints, R)

    @in_single_precision
    def keypoints(self, hand: TorchPosedHand, shape: Tensor, regressor: str) -> Tensor:
        """(B, 21, 3) m keypoints of posed hands, by the regressor of that name."""
        joint = self.get_buffer(f"{regressor}_joint")
        dirs = self.get_buffer(f"{regressor}_offset_dirs_m")
        offset = self.get_buffer(f"{regressor}_offset_m") + torch.einsum("kcs,bs->bkc", dirs, shape)
        turned = torch.einsum("bkac,bkc->bka", hand.R_joints[:, joint], offset)
        return hand.joints_m[:, joint] + turned


@in_single_precision
def rotations_from_6d(six: Tensor) -> Tensor:
    """(..., 6) to (..., 3, 3): two columns made orthonormal, the third across them.

    Zhou et al., "On the continuity of rotation representations in neural networks", CVPR 2019.
    """
    a, b = six[..., :3], six[..., 3:]
    x = nn.functional.normalize(a, dim=-1)
    y = nn.functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def six_from_rotations(R: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 6): the first two columns."""
    return torch.cat([R[..., 0], R[..., 1]], dim=-1)


def rotations_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """(..., 3) rad to (..., 3, 3) by Rodrigues' formula, with a gradient at zero."""
    # A tiny constant inside the root keeps the gradient finite where the angle vanishes.
    angle = torch.sqrt((axis_angle * axis_angle).sum(-1, keepdim=True) + 1e-16)
    x, y, z = (axis_angle / angle).unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    sine, cosine = torch.sin(angle)[..., None], torch.cos(angle)[..., None]
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * K + (1.0 - cosine) * (K @ K)


def _forward_kinematics(local: Tensor, rest_joints: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 16, 3, 3) rotations and (B, 16, 3) joints; unrolled, so that it exports."""
    R, joints = [local[:, 0]], [rest_joints[:, 0]]
    for joint in range(1, 16):
        parent = JOINT_PARENTS[joint]
        R.append(R[parent] @ local[:, joint])
        bone = rest_joints[:, joint] - rest_joints[:, parent]
        joints.append(joints[parent] + torch.einsum("bac,bc->ba", R[parent], bone))
    return torch.stack(R, dim=1), torch.stack(joints, dim=1)
