import numpy as np
import pytest

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.topology import decimate


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat square of n x n vertices."""
    x, y = np.meshgrid(np.arange(n, dtype=float), np.arange(n, dtype=float))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(n * n)], axis=1)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + n], axis=1)
    upper = np.stack([corner + 1, corner + n + 1, corner + n], axis=1)
    return vertices, np.concatenate([lower, upper])


def edges(faces: np.ndarray) -> np.ndarray:
    return np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)


def area_vectors(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return 0.5 * np.cross(b - a, c - a)


def test_flat_square_keeps_its_area_and_corners():
    vertices, faces = grid(9)
    keep, coarse = decimate(vertices, faces, 20)
    assert len(keep) == 20
    areas = area_vectors(vertices[keep], coarse)
    assert areas[:, 2].min() > 0, "a face was folded over"
    assert areas[:, 2].sum() == pytest.approx(64.0, abs=1e-9)
    assert {0, 8, 72, 80} <= set(keep.tolist())


@pytest.mark.parametrize("target", [389, 195, 98, 49])
def test_hand_stays_one_surface_with_one_opening(target):
    hand = load_open_hand()
    keep, faces = decimate(hand.template_m, hand.faces, target)
    assert len(keep) == target
    assert np.array_equal(np.unique(faces), np.arange(target))
    pairs, count = np.unique(edges(faces), axis=0, return_counts=True)
    assert count.max() == 2, "an edge has three faces"
    boundary = pairs[count == 1]
    _, times = np.unique(boundary, return_counts=True)
    assert (times == 2).all(), "the opening is not a loop"
    # A disc: V - E + F = 1.
    assert target - len(pairs) + len(faces) == 1


def test_first_halving_stays_near_the_surface():
    hand = load_open_hand()
    keep, faces = decimate(hand.template_m, hand.faces, 389)
    centres = hand.template_m[keep][faces].mean(1)
    distance = np.linalg.norm(hand.template_m[:, None] - centres[None], axis=2).min(1)
    assert np.median(distance) < 5e-3
    fine = np.linalg.norm(area_vectors(hand.template_m, hand.faces), axis=1).sum()
    coarse = np.linalg.norm(area_vectors(hand.template_m[keep], faces), axis=1).sum()
    assert coarse == pytest.approx(fine, rel=0.06)


def test_says_when_it_cannot_go_on():
    vertices, faces = grid(3)
    with pytest.raises(ValueError, match="asked for 1"):
        decimate(vertices, faces, 1)
