"""Rotation matrices and axis-angle vectors, for any number of them at once."""

from __future__ import annotations

import numpy as np

# What each component of a vector adds to the nine elements of its cross product's matrix: one
# product of matrices instead of an assignment for each element.
_CROSS = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0],
        [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
_TO_VECTOR = 0.5 * _CROSS.T  # and back, of a matrix's antisymmetric part
_IDENTITY = np.eye(3)
_HALF_TURN = np.array([-1.0, -1.0, 1.0])  # about z


def cross_product_matrices(vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) that take a vector to its cross product with each of (..., 3), on its left."""
    return (vectors @ _CROSS).reshape(*vectors.shape, 3)


def rotation_from_axis_angle(axis_angle: np.ndarray) -> np.ndarray:
    """(..., 3) rad to (..., 3, 3) by Rodrigues' formula."""
    angle = np.sqrt((axis_angle * axis_angle).sum(axis=-1))[..., None, None]
    K = cross_product_matrices(axis_angle)
    angle = np.maximum(angle, 1e-12)
    half = np.sin(0.5 * angle) / angle
    return _IDENTITY + np.sin(angle) / angle * K + 2.0 * half * half * (K @ K)


def axis_angle_from_rotation(R: np.ndarray) -> np.ndarray:
    """(..., 3, 3) to (..., 3) rad, angles of 0 to pi."""
    m = R.reshape(-1, 3, 3)
    # Sine times axis, and cosine.
    vector = m.reshape(-1, 9) @ _TO_VECTOR
    cosine = 0.5 * (m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2] - 1.0)
    sine = np.sqrt((vector * vector).sum(1))
    angle = np.arctan2(sine, cosine)
    result = vector * (angle / np.maximum(sine, 1e-300))[:, None]
    near_pi = cosine < -0.99  # there the sine says little about the axis
    if near_pi.any():
        result[near_pi] = _axis_angle_near_pi(m[near_pi], vector[near_pi], angle[near_pi])
    return result.reshape(*R.shape[:-2], 3)


def _axis_angle_near_pi(m: np.ndarray, vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The axis from the symmetric part, (1 - cos) a a^T + cos I, its sign from the other one."""
    cosine = np.cos(angle)[:, None, None]
    outer = (0.5 * (m + m.transpose(0, 2, 1)) - cosine * np.eye(3)) / (1.0 - cosine)
    largest = np.argmax(outer[:, range(3), range(3)], axis=1)
    axis = outer[np.arange(len(m)), largest]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    backwards = (axis * vector).sum(1) < 0.0
    return axis * np.where(backwards, -angle, angle)[:, None]


def rotations_to_directions(directions: np.ndarray) -> np.ndarray:
    """(N, 3, 3) smallest rotations that take the optical axis (z) to (N, 3) directions.

    Of any length, in front of the camera (z above 0).
    """
    unit = directions / np.sqrt((directions * directions).sum(1, keepdims=True))
    halfway = unit + _IDENTITY[2]
    # Half a turn about the axis, then half a turn about what is halfway to the direction.
    about_halfway = halfway[:, :, None] * (halfway / halfway[:, 2:])[:, None] - _IDENTITY
    return about_halfway * _HALF_TURN


def rotation_between(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that best turns (N, 3) points to their targets, both about their means."""
    points, target = points - points.mean(0), target - target.mean(0)
    U, _, Vt = np.linalg.svd(target.T @ points)
    return U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
