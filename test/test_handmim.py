"""HandMIM's mesh network: feedback, losses, training options, probe, ONNX."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

import torch
from by_heart import learned_by_heart
from onnx_parity import assert_onnx_agrees
from safetensors.torch import save_file

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks.checkpoint import load_network
from hand_mesh_ros.networks.checkpoint_file import CheckpointError
from hand_mesh_ros.networks.handmim import UNIT_M, HandMIM, HandMIMConfig
from hand_mesh_ros.networks.handmim_losses import (
    HandMIMLossWeights,
    HandTruth,
    dense_loss,
    handmim_losses,
    project_through,
)
from hand_mesh_ros.networks.handmim_probe import HandMIMProbe, HandMIMProbeConfig, lifted
from hand_mesh_ros.networks.layers.mesh_feedback import (
    HandParameters,
    PointSampler,
    Regressor,
    project_weakly,
)
from hand_mesh_ros.networks.layers.vit import VisionTransformer
from hand_mesh_ros.networks.registry import build_network
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.dense_truth import DenseTruth
from hand_mesh_ros.training.handmim_task import HandMIMTask, HandMIMTaskOptions
from hand_mesh_ros.training.run_config import default_run_config
from hand_mesh_ros.training.synthetic import SyntheticImages
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.trainer import build_task, train
from hand_mesh_ros.training.typed_config import ConfigError

HAND = load_open_hand()
SIZE = 64
CONFIG = HandMIMConfig(
    backbone="tiny",
    image_size_px=SIZE,
    drop_path=0.0,
    pyramid_width=32,
    grid_points=9,
    point_widths=(32, 16, 5),
    hidden=128,
    dropout=0.0,
)


@pytest.fixture(scope="module")
def crops():
    """Eight crops with their truth."""
    return SyntheticImages(HAND, SyntheticConfig(size_px=SIZE, bank_size=64)).batch(8, 0)


def truth_of(made):
    return HandTruth(
        vertices_m=made.vertices_m - made.root_m[:, None],
        keypoints_m=made.keypoints_m["anatomical"] - made.root_m[:, None],
        keypoints_uv=(made.keypoints_px["anatomical"] + 0.5) / SIZE,
        rotations=made.rotations,
        shape=made.shape,
        K_crop=made.K_crop,
    )


def network(**changes):
    torch.manual_seed(0)
    return HandMIM(replace(CONFIG, **changes), HAND)


def random_images(n=2):
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


# The network.


def test_outputs_are_one_consistent_hand():
    net = network(landmark_shifts=False).eval()
    with torch.no_grad():
        for regressor in net.regressors:
            for layer in regressor.corrections:
                layer.weight.mul_(100.0)  # far from the start
        out = net(random_images())
    shapes = {
        "vertices_m": (2, 778, 3),
        "keypoints_m": (2, 21, 3),
        "keypoints_uv": (2, 21, 2),
        "rotations": (2, 16, 3, 3),
        "shape": (2, 10),
        "camera": (2, 3),
    }
    assert {name: tuple(t.shape) for name, t in out.items()} == shapes
    R = out["rotations"]
    torch.testing.assert_close(R @ R.transpose(2, 3), torch.eye(3).expand_as(R), atol=1e-5, rtol=0)
    for i in range(2):
        local, shape = R[i].double().numpy(), out["shape"][i].double().numpy()
        posed = HAND.pose_rotations(local, shape)
        np.testing.assert_allclose(out["vertices_m"][i], posed.vertices_m, atol=1e-5)
        keypoints = HAND.keypoints(posed, shape, "anatomical")
        np.testing.assert_allclose(out["keypoints_m"][i], keypoints, atol=1e-5)
        assert np.abs(keypoints[0]).max() < 1e-6  # the wrist
        uv = keypoints[:, :2] * out["camera"][i, 0].item() + out["camera"][i, 1:].numpy()
        np.testing.assert_allclose(out["keypoints_uv"][i], uv, atol=1e-4)
    assert (out["camera"][:, 0] > 0.0).all()
    assert not torch.allclose(out["vertices_m"][0], out["vertices_m"][1], atol=1e-3)


def test_the_first_hand_is_a_relaxed_one_in_the_middle_of_the_crop():
    net = network().eval()
    with torch.no_grad():
        for regressor in net.regressors:
            for layer in regressor.corrections:
                layer.weight.zero_()
        out = net(random_images())
    assert out["shape"].abs().max() == 0.0
    torch.testing.assert_close(out["camera"], torch.tensor([[4.5, 0.5, 0.5]] * 2))
    torch.testing.assert_close(out["rotations"][:, 0], torch.eye(3).expand(2, 3, 3))
    bend = torch.arccos((out["rotations"][0, 1:].diagonal(dim1=1, dim2=2).sum(1) - 1.0) / 2.0)
    assert 0.1 < bend.mean() < 1.0


def test_later_steps_read_where_the_mesh_is(monkeypatch):
    """Features far from the projected mesh do not matter to the second step."""
    net = network(steps=2).eval()
    with torch.no_grad():
        levels = net.features(random_images(1))
        steps = net.steps(levels)
        vertices = steps[0].vertices_m.index_select(1, net.read_vertices)
        uv = vertices[..., :2] * steps[0].camera[:, None, :1] + steps[0].camera[:, None, 1:]
        side = levels[1].shape[-1]
        cell = (uv[0] * side - 0.5).round().long()
        near = torch.zeros(side, side, dtype=torch.bool)
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                x, y = (cell[:, 0] + dx).clamp(0, side - 1), (cell[:, 1] + dy).clamp(0, side - 1)
                near[y, x] = True
        assert 0.02 < near.float().mean() < 0.9
        noise = torch.randn(levels[1].shape, generator=torch.Generator().manual_seed(2))
        far = net.steps([levels[0], levels[1] + noise * ~near])[-1]
        torch.testing.assert_close(far.vertices_m, steps[-1].vertices_m, atol=1e-6, rtol=0)
        close = net.steps([levels[0], levels[1] + noise * near])[-1]
        assert (close.vertices_m - steps[-1].vertices_m).abs().max() > 1e-5


def test_each_step_learns_its_own_correction():
    net = network()
    steps = net.steps(net.features(random_images()))
    steps[1].shape.sum().backward()
    assert net.regressors[0].corrections[1].weight.grad is None
    assert net.regressors[1].corrections[1].weight.grad.abs().sum() > 0.0
    assert net.regressors[2].corrections[1].weight.grad is None


def test_points_are_sampled_at_cell_centres():
    sampler = PointSampler(2, (3,))
    with torch.no_grad():
        sampler.layers[0].weight[:] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        sampler.layers[0].bias.zero_()
    x, y = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="xy")
    uv = torch.tensor([[[(3 + 0.5) / 8, (5 + 0.5) / 8], [0.5, 0.25]]])
    got = sampler(torch.stack([x, y])[None], uv)
    torch.testing.assert_close(got, torch.tensor([[3.0, 5.0, -0.08, 3.5, 1.5, -0.05]]))


def test_points_never_stop_telling_of_the_image():
    """Whatever the sampler has come to, its gradient reaches the features."""
    sampler = PointSampler(8, (16, 5))
    with torch.no_grad():
        sampler.layers[-1].bias.fill_(-100.0)
    features = torch.rand(1, 8, 4, 4, requires_grad=True)
    sampler(features, torch.full((1, 3, 2), 0.5)).sum().backward()
    assert features.grad.abs().max() > 0.0


def test_corrections_add_to_what_is_there():
    torch.manual_seed(0)
    regressor = Regressor(7, 16, 0.0, 10, landmarks=True)
    now = HandParameters(torch.randn(2, 96), torch.randn(2, 10), torch.randn(2, 3))
    with torch.no_grad():
        for layer in regressor.corrections:
            layer.weight.zero_()
            layer.bias.fill_(0.25)
        new, shift = regressor(torch.randn(2, 7), now)
    for before, after in zip(now, new, strict=True):
        torch.testing.assert_close(after, before + 0.25)
    assert shift.abs().max() == 0.0
    assert [r.landmarks is not None for r in network().regressors] == [False, False, True]


# Cameras and losses.


def test_the_true_camera_sees_the_true_hand(crops):
    """The scale at the wrist and the wrist's place are all that is needed."""
    focal, root = crops.K_crop[:, 0, 0], crops.root_m
    wrist_px = root[:, :2] / root[:, 2:] * focal[:, None] + crops.K_crop[:, :2, 2]
    camera = torch.cat([(focal / (SIZE * root[:, 2]))[:, None], (wrist_px + 0.5) / SIZE], dim=1)
    truth = truth_of(crops)
    uv = project_through(truth.keypoints_m, camera, crops.K_crop, image_size_px=SIZE)
    torch.testing.assert_close(uv, truth.keypoints_uv, atol=2e-4, rtol=0)
    weak = torch.cat([camera[:, :1].log(), camera[:, 1:]], dim=1)
    flat = project_weakly(truth.keypoints_m, weak)
    error = (flat - truth.keypoints_uv).norm(dim=2)
    assert 1e-3 < error.mean() < 0.1  # what a camera without perspective leaves out


def test_losses_of_the_truth_are_zero_and_switches_work(crops):
    net = network()
    truth = truth_of(crops)
    steps = net.steps(net.features(crops.image))
    focal, root = crops.K_crop[:, 0, 0], crops.root_m
    wrist_px = root[:, :2] / root[:, 2:] * focal[:, None] + crops.K_crop[:, :2, 2]
    camera = torch.cat([(focal / (SIZE * root[:, 2]))[:, None], (wrist_px + 0.5) / SIZE], dim=1)
    perfect = steps[0]._replace(
        vertices_m=truth.vertices_m,
        keypoints_m=truth.keypoints_m,
        keypoints_uv=truth.keypoints_uv,
        rotations=truth.rotations,
        shape=truth.shape,
        camera=camera,
    )
    weights = HandMIMLossWeights()
    terms = handmim_losses([perfect], truth, image_size_px=SIZE, weights=weights)
    names = ["rotations", "shape", "vertices", "keypoints_3d", "keypoints_2d", "landmarks"]
    assert list(terms) == names
    assert max(term.item() for term in terms.values()) < 1e-3
    moved = perfect._replace(vertices_m=truth.vertices_m + 0.1 * UNIT_M)
    terms = handmim_losses([perfect, moved], truth, image_size_px=SIZE, weights=weights)
    assert terms["vertices"].item() == pytest.approx(3.0 * 0.05, rel=1e-3)  # mean of both steps
    for name in names:
        off = replace(weights, **{name: 0.0})
        assert name not in handmim_losses(steps, truth, image_size_px=SIZE, weights=off)
    with pytest.raises(ValueError, match="vertices must be 0 or more, got -1"):
        HandMIMLossWeights(vertices=-1.0)


def test_landmarks_do_not_bend_the_hand(crops):
    net = network()
    weights = HandMIMLossWeights(0.0, 0.0, 0.0, 0.0, 0.0, landmarks=1.0)
    steps = net.steps(net.features(crops.image))
    handmim_losses(steps, truth_of(crops), image_size_px=SIZE, weights=weights)[
        "landmarks"
    ].backward()
    assert all(layer.weight.grad is None for layer in net.regressors[2].corrections)
    assert net.regressors[2].landmarks.weight.grad.abs().sum() > 0.0


@pytest.mark.parametrize("cue", [False, True])
def test_eight_crops_can_be_learned_by_heart(cue):
    """With the help of landmarks and without; those given err, so they are not enough."""
    config = run_config(
        "handmim",
        *("network.pyramid_width=32", "network.grid_points=9", "network.hidden=128"),
        *("network.dropout=0.0", "network.drop_path=0.0", f"network.landmark_cue={cue}"),
        *("network.cue_dropout=0.0", "trainer.batch_size=8"),
    )
    task, batch, _, figures = learned_by_heart(config, steps=150, learning_rate=1e-3, rising=0.3)
    with torch.no_grad():
        out = task.network(**task.network_inputs(batch))
    error_mm = 1e3 * (out["vertices_m"] - batch["vertices_m"]).norm(dim=2).mean().item()
    print(f"by heart: {error_mm:.2f} mm")
    assert error_mm < 8.0
    assert figures["pa_mpvpe_mm"] < 4.0
    assert figures["uv_error_percent"] < 3.0


# A detector's landmarks.


def told(net, given=1.0):
    """Every weight that the cue goes through far from zero."""
    with torch.no_grad():
        for regressor in net.regressors:
            for layer in regressor.corrections:
                torch.nn.init.normal_(layer.weight, std=0.05)
    cue = net.example_inputs(2)["landmark_cue"]
    cue[..., 2] = given
    return cue


def test_landmarks_are_told_to_every_correction():
    net = network(landmark_cue=True).eval()
    cue = told(net)
    image = random_images()
    other = cue + torch.tensor([0.1, 0.0, 0.0])
    with torch.no_grad():
        levels = net.features(image)
        for a, b in zip(net.steps(levels, cue), net.steps(levels, other), strict=True):
            assert (a.vertices_m - b.vertices_m).abs().amax(dim=(1, 2)).min() > 1e-4


def test_landmarks_in_the_image_start_where_the_detector_saw_them():
    net = network(landmark_cue=True).eval()
    cue = told(net)
    cue[1, :, 2] = 0.0
    with torch.no_grad():
        out = net(random_images(), cue)
    torch.testing.assert_close(out["keypoints_uv"][0], cue[0, :, :2])  # shifts start at 0
    uv = project_weakly(
        out["keypoints_m"], torch.cat([out["camera"][:, :1].log(), out["camera"][:, 1:]], 1)
    )
    torch.testing.assert_close(out["keypoints_uv"][1], uv[1], atol=1e-5, rtol=0)


def test_unknown_landmarks_say_nothing():
    net = network(landmark_cue=True).eval()
    cue = told(net, given=0.0)
    image = random_images()
    with torch.no_grad():
        found, without = net(image, cue), net(image)
    for name, values in without.items():
        torch.testing.assert_close(found[name], values, msg=name)


def test_training_leaves_some_hands_without_their_landmarks():
    net = network(landmark_cue=True, cue_dropout=0.5).train()
    cue = told(net)[:1].expand(64, -1, -1)
    with torch.no_grad():
        levels = [level.expand(64, -1, -1, -1) for level in net.eval().features(random_images(1))]
        known, unknown = (net.steps(levels, c)[-1].vertices_m[0] for c in (cue, None))
        found = net.train().steps(levels, cue)[-1].vertices_m
    as_known, as_unknown = ((found - v).abs().amax(dim=(1, 2)) < 1e-5 for v in (known, unknown))
    assert (as_known ^ as_unknown).all()
    assert 12 < as_known.sum() < 52


def test_landmarks_for_a_network_without_them_are_refused():
    with pytest.raises(ValueError, match="takes no landmark_cue; set landmark_cue in its config"):
        network()(random_images(), torch.zeros(2, 21, 3))
    with pytest.raises(ValueError, match=r"landmark_cue must be \(B, 21, 3\)"):
        network(landmark_cue=True)(random_images(), torch.zeros(2, 21, 2))


# Dense maps.


def test_dense_truth_says_where_on_the_hand_each_cell_is(crops):
    dense = DenseTruth(HAND, UNIT_M)
    batch = {
        "mask": crops.mask,
        "vertices_m": crops.vertices_m - crops.root_m[:, None],
        "root_m": crops.root_m,
        "K_crop": crops.K_crop,
    }
    share, place = dense(batch, SIZE)
    assert (share > 0.5).float().mean().item() == pytest.approx(
        crops.mask.float().mean().item(), rel=0.05
    )
    rest = (HAND.template_m - HAND.joint_template_m[0]) / UNIT_M
    # Cells that show a visible vertex's pixel show its place.
    errors = []
    for i in range(8):
        px = (crops.vertices_m[i] @ crops.K_crop[i].T).numpy()
        px = np.rint(px[:, :2] / px[:, 2:]).astype(int)
        for v in np.flatnonzero(crops.visibility[i].numpy()):
            x, y = px[v]
            if 0 <= x < SIZE and 0 <= y < SIZE and share[i, y, x] > 0.5:
                errors.append(np.linalg.norm(place[i, :, y, x].numpy() - rest[v]) * UNIT_M)
    assert len(errors) > 500
    assert np.median(errors) < 0.006
    half, _ = dense(batch, SIZE // 2)
    assert half.shape == (8, SIZE // 2, SIZE // 2)


def test_dense_loss_by_hand():
    maps = torch.zeros(1, 4, 2, 2)
    maps[:, 1:] = 0.5
    hand = torch.tensor([[[1.0, 0.0], [0.4, 0.0]]])
    place = torch.zeros(1, 3, 2, 2)
    assert dense_loss(maps, hand, place).item() == pytest.approx(math.log(2.0) + 0.5, rel=1e-5)


# Training.


def run_config(name="handmim", *changes):
    small = [
        *("network.backbone=tiny", f"network.image_size_px={SIZE}"),
        *("task.images.bank_size=64", "task.validation_hands=8", "trainer.batch_size=4"),
        *("trainer.steps=2", "trainer.val_every_steps=2", "trainer.threads=1"),
        *("trainer.accelerator=cpu", "trainer.warmup_steps=0"),
    ]
    if name == "handmim":
        small += ["network.pyramid_width=16", "network.hidden=64", "network.grid_points=7"]
    return default_run_config(name).assigned([*small, *changes])


def test_a_run_trains_and_its_weights_load(tmp_path):
    result = train(run_config("handmim", "network.dense_supervision=true"), tmp_path / "run")
    assert result.finished
    assert list(result.figures)[:2] == ["pa_mpjpe_mm", "pa_mpvpe_mm"]
    assert 5.0 < result.figures["pa_mpjpe_mm"] < 60.0
    loaded = load_network(result.weights, HAND)
    assert loaded.file.preprocessing["box_factor"] == pytest.approx(1.7)
    with torch.no_grad():
        assert loaded.network(random_images())["vertices_m"].isfinite().all()


@pytest.mark.parametrize(
    "change",
    [
        "network.landmark_shifts=false",
        "network.dense_supervision=true",
        "network.keypoints=detector",
        "network.landmark_cue=true",
        "network.steps=1",
        "network.mesh_level=0",
        "task.trained_blocks=3",
    ],
)
def test_every_option_gives_losses_and_gradients(change):
    task = build_task(run_config("handmim", change))
    batch = next(task.batches(BatchStream("train", torch.device("cpu"))))
    terms = task.losses(batch, step=0)
    assert ("dense" in terms) == ("dense" in change)
    total = sum(terms.values())
    total.backward()
    assert total.isfinite()
    grads = [p.grad for p in task.network.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in grads)
    frozen = task.network.backbone.patch_embed.proj.weight.grad is None
    assert frozen == ("trained_blocks" in change)


def test_dense_supervision_without_masks_is_refused():
    task = build_task(run_config("handmim", "network.dense_supervision=true"))
    batch = next(task.batches(BatchStream("train", torch.device("cpu"))))
    del batch["mask"]
    with pytest.raises(ConfigError, match="dense_supervision needs masks of hands"):
        task.losses(batch, step=0)
    with pytest.raises(ValueError, match="no dense maps; set dense_supervision"):
        network().dense_maps([])


def test_partial_fine_tuning_starts_from_a_file_and_trains_the_last_blocks(tmp_path):
    torch.manual_seed(7)
    start = VisionTransformer("tiny", SIZE)
    path = tmp_path / "vit.safetensors"
    save_file(start.state_dict(), path)
    changes = (f"task.backbone_weights={path}", "task.trained_blocks=2")
    result = train(run_config("handmim", *changes, "trainer.ema_decay=0"), tmp_path / "run")
    after = load_network(result.weights, HAND).network.backbone.state_dict()
    moved = {k.split(".")[1] for k, v in start.state_dict().items() if not torch.equal(v, after[k])}
    assert moved == {"10", "11", "weight", "bias"}  # and the norm's two
    with pytest.raises(ConfigError, match=r"task\.trained_blocks: 13 trained blocks, expected 0"):
        build_task(run_config("handmim", "task.trained_blocks=13"))
    with pytest.raises(CheckpointError, match="no such file of weights"):
        build_task(run_config("handmim", f"task.backbone_weights={tmp_path / 'none'}"))


def test_the_probe_learns_and_leaves_the_transformer_alone(tmp_path):
    changes = ("network.hidden=64", "trainer.steps=12", "trainer.ema_decay=0")
    config = run_config("handmim_probe", *changes, "trainer.val_every_steps=12")
    torch.manual_seed(config.trainer.seed)
    before = build_network("handmim_probe", config.network, HAND).state_dict()
    result = train(config, tmp_path / "run")
    assert list(result.figures) == ["keypoint_error_px", "keypoint_error_mm"]
    after = load_network(result.weights, HAND).network.state_dict()
    same = {name.split(".")[0] for name, v in before.items() if torch.equal(v, after[name])}
    assert same == {"backbone"}
    assert result.figures["keypoint_error_px"] < SIZE / 2


def test_a_perfect_probe_has_no_error(crops):
    task = build_task(run_config("handmim_probe"))
    batches = list(task.batches(BatchStream("val", torch.device("cpu"))))
    of_image = {batch["image"].data_ptr(): batch for batch in batches}

    def perfect(image):
        batch = of_image[image.data_ptr()]
        return {"keypoints_uv": batch["anatomical_uv"], "depth_m": batch["anatomical_m"][..., 2]}

    figures = task.validate(perfect, batches)
    assert figures["keypoint_error_px"] == 0.0
    assert figures["keypoint_error_mm"] < 0.01


def test_lifting_undoes_projection():
    K = torch.tensor([[[200.0, 0.0, 31.5], [0.0, 210.0, 31.5], [0.0, 0.0, 1.0]]])
    points = torch.randn(1, 21, 3, generator=torch.Generator().manual_seed(0)) * 0.05
    points[..., 2] += 0.6
    px = points @ K.transpose(1, 2)
    uv = (px[..., :2] / px[..., 2:] + 0.5) / SIZE
    torch.testing.assert_close(lifted(uv, points[..., 2], K, SIZE), points, atol=1e-5, rtol=0)


# Compiled.


@pytest.mark.parametrize("cue", [False, True])
def test_onnx_gives_the_same_numbers(cue):
    net = network(landmark_cue=cue)
    with torch.no_grad():
        for regressor in net.regressors:
            for layer in regressor.corrections:
                torch.nn.init.normal_(layer.weight, std=0.05)
        torch.nn.init.normal_(net.regressors[-1].landmarks.weight, std=0.05)
    assert_onnx_agrees(net, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "huge"}, "backbone must be one of .*got 'huge'"),
        ({"image_size_px": 100}, "image_size_px must be a multiple of 16 from 32 on, got 100"),
        ({"drop_path": -0.1}, r"drop_path must be in \[0, 1\), got -0.1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"pyramid_width": 0}, "pyramid_width must be at least 1, got 0"),
        ({"grid_points": 1}, "grid_points must be at least 2, got 1"),
        ({"mesh_level": 5}, "mesh_level must be 0 to 4, got 5"),
        ({"point_widths": ()}, "point_widths must be numbers from 1 on"),
        ({"cue_dropout": 1.0}, r"cue_dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"keypoints": "mine"}, "keypoints must be 'anatomical' or 'detector', got 'mine'"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_impossible_inputs_and_options_are_refused():
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 64, 64\) for image_size_px 64"):
        network()(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="trained_blocks is -2, expected -1 or more"):
        HandMIMTaskOptions(trained_blocks=-2)
    with pytest.raises(ValueError, match="hidden must be at least 1, got 0"):
        HandMIMProbeConfig(hidden=0)


def test_example_inputs_run():
    probe = HandMIMProbe(HandMIMProbeConfig(backbone="tiny", image_size_px=SIZE), HAND).eval()
    with torch.no_grad():
        out = probe(**probe.example_inputs(2))
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "keypoints_uv": (2, 21, 2),
        "depth_m": (2, 21),
    }
    assert HandMIMTask.__doc__
