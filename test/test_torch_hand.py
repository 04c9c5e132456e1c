"""The torch half of the hand models against the numpy half, smplx, and its own derivatives."""

import numpy as np
import pytest
from mano_like import write_mano_like
from scipy.spatial.transform import Rotation

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.mano import load_mano
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.rotations import rotation_from_axis_angle

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from hand_mesh_ros.hand_models.torch_hand import (  # noqa: E402  # torch may be absent
    TorchHand,
    rotations_from_6d,
    rotations_from_axis_angle,
    six_from_rotations,
)

RNG = np.random.default_rng(0)
POSES = 0.5 * RNG.standard_normal((6, 48))
SHAPES = RNG.standard_normal((6, 10))


@pytest.fixture(params=["open_hand", "open_hand left", "mano"])
def model(request, tmp_path):
    if request.param == "mano":
        write_mano_like(tmp_path / "MANO_RIGHT.pkl", Side.RIGHT)
        return load_mano(tmp_path)
    hand = load_open_hand()
    return hand.mirrored() if "left" in request.param else hand


def rotations(model, poses):
    full = np.stack([model.full_pose(p) for p in poses]).reshape(-1, 16, 3)
    return rotation_from_axis_angle(full)


def test_agrees_with_numpy(model):
    hand = TorchHand(model, torch.float64)
    out = hand(torch.tensor(rotations(model, POSES)), torch.tensor(SHAPES))
    for i, (pose, shape) in enumerate(zip(POSES, SHAPES, strict=True)):
        expected = model.pose_hand(pose, shape)
        assert out.vertices_m[i].numpy() == pytest.approx(expected.vertices_m, abs=1e-9)
        assert out.joints_m[i].numpy() == pytest.approx(expected.joints_m, abs=1e-9)
        for name in ("anatomical", "detector"):
            points = hand.keypoints(out, torch.tensor(SHAPES), name)[i].numpy()
            assert points == pytest.approx(model.keypoints(expected, shape, name), abs=1e-9)


def test_single_precision_is_good_to_a_micrometre(model):
    R = rotations(model, POSES)
    fine = TorchHand(model, torch.float64)(torch.tensor(R), torch.tensor(SHAPES))
    coarse = TorchHand(model)(torch.tensor(R).float(), torch.tensor(SHAPES).float())
    assert (coarse.vertices_m - fine.vertices_m).abs().max() < 1e-6


def test_gradients_reach_pose_and_shape_and_are_right():
    hand = TorchHand(load_open_hand(), torch.float64)
    pose = torch.tensor(POSES[:1].reshape(1, 16, 3), requires_grad=True)
    shape = torch.tensor(SHAPES[:1], requires_grad=True)

    def some_vertices(p, s):
        return hand(rotations_from_axis_angle(p), s).vertices_m[:, ::200]

    assert torch.autograd.gradcheck(some_vertices, (pose, shape), atol=1e-7)


def test_a_straight_hand_has_finite_gradients():
    hand = TorchHand(load_open_hand(), torch.float64)
    pose = torch.zeros(1, 16, 3, dtype=torch.float64, requires_grad=True)
    vertices = hand(rotations_from_axis_angle(pose), torch.zeros(1, 10).double()).vertices_m
    vertices.square().sum().backward()
    assert torch.isfinite(pose.grad).all()
    assert pose.grad[:, 1:].abs().max() > 0


def test_rotations_of_six_numbers():
    R = torch.tensor(Rotation.random(50, random_state=0).as_matrix())
    assert torch.allclose(rotations_from_6d(six_from_rotations(R)), R, atol=1e-12)
    rough = rotations_from_6d(torch.tensor(RNG.standard_normal((50, 6))))
    eye = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    assert torch.allclose(rough @ rough.transpose(1, 2), eye, atol=1e-12)
    assert torch.allclose(torch.linalg.det(rough), torch.ones(50).double(), atol=1e-12)


def test_rodrigues_agrees_with_scipy():
    vectors = np.concatenate([RNG.standard_normal((50, 3)), 1e-9 * np.eye(3), np.zeros((1, 3))])
    expected = Rotation.from_rotvec(vectors).as_matrix()
    assert rotations_from_axis_angle(torch.tensor(vectors)).numpy() == pytest.approx(
        expected, abs=1e-7
    )


def test_exports_with_a_dynamic_batch():
    hand = TorchHand(load_open_hand())
    example = (torch.eye(3).expand(2, 16, 3, 3).clone(), torch.zeros(2, 10))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(hand, example, dynamic_shapes=({0: batch}, {0: batch}))
    R = torch.tensor(rotations(load_open_hand(), POSES)).float()
    shape = torch.tensor(SHAPES).float()
    exported = program.module()(R, shape)
    assert torch.allclose(exported[0], hand(R, shape).vertices_m, atol=1e-7)


def test_agrees_with_smplx(tmp_path):
    smplx = pytest.importorskip("smplx", reason="the torch extra is not installed")
    from hand_mesh_ros.hand_models.mano import mano_struct

    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano_like(path, Side.RIGHT)
    model = load_mano(tmp_path)
    layer = smplx.MANO(
        model_path="", data_struct=mano_struct(path), use_pca=False, dtype=torch.float64
    )
    theirs = layer(
        global_orient=torch.tensor(POSES[:1, :3]),
        hand_pose=torch.tensor(POSES[:1, 3:]),
        betas=torch.tensor(SHAPES[:1]),
    )
    R = torch.tensor(rotations(model, POSES[:1]))
    ours = TorchHand(model, torch.float64)(R, torch.tensor(SHAPES[:1]))
    relative = theirs.vertices - theirs.joints[:, :1]
    assert (ours.vertices_m - relative).abs().max() < 1e-6
