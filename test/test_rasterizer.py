"""The torch rasteriser against a slow, obvious one, closed forms, and its own gradient."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402  # torch may be absent
from hand_mesh_ros.training.rasterizer import interpolate, rasterize  # noqa: E402

SIZE = 96, 128


def slow(vertices, faces, size):
    """Face ids, perspective-correct shares and depths of one mesh, face by face, in doubles."""
    height, width = size
    py, px = np.mgrid[:height, :width].astype(float)
    face_id, depth = np.full(size, -1), np.full(size, np.inf)
    shares = np.zeros((*size, 3))
    for f, (a, b, c) in enumerate(vertices[faces]):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area >= 0.0:  # seen from inside, y pointing down
            continue
        edges = [
            ((q[0] - p[0]) * (py - p[1]) - (px - p[0]) * (q[1] - p[1])) / area
            for p, q in ((b, c), (c, a), (a, b))
        ]
        weight = np.stack(edges, axis=-1)
        inverse = weight / np.array([a[2], b[2], c[2]])
        z = 1.0 / np.where(inverse.sum(-1) > 0, inverse.sum(-1), np.nan)
        nearer = (weight >= 0).all(-1) & (z < depth)
        face_id[nearer], depth[nearer] = f, z[nearer]
        shares[nearer] = (inverse * z[..., None])[nearer]
    return face_id, shares, depth


@pytest.fixture(scope="module")
def hands():
    """Two posed hands in pixels and depth, one of them cut by the image's edges."""
    model, rng = load_open_hand(), np.random.default_rng(0)
    faces, found = model.faces.astype(np.int64), []
    for focal, shift in ((250.0, 0.08), (500.0, 0.02)):
        points = model.pose_hand(0.5 * rng.standard_normal(48), np.zeros(10)).vertices_m
        points = points - points.mean(0) + [0.0, shift, 0.45]
        xy = points[:, :2] / points[:, 2:] * focal + [64.3, 40.6]
        found.append(np.concatenate([xy, points[:, 2:]], axis=1))
    return np.stack(found), faces


def test_equals_the_slow_one(hands):
    vertices, faces = hands
    raster = rasterize(torch.tensor(vertices).float(), torch.tensor(faces), SIZE)
    for i in range(2):
        face_id, shares, depth = slow(vertices[i], faces, SIZE)
        assert (face_id >= 0).sum() > 1000
        same = raster.face_id[i].numpy() == face_id
        assert same.mean() > 0.999
        assert np.abs(raster.barycentric[i].numpy() - shares)[same].max() < 1e-3
        assert np.quantile(np.abs(raster.barycentric[i].numpy() - shares)[same], 0.999) < 1e-4
        covered = same & (face_id >= 0)
        assert np.abs(raster.depth[i].numpy()[covered] - depth[covered]).max() < 1e-5
        assert np.isinf(raster.depth[i].numpy()[same & (face_id < 0)]).all()


def test_chunks_and_repetitions_change_nothing(hands):
    vertices, faces = torch.tensor(hands[0]).float(), torch.tensor(hands[1])
    whole = rasterize(vertices, faces, SIZE)
    for other in (rasterize(vertices, faces, SIZE, chunk=1), rasterize(vertices, faces, SIZE)):
        assert all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))


def test_pixel_centres_are_whole_numbers_and_shared_edges_leave_no_gap():
    corners = torch.tensor([[[0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [3.0, 2.0, 1.0], [0.0, 2.0, 1.0]]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    face_id = rasterize(corners, faces, (4, 6)).face_id[0]
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[:3, :4] = True
    assert torch.equal(face_id >= 0, expected)


def test_the_nearer_face_wins_and_the_lower_number_of_equal_ones():
    square = [[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]
    faces = [[0, 2, 1], [0, 3, 2]]
    layers = torch.tensor([[[*p, z] for z in (0.5, 0.4, 0.4) for p in square]])
    all_faces = torch.tensor([[c + 4 * i for c in f] for i in range(3) for f in faces])
    face_id = rasterize(layers, all_faces, (10, 10)).face_id
    assert set(face_id.unique().tolist()) == {2, 3}


def test_perspective_moves_the_middle_towards_the_nearer_end():
    vertices = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 8.0, 1.0], [8.0, 0.0, 3.0]]])
    raster = rasterize(vertices, torch.tensor([[0, 1, 2]]), (9, 9))
    # Half-way on the image between depths 1 and 3: 1/z = (1 + 1/3) / 2.
    assert raster.depth[0, 0, 4].item() == pytest.approx(1.5, abs=1e-6)
    assert raster.barycentric[0, 0, 4].tolist() == pytest.approx([0.75, 0.0, 0.25], abs=1e-6)


def test_back_faces_and_what_is_too_near_are_left_out():
    vertices = torch.tensor([[[0.0, 0.0, 1.0], [8.0, 0.0, 1.0], [0.0, 8.0, 1.0]]])
    faces = torch.tensor([[0, 1, 2]])  # seen from inside
    assert (rasterize(vertices, faces, (9, 9)).face_id < 0).all()
    both = rasterize(vertices, faces, (9, 9), cull_back_faces=False)
    assert (both.face_id[0] >= 0).sum() == 45
    assert both.barycentric[0, 2, 3].tolist() == pytest.approx([3 / 8, 3 / 8, 2 / 8])
    vertices[0, 1, 2] = 0.01
    assert (rasterize(vertices, faces.flip(1), (9, 9)).face_id < 0).all()
    vertices[0, 1] = torch.nan
    assert (rasterize(vertices, faces.flip(1), (9, 9)).face_id < 0).all()


def test_interpolates_and_passes_the_gradient_to_attributes(hands):
    vertices, faces = torch.tensor(hands[0]).float(), torch.tensor(hands[1])
    raster = rasterize(vertices, faces, SIZE)
    covered = raster.face_id >= 0
    depth = interpolate(raster, vertices[..., 2:], faces)[..., 0]
    assert torch.allclose(depth[covered], raster.depth[covered], atol=1e-5)
    assert (depth[~covered] == 0).all()

    colors = torch.rand(vertices.shape[1], 3, requires_grad=True)
    image = interpolate(raster, colors, faces)
    image.sum().backward()
    # Every covered pixel hands out exactly one share, per channel.
    assert colors.grad.sum().item() == pytest.approx(3.0 * covered.sum().item(), rel=1e-4)
    seen = torch.zeros(len(colors), dtype=torch.bool)
    seen[faces[raster.face_id[covered]].flatten()] = True
    assert ((colors.grad.abs().sum(1) > 0) <= seen).all()


def test_wrong_shapes_are_refused_by_name():
    good = torch.zeros(1, 3, 3)
    with pytest.raises(ValueError, match=r"vertices are \(3, 3\)"):
        rasterize(good[0], torch.tensor([[0, 1, 2]]), (4, 4))
    with pytest.raises(ValueError, match=r"expected \(F, 3\) int64"):
        rasterize(good, torch.tensor([[0, 1, 2]], dtype=torch.int32), (4, 4))
