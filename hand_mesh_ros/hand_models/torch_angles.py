"""Rotations of the joints from anatomical angles, in torch; agrees with `Anatomy.rotations`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_precision import in_single_precision


class TorchAngles(nn.Module):
    """Of one right hand model; has no parameters, moves with `.to()`."""

    axis: Tensor
    rest_rad: Tensor
    slot_of_angle: Tensor

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        anatomy = Anatomy.of(model)
        for name in ("axis", "rest_rad"):
            values = torch.as_tensor(getattr(anatomy, name), dtype=torch.float32).clone()
            self.register_buffer(name, values, persistent=False)
        # Row 3 (joint - 1) + slot of a table of 45 rotations, of which 24 stay the identity.
        slot = torch.as_tensor(3 * (anatomy.joint - 1) + anatomy.slot, dtype=torch.long)
        self.register_buffer("slot_of_angle", slot, persistent=False)

    @in_single_precision
    def forward(self, angles_rad: Tensor) -> Tensor:
        """(B, 15, 3, 3) of each joint but the wrist relative to its parent, from (B, D) angles."""
        turn = _rotations_about(self.axis, angles_rad - self.rest_rad)  # (B, D, 3, 3)
        eye = torch.eye(3, dtype=turn.dtype, device=turn.device)
        table = eye.expand(angles_rad.shape[0], 45, 3, 3).index_copy(1, self.slot_of_angle, turn)
        table = table.unflatten(1, (15, 3))  # (B, 15, slot, 3, 3)
        return table[:, :, 0] @ table[:, :, 1] @ table[:, :, 2]


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
