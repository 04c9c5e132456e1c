"""A hand that can be shaped and posed: template, shape basis, skeleton, skinning (numpy).

Linear blend skinning as in MANO (Romero et al. 2017, eqs. 2 to 5), with the wrist joint at the
origin. All rotations are about axes of the model frame: a right hand has its fingers at -x, its
palm at -y and its thumb at +z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS, JOINT_PARENTS, Side, mirror_points
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle

NUM_SHAPE = 10
NUM_POSE = 48


@dataclass(frozen=True)
class KeypointRegressor:
    """21 points, each rigid in the frame of one joint, moving linearly with shape."""

    joint: np.ndarray
    """(21,) int, joint whose frame carries the keypoint."""
    offset_m: np.ndarray
    """(21, 3) m, from that joint at rest, model axes."""
    offset_dirs_m: np.ndarray
    """(21, 3, 10) m per unit of shape."""


@dataclass(frozen=True)
class PosedHand:
    """A hand model's output; m, model axes turned by the global rotation, wrist at the origin."""

    vertices_m: np.ndarray
    """(V, 3)"""
    joints_m: np.ndarray
    """(16, 3) MANO order."""
    R_joints: np.ndarray
    """(16, 3, 3) rotation of each joint's frame from rest."""


@dataclass(frozen=True, eq=False)
class HandModel:
    """Template, shape basis and skeleton of one hand; m, model frame."""

    name: str
    side: Side
    template_m: np.ndarray
    """(V, 3)"""
    faces: np.ndarray
    """(F, 3) int32, counter-clockwise seen from outside."""
    shape_dirs_m: np.ndarray
    """(V, 3, 10) m per unit of shape."""
    joint_regressor: np.ndarray
    """(16, V) rows sum to 1."""
    skinning_weights: np.ndarray
    """(V, 16) rows sum to 1."""
    keypoint_regressors: dict[str, KeypointRegressor]
    """"anatomical" (MANO/FreiHAND definition) and "detector" (what a landmark detector marks)."""
    flexion_axes: np.ndarray
    """(16, 3) unit, model frame: what each joint bends about, positive towards the palm."""
    pose_dirs_m: np.ndarray | None = None
    """(V, 3, 135) pose blend shapes over vec(R_1..R_15 - I), or None."""
    pose_mean: np.ndarray | None = None
    """(45,) rad added to the finger pose (MANO's hands_mean), or None."""

    @cached_property
    def joint_template_m(self) -> np.ndarray:
        """(16, 3) joints of the template, m."""
        return self.joint_regressor @ self.template_m

    @cached_property
    def joint_dirs_m(self) -> np.ndarray:
        """(16, 3, 10) joints' shape basis, m."""
        return np.einsum("jv,vcs->jcs", self.joint_regressor, self.shape_dirs_m)

    @cached_property
    def _skin_about_wrist(self) -> tuple[np.ndarray, np.ndarray]:
        """(3, V) m, template about its wrist, and (S, 3 V) what each unit of shape adds to it."""
        dirs = self.shape_dirs_m - self.joint_dirs_m[0]
        return np.ascontiguousarray((self.template_m - self.joint_template_m[0]).T), _by_axis(dirs)

    @cached_property
    def _pose_dirs_by_axis(self) -> np.ndarray | None:
        """(135, 3 V) m, or None."""
        return None if self.pose_dirs_m is None else _by_axis(self.pose_dirs_m)

    @cached_property
    def _full_pose_mean(self) -> np.ndarray | None:
        """(48,) rad, the mean finger pose beside a wrist that is not turned, or None."""
        return None if self.pose_mean is None else np.concatenate([np.zeros(3), self.pose_mean])

    @cached_property
    def vertex_region(self) -> np.ndarray:
        """(V,) uint8 region by largest skinning weight: 0 palm, 1 thumb .. 5 little."""
        region_of_joint = np.array([0, 2, 2, 2, 3, 3, 3, 5, 5, 5, 4, 4, 4, 1, 1, 1], np.uint8)
        by_region = np.stack(
            [self.skinning_weights[:, region_of_joint == r].sum(1) for r in range(6)], axis=1
        )
        return by_region.argmax(1).astype(np.uint8)

    def joints_at_rest(self, shape: np.ndarray) -> np.ndarray:
        """(16, 3) m, joints of a shaped hand at zero pose, wrist at the origin."""
        by_shape = self.joint_dirs_m.reshape(48, -1) @ shape
        joints = self.joint_template_m + by_shape.reshape(16, 3)
        return joints - joints[0]

    def keypoints_at_rest(self, regressor: str) -> np.ndarray:
        """(21, 3) m keypoints of the template, wrist joint at the origin."""
        which = self.keypoint_regressors[regressor]
        return (self.joint_template_m - self.joint_template_m[0])[which.joint] + which.offset_m

    def hand_length_m(self, shape: np.ndarray) -> float:
        """Length of the flat hand, wrist joint to middle fingertip along the bones."""
        return float(self.hand_lengths_m(shape[None])[0])

    def hand_lengths_m(self, shapes: np.ndarray) -> np.ndarray:
        """(N,) m, lengths of flat hands of (N, S) shapes."""
        start, dirs = self._middle_chain_by_shape
        bones = (shapes @ dirs).reshape(-1, 4, 3) + start
        return np.sqrt((bones * bones).sum(2)).sum(1)

    @cached_property
    def _middle_chain_by_shape(self) -> tuple[np.ndarray, np.ndarray]:
        """(4, 3) m bones of the mean hand, and (S, 12) what each unit of shape adds."""
        num_shape = self.shape_dirs_m.shape[2]
        start = self.middle_chain(np.zeros(num_shape))
        dirs = [(self.middle_chain(unit) - start).reshape(-1) for unit in np.eye(num_shape)]
        return start, np.stack(dirs)

    def middle_chain(self, shape: np.ndarray) -> np.ndarray:
        """(4, 3) m bones of the middle finger's chain at rest, wrist to tip."""
        tip = self.keypoint_regressors["anatomical"]
        joints = self.joints_at_rest(shape)[[0, *FINGER_JOINTS["middle"]]]
        end = joints[-1] + tip.offset_m[12] + tip.offset_dirs_m[12] @ shape
        return np.diff(np.concatenate([joints, end[None]]), axis=0)

    def pose_hand(self, pose: np.ndarray, shape: np.ndarray) -> PosedHand:
        """Shape, then pose the hand.

        Args:
            pose: (48,) axis-angle, rad, MANO joint order; the first three turn the whole hand.
            shape: (10,)
        """
        return self.pose_rotations(
            rotation_from_axis_angle(self.full_pose(pose).reshape(16, 3)), shape
        )

    def pose_rotations(self, local: np.ndarray, shape: np.ndarray) -> PosedHand:
        """Shape, then pose the hand by rotations (the mean finger pose is not added).

        Args:
            local: (16, 3, 3) rotation of each joint relative to its parent; the first turns all.
            shape: (10,)
        """
        # Axes before vertices (V): each product then runs along all vertices at once.
        template, shape_dirs = self._skin_about_wrist
        rest = template + (shape @ shape_dirs).reshape(3, -1)  # (3, V)
        if self._pose_dirs_by_axis is not None:
            by_pose = (local[1:] - np.eye(3)).reshape(-1) @ self._pose_dirs_by_axis
            rest = rest + by_pose.reshape(3, -1)
        rest_joints = self.joints_at_rest(shape)
        R, joints = forward_kinematics(local, rest_joints)
        # One affine map a joint, rest to posed; blended per vertex.
        maps = np.empty((16, 4, 3))
        maps[:, :3] = R.transpose(0, 2, 1)
        maps[:, 3] = joints - (R @ rest_joints[:, :, None])[:, :, 0]
        blended = maps.reshape(16, 12).T @ self.skinning_weights.T  # (12, V)
        x, y, z, t = blended.reshape(4, 3, -1)
        posed = x * rest[0] + y * rest[1] + z * rest[2] + t  # (3, V)
        return PosedHand(vertices_m=np.ascontiguousarray(posed.T), joints_m=joints, R_joints=R)

    def full_pose(self, pose: np.ndarray) -> np.ndarray:
        """(48,) pose with the model's mean finger pose added."""
        return pose if self._full_pose_mean is None else pose + self._full_pose_mean

    def pose_of(self, local: np.ndarray) -> np.ndarray:
        """(48,) axis-angle pose that `pose_hand` turns into these (16, 3, 3) rotations."""
        pose = axis_angle_from_rotation(local).reshape(-1)
        return pose if self._full_pose_mean is None else pose - self._full_pose_mean

    def keypoints(self, hand: PosedHand, shape: np.ndarray, regressor: str) -> np.ndarray:
        """(21, 3) m keypoints of a posed hand, by the regressor of that name."""
        which = self.keypoint_regressors[regressor]
        offset = which.offset_m + which.offset_dirs_m @ shape
        turned = (hand.R_joints[which.joint] @ offset[:, :, None])[:, :, 0]
        return hand.joints_m[which.joint] + turned

    def mirrored(self) -> HandModel:
        """The other hand: mirrored at x = 0, faces turned so that they still look outwards."""
        flip = np.array([-1.0, 1.0, 1.0])
        pose_dirs = self.pose_dirs_m
        if pose_dirs is not None:
            # A mirrored rotation is M R M, so each of its nine entries may change sign as well.
            signs = np.tile((flip[:, None] * flip).reshape(-1), 15)
            pose_dirs = pose_dirs * flip[:, None] * signs
        mean = self.pose_mean
        return replace(
            self,
            side=self.side.opposite,
            template_m=mirror_points(self.template_m),
            faces=np.ascontiguousarray(self.faces[:, ::-1]),
            shape_dirs_m=self.shape_dirs_m * flip[:, None],
            # A rotation axis is a pseudovector: the mirror turns it the other way.
            flexion_axes=-mirror_points(self.flexion_axes),
            pose_dirs_m=pose_dirs,
            pose_mean=None if mean is None else mean * np.tile([1.0, -1.0, -1.0], 15),
            keypoint_regressors={
                name: KeypointRegressor(
                    joint=r.joint,
                    offset_m=mirror_points(r.offset_m),
                    offset_dirs_m=r.offset_dirs_m * flip[:, None],
                )
                for name, r in self.keypoint_regressors.items()
            },
        )


def forward_kinematics(local: np.ndarray, rest_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chain local rotations down the skeleton.

    Args:
        local: (16, 3, 3) rotation of each joint relative to its parent.
        rest_joints: (16, 3) m.

    Returns:
        (16, 3, 3) rotation of each joint's frame, and (16, 3) posed joints, m.
    """
    T = np.zeros((16, 4, 4))  # each joint's frame in that of its parent
    T[:, :3, :3] = local
    T[:, :3, 3] = rest_joints
    T[1:, :3, 3] -= rest_joints[_PARENTS]
    T[:, 3, 3] = 1.0
    # The five fingers are alike: each level of the tree is done for all of them at once.
    T[1::3] = T[0] @ T[1::3]
    T[2::3] = T[1::3] @ T[2::3]
    T[3::3] = T[2::3] @ T[3::3]
    return T[:, :3, :3], T[:, :3, 3]


_PARENTS = np.array(JOINT_PARENTS[1:])


def _by_axis(dirs_m: np.ndarray) -> np.ndarray:
    """(V, 3, S) to (S, 3 V): a vector times one matrix is five times faster than V small ones."""
    return np.ascontiguousarray(dirs_m.transpose(2, 1, 0)).reshape(dirs_m.shape[2], -1)


def skeleton_keypoints(
    template_m: np.ndarray,
    shape_dirs_m: np.ndarray,
    joint_regressor: np.ndarray,
    tip_vertices: Sequence[int],
) -> KeypointRegressor:
    """The anatomical keypoints: the 16 joints, and a vertex of the skin at each fingertip.

    Args:
        template_m: (V, 3) m.
        shape_dirs_m: (V, 3, S) m.
        joint_regressor: (16, V).
        tip_vertices: five, thumb to little.
    """
    joint = np.array([0])
    offset = np.zeros((21, 3))
    offset_dirs = np.zeros((21, 3, shape_dirs_m.shape[2]))
    for k, (finger, tip) in enumerate(zip(FINGERS, tip_vertices, strict=True)):
        last = FINGER_JOINTS[finger][-1]
        joint = np.concatenate([joint, FINGER_JOINTS[finger], [last]])
        offset[4 * k + 4] = template_m[tip] - joint_regressor[last] @ template_m
        from_joint = shape_dirs_m[tip] - np.einsum("v,vcs->cs", joint_regressor[last], shape_dirs_m)
        offset_dirs[4 * k + 4] = from_joint
    return KeypointRegressor(joint=joint, offset_m=offset, offset_dirs_m=offset_dirs)
