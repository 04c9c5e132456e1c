import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hand_mesh_ros.evaluation.metrics import distances_m, procrustes_aligned  # noqa: E402
from hand_mesh_ros.networks.procrustes_distance import procrustes_distances  # noqa: E402


def hands(n=6, seed=0):
    rng = np.random.default_rng(seed)
    points, target = rng.normal(size=(2, n, 21, 3))
    target[0] = points[0] * [-1.0, 1.0, 1.0]  # the mirror image is no answer
    return points, target


def test_distances_are_those_of_the_evaluation():
    points, target = hands()
    found = procrustes_distances(torch.tensor(points), torch.tensor(target)).numpy()
    expected = distances_m(procrustes_aligned(points, target), target)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[0].mean() > 0.3


def test_turn_size_and_place_do_not_count():
    points, _ = hands()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    moved = 1.7 * points @ (turn * np.linalg.det(turn)) + [0.1, -2.0, 3.0]
    assert procrustes_distances(torch.tensor(moved), torch.tensor(points)).max() < 2e-3


def test_its_slope_leads_to_the_target():
    points, target = (torch.tensor(x) for x in hands(seed=2))
    points.requires_grad_()
    optimizer = torch.optim.Adam([points], lr=0.05)
    before = procrustes_distances(points, target).mean().item()
    for _ in range(200):
        optimizer.zero_grad()
        procrustes_distances(points, target).mean().backward()
        optimizer.step()
    assert torch.isfinite(points).all()
    assert procrustes_distances(points, target).mean() < 0.1 * before


def test_points_without_extent_have_finite_slopes():
    points = torch.zeros(1, 21, 3, requires_grad=True)
    target = torch.randn(1, 21, 3, generator=torch.Generator().manual_seed(0))
    procrustes_distances(points, target).sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()
