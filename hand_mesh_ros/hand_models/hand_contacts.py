"""How deep parts of a hand press into each other: bones as tapered capsules fitted to the mesh.

Far cheaper than the mesh itself: 110 pairs of segments a hand. On random poses the two differ by
0.4 to 0.8 mm on average, and what passes 4 mm here is at most about 5 mm deep in the mesh
(`test/test_pose_prior.py` compares them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.skeleton_batch import PosedSkeletons, turned

# Nineteen capsules: three a finger, thumb to little and root to tip, then the palm beneath each
# long finger.
_START = 0.35
"""A finger leaves the palm, and the thumb the thenar, at this share of its first bone."""
_PALM = (0.3, 0.92)
"""Stretch of the palm's capsules from the wrist (0) to the knuckle (1)."""
_PALM_HALF_WIDTH_M = 0.008


@dataclass(frozen=True, eq=False)
class HandCapsules:
    """C = 19 tapered capsules that follow the joints of one hand model, linear in its shape.

    Ends are 0 (towards the wrist) and 1. Directions of a capsule are its bone's at rest.
    """

    joint: np.ndarray
    """(C,) int, joint that carries each one."""
    end_m: np.ndarray
    """(C, 2, 4) centre from that joint at rest, then radius."""
    end_dirs_m: np.ndarray
    """(C, 2, 4, S) m per unit of shape."""
    palmar: np.ndarray
    """(C, 3) unit, across the bone towards the palm, model frame at rest."""
    radial: np.ndarray
    """(C, 3) unit, across the bone towards the thumb's side."""
    first: np.ndarray
    """(P,) int, one capsule of each pair that may not meet."""
    second: np.ndarray

    @classmethod
    def of(cls, model: HandModel) -> HandCapsules:
        """Fit capsules to a right hand's mesh."""
        num_shape = model.shape_dirs_m.shape[2]
        unit = np.eye(num_shape)
        end = _fitted_ends(model, np.zeros(num_shape))
        # The mesh is linear in shape, so the ends nearly are.
        dirs = [0.5 * (_fitted_ends(model, u) - _fitted_ends(model, -u)) for u in unit]
        joint = np.array([*(j for f in FINGERS for j in FINGER_JOINTS[f]), 0, 0, 0, 0])
        frames = np.array([_frame(*bone) for bone in _bones(model, np.zeros(num_shape))])
        first, second = _pairs()
        return cls(
            joint=joint,
            end_m=end,
            end_dirs_m=np.stack(dirs, axis=-1),
            palmar=frames[:, 1],
            radial=frames[:, 2],
            first=first,
            second=second,
        )

    def ends_at_rest(self, shape: np.ndarray) -> np.ndarray:
        """(N, C, 2, 4) m: centre from the joint at rest and radius, of (N, S) shapes."""
        return self.end_m + np.einsum("ceks,ns->ncek", self.end_dirs_m, shape)

    def overlaps_m(self, hand: PosedSkeletons, shape: np.ndarray) -> np.ndarray:
        """(N, P) m, how deep the capsules of each pair overlap; negative: gap."""
        rest = self.ends_at_rest(shape)
        R, origin = hand.R_joints[:, self.joint], hand.joints_m[:, self.joint]
        a, b = (origin + turned(R, rest[:, :, e, :3]) for e in (0, 1))  # (N, C, 3)
        radius = rest[..., 3]  # (N, C, 2)
        i, j = self.first, self.second
        s, t, distance = closest_on_segments(a[:, i], b[:, i], a[:, j], b[:, j])
        radius_i = radius[:, i, 0] + s * (radius[:, i, 1] - radius[:, i, 0])
        radius_j = radius[:, j, 0] + t * (radius[:, j, 1] - radius[:, j, 0])
        return radius_i + radius_j - distance

    def depth_m(self, hand: PosedSkeletons, shape: np.ndarray) -> np.ndarray:
        """(N,) m, the deepest overlap of each hand, 0 where nothing touches."""
        return np.maximum(self.overlaps_m(hand, shape).max(axis=1), 0.0)


def closest_on_segments(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Closest points of segments a-b and c-d, (..., 3) each (Ericson, Real-Time Collision 5.1.9).

    Returns:
        (...,) place on a-b and on c-d, 0 to 1, and the distance.
    """
    u, v, w = b - a, d - c, a - c
    uu, vv, uv = _dot(u, u), _dot(v, v), _dot(u, v)
    uw, vw = _dot(u, w), _dot(v, w)
    cross = uu * vv - uv * uv
    # Parallel segments (cross = 0) are closest all along; any place on the first one serves.
    s = np.clip((uv * vw - vv * uw) / np.maximum(cross, 1e-9 * uu * vv), 0.0, 1.0)
    t = np.clip((uv * s + vw) / vv, 0.0, 1.0)
    s = np.clip((uv * t - uw) / uu, 0.0, 1.0)
    gap = w + s[..., None] * u - t[..., None] * v
    return s, t, np.sqrt(_dot(gap, gap))


def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Capsules that may not meet: (P,) and (P,)."""
    pairs = [
        (3 * f + k, 3 * g + m)
        for f in range(5)
        for g in range(f + 1, 5)
        for k in range(3)
        for m in range(3)
    ]
    # Of what lies on the palm only the fingertips: the other bones fold onto it, flesh on flesh.
    pairs += [(3 * f + 2, palm) for f in range(5) for palm in range(15, 19)]
    first, second = np.array(pairs).T
    return first, second


def _bones(model: HandModel, shape: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Start, end and flexion axis of each capsule's bone at rest; m, wrist at the origin."""
    joints = model.joints_at_rest(shape)
    tip = model.keypoint_regressors["anatomical"]
    bones, palm = [], []
    for f, finger in enumerate(FINGERS):
        chain = FINGER_JOINTS[finger]
        k = 4 * f + 4
        end = joints[chain[-1]] + tip.offset_m[k] + tip.offset_dirs_m[k] @ shape
        points = [*joints[list(chain)], end]
        bones += [(points[i], points[i + 1], model.flexion_axes[j]) for i, j in enumerate(chain)]
        if finger != "thumb":
            palm.append((joints[0], points[0], model.flexion_axes[chain[0]]))
    return bones + palm


def _frame(start: np.ndarray, end: np.ndarray, flexion_axis: np.ndarray) -> np.ndarray:
    """(3, 3) rows: along the bone, towards the palm, towards the thumb's side."""
    along = (end - start) / np.linalg.norm(end - start)
    radial = flexion_axis - (flexion_axis @ along) * along
    radial /= np.linalg.norm(radial)
    return np.stack([along, np.cross(radial, along), radial])


def _fitted_ends(model: HandModel, shape: np.ndarray) -> np.ndarray:
    """(C, 2, 4) m: centre from the carrying joint, and radius, of both ends of each capsule."""
    vertices = model.template_m + model.shape_dirs_m @ shape
    vertices = vertices - model.joint_regressor[0] @ vertices
    owner = model.skinning_weights.argmax(1)
    carrying = [j for finger in FINGERS for j in FINGER_JOINTS[finger]] + [0] * 4
    ends = []
    for c, (joint, bone) in enumerate(zip(carrying, _bones(model, shape), strict=True)):
        start, end, _ = bone
        frame = _frame(*bone)
        length = float(np.linalg.norm(end - start))
        along, palmar, radial = frame @ (vertices[owner == joint] - start).T
        if c < 15:
            fit = _finger_capsule(along / length, palmar, radial, length, level=c % 3)
        else:
            fit = _palm_capsule(along / length, palmar, radial)
        centres = np.stack([fit[:, 0] * length, fit[:, 1], fit[:, 2]], axis=1) @ frame
        if c >= 15:
            centres += start
        ends.append(np.concatenate([centres, fit[:, 3:]], axis=1))
    return np.array(ends)


def _finger_capsule(
    s: np.ndarray, x: np.ndarray, y: np.ndarray, length: float, level: int
) -> np.ndarray:
    """(2, 4) place along the bone, centre across it, radius: circles fitted to the skin.

    Args:
        s: (M,) where skin lies along the bone, 0 to 1.
        x: (M,) m, and across it.
        y: (M,) m
        length: of the bone, m.
        level: 0 (first bone) to 2 (fingertip).
    """
    # Kasa's circle fit, centre and constant term linear along the bone.
    A = np.stack([2 * x * (1 - s), 2 * x * s, 2 * y * (1 - s), 2 * y * s, 1 - s, s], axis=1)
    x0, x1, y0, y1, c0, c1 = np.linalg.lstsq(A, x * x + y * y, rcond=None)[0]
    ends = np.array([[x0, y0, np.sqrt(c0 + x0 * x0 + y0 * y0)],
                     [x1, y1, np.sqrt(c1 + x1 * x1 + y1 * y1)]])  # fmt: skip
    low = _START if level == 0 else 0.0
    # A fingertip is round: its last ball touches the end from inside.
    high = 1.0 - ends[1, 2] / length if level == 2 else 1.0
    at = np.array([low, high])[:, None]
    return np.concatenate([at, ends[0] + at * (ends[1] - ends[0])], axis=1)


def _palm_capsule(s: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(2, 4) place along the bone, centre across it, radius: the palmar side of a flat palm."""
    radius = _PALM_HALF_WIDTH_M + 0.002
    rows = []
    for at in _PALM:
        near = (np.abs(s - at) < 0.2) & (np.abs(y) < _PALM_HALF_WIDTH_M)
        rows.append([at, x[near].max() - radius, 0.0, radius])
    return np.array(rows)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...c,...c->...", a, b)
