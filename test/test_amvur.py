"""AMVUR: its parts against slow references, its switches, losses, figures and export."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from onnx_parity import assert_onnx_agrees  # noqa: E402  # torch may be absent

from hand_mesh_ros.hand_models.anatomy import Anatomy  # noqa: E402  # torch may be absent
from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402
from hand_mesh_ros.hand_models.torch_angles import TorchAngles  # noqa: E402
from hand_mesh_ros.hand_models.vertex_keypoints import sample_hands  # noqa: E402
from hand_mesh_ros.networks.amvur import (  # noqa: E402
    AMVUR,
    PRIOR_STDDEV_M,
    AMVURConfig,
    Estimate,
    MeshDistribution,
)
from hand_mesh_ros.networks.amvur_losses import (  # noqa: E402
    UV_STDDEV,
    AMVURLossWeights,
    AMVURTruth,
    AMVURWeakLossWeights,
    divergence,
    gaussian_nll,
    joints_2d_loss,
    joints_2d_nll,
    supervised_losses,
    weak_losses,
)
from hand_mesh_ros.networks.amvur_prior import START_CAMERA, project, true_camera  # noqa: E402
from hand_mesh_ros.networks.layers.cost import network_cost  # noqa: E402
from hand_mesh_ros.networks.layers.efficientnet import EfficientNetB0  # noqa: E402
from hand_mesh_ros.networks.layers.image_features import ImageEncoder  # noqa: E402
from hand_mesh_ros.networks.layers.resnet import ResNet  # noqa: E402
from hand_mesh_ros.networks.layers.vertex_attention import CrossAttention  # noqa: E402
from hand_mesh_ros.networks.registry import build_network  # noqa: E402
from hand_mesh_ros.training.amvur_figures import DeviationTally  # noqa: E402
from hand_mesh_ros.training.engine_crops import EngineCrops  # noqa: E402
from hand_mesh_ros.training.landmark_noise import LandmarkNoise  # noqa: E402
from hand_mesh_ros.training.synthetic_config import SyntheticConfig  # noqa: E402

HAND = load_open_hand()
SIZE = 64
TINY = AMVURConfig(
    encoder="resnet18", image_size_px=SIZE, widths=(32, 16), heads=2, layers=1, hidden=64
)
FROM_PRIOR = replace(TINY, mesh_level=2, from_prior=True)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def crops():
    """Four rendered crops and all that is known of them."""
    images = SyntheticConfig(size_px=SIZE, bank_size=16, skin_detail=0)
    engine = EngineCrops(HAND, images, LandmarkNoise.load(), template_size=True)
    return engine.batch(4, np.random.default_rng(0), torch.device("cpu"))


def tiny(config=TINY, **changes):
    return AMVUR(replace(config, **changes), HAND)


def truth_of(batch):
    return AMVURTruth(
        vertices_m=batch["vertices_m"],
        keypoints_m=batch["anatomical_m"],
        keypoints_uv=batch["anatomical_uv"],
        camera=true_camera(batch["root_m"], batch["K_crop"], SIZE),
    )


# --- encoders -------------------------------------------------------------------------------------


def norm(name):
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{name}.{part}" for part in parts}


def test_resnet50_has_torchvisions_names_and_sizes():
    names = {"conv1.weight"} | norm("bn1")
    for layer, count in enumerate((3, 4, 6, 3), start=1):
        for block in range(count):
            for k in (1, 2, 3):
                at = f"layer{layer}.{block}"
                names |= {f"{at}.conv{k}.weight"} | norm(f"{at}.bn{k}")
        names |= {f"layer{layer}.0.downsample.0.weight"} | norm(f"layer{layer}.0.downsample.1")
    network = ResNet("resnet50")
    assert len(names) == 320 - 2  # without the classifier
    assert set(network.state_dict()) == names
    assert sum(p.numel() for p in network.parameters()) == 25_557_032 - 2_049_000
    assert network.channels == (256, 512, 1024, 2048)
    state = network.state_dict()
    assert state["layer2.0.conv2.weight"].shape == (128, 128, 3, 3)
    assert network.get_submodule("layer2.0.conv2").stride == (2, 2)  # as torchvision, not 2015's
    features = network.eval()(network.stem(torch.zeros(1, 3, 64, 64)))
    assert [f.shape[1:] for f in features] == [
        (256, 16, 16),
        (512, 8, 8),
        (1024, 4, 4),
        (2048, 2, 2),
    ]


def test_efficientnet_has_torchvisions_names_and_sizes():
    names = {"features.0.0.weight", "features.8.0.weight"}
    names |= norm("features.0.1") | norm("features.8.1")
    for stage, count in enumerate((1, 2, 2, 3, 3, 4, 1), start=1):
        for block in range(count):
            at = f"features.{stage}.{block}.block"
            first = 0 if stage == 1 else 1  # the first stage does not widen
            convs = [*range(first + 1), first + 2]
            for k in convs:
                names |= {f"{at}.{k}.0.weight"} | norm(f"{at}.{k}.1")
            for fc in ("fc1", "fc2"):
                names |= {f"{at}.{first + 1}.{fc}.{part}" for part in ("weight", "bias")}
    network = EfficientNetB0()
    state = network.state_dict()
    assert set(state) == names
    assert sum(p.numel() for p in network.parameters()) == 5_288_548 - 1_281_000
    assert state["features.2.0.block.1.0.weight"].shape == (96, 1, 3, 3)
    assert state["features.6.0.block.2.fc1.weight"].shape == (28, 672, 1, 1)
    network.eval()
    assert network(network.shallow(torch.zeros(1, 3, 64, 64))).shape == (1, 1280, 2, 2)


def test_macs_of_the_encoders_are_the_published_ones():
    for name, gmacs in (("resnet50", 4.09), ("efficientnet_b0", 0.386)):
        cost = network_cost(ImageEncoder(name), {"image": torch.zeros(1, 3, 224, 224)})
        assert cost.gmacs == pytest.approx(gmacs, rel=0.02)


def test_imagenet_weights_load_by_name():
    state = ResNet("resnet18").state_dict() | {"fc.weight": torch.zeros(1000, 512)}
    state["bn1.running_mean"] = torch.arange(64.0)
    network = tiny()
    network.load_imagenet(state)
    assert torch.equal(network.state_dict()["encoder.network.bn1.running_mean"], torch.arange(64.0))
    with pytest.raises(ValueError, match=r"'features\.0\.0\.weight' is missing"):
        ImageEncoder("efficientnet_b0").load_imagenet(state)


# --- the network ----------------------------------------------------------------------------------

MESH = {"vertices_m": (2, 778, 3), "keypoints_m": (2, 21, 3), "keypoints_uv": (2, 21, 2)}
STDDEV = {"vertex_stddev_m": (2, 778), "keypoint_stddev_m": (2, 21)}
POSE = {"rotations": (2, 16, 3, 3), "shape": (2, 10)}


@pytest.mark.parametrize(
    ("parts", "more"), [("both", STDDEV | POSE), ("prior", POSE), ("amvur", STDDEV)]
)
def test_outputs_of_each_part(parts, more):
    network = build_network("amvur", replace(TINY, parts=parts), HAND).eval()
    out = network(**network.example_inputs(2))
    shapes = {name: tuple(t.shape) for name, t in out.items()}
    assert shapes == MESH | {"camera": (2, 4)} | more
    assert out["keypoints_m"][:, 0].abs().max() < 1e-5  # the wrist is at the origin
    if "vertex_stddev_m" in out:
        assert (out["vertex_stddev_m"] > 0.0).all()


def test_sizes_of_the_presets(capsys):
    for name, config in (("paper", AMVURConfig()), ("small", AMVURConfig.small())):
        network = AMVUR(config, HAND)
        cost = network_cost(network, network.example_inputs(1))
        with capsys.disabled():
            print(f"\namvur {name}: {cost}", end="")
    assert cost.params_m < 15.0
    assert cost.gmacs < 1.0


SWITCHES = {
    "as in the paper": {},
    "experiment A": {"regressor": "fully_connected"},
    "experiment B": {"regressor": "self_attention", "positions": "index"},
    "experiment C": {"positions": "index"},
    "prior alone": {"parts": "prior"},
    "amvur alone": {"parts": "amvur"},
    "efficientnet": {"encoder": "efficientnet_b0"},
    "weak perspective": {"perspective": False},
    "coarse tokens": {"mesh_level": 2},
    "from the prior": {"mesh_level": 2, "from_prior": True},
    "landmark cue": {"landmark_cue": True, "cue_dropout": 0.0},
    "detector keypoints": {"keypoints": "detector"},
    "three rounds": {"widths": (16, 16, 8)},
}


WEAK = ("as in the paper", "prior alone", "amvur alone", "weak perspective")


@pytest.mark.parametrize(
    ("switch", "weak"),
    [*((switch, False) for switch in SWITCHES), *((switch, True) for switch in WEAK)],
)
def test_every_switch_trains_all_of_the_network(switch, weak):
    network = tiny(**SWITCHES[switch]).train()
    inputs = network.example_inputs(2)
    estimate, uv = network.estimate(**inputs), torch.rand(2, 21, 2)
    if weak:
        losses = weak_losses(network, estimate, uv, AMVURWeakLossWeights())
    else:
        made = AMVURTruth(torch.randn(2, 778, 3), torch.randn(2, 21, 3), uv, torch.zeros(2, 4))
        losses = supervised_losses(network, estimate, made, AMVURLossWeights())
    sum(losses.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{name} is of no use"
        assert torch.isfinite(parameter.grad).all(), name


def test_meshes_are_drawn_in_training_alone():
    network = tiny()
    inputs = network.example_inputs(2)
    for module in network.modules():  # batch norms must not tell the modes apart
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
            module.train(False)
    network.training = True
    with torch.no_grad():
        estimate = network.estimate(**inputs)
        drawn = torch.stack([network.hand_of(estimate)[0] for _ in range(400)])
        first, second = (network(**inputs)["vertices_m"] for _ in range(2))
        network.eval()
        third, fourth = (network(**inputs)["vertices_m"] for _ in range(2))
    assert (first - second).abs().max() > 1e-3
    assert torch.equal(third, fourth)
    assert torch.allclose(third, estimate.mesh.mean_m, atol=1e-6)
    assert torch.allclose(drawn.mean(0), third, atol=6.0 * PRIOR_STDDEV_M / math.sqrt(400))
    ratio = drawn.std(0) / estimate.mesh.stddev_m
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)
    assert 0.8 < ratio.min() < ratio.max() < 1.2


def test_cross_attention_against_loops():
    layer = CrossAttention(8, 2).double()
    vertices, joints = torch.randn(1, 5, 8).double(), torch.randn(1, 3, 8).double()
    with torch.no_grad():
        found = layer(vertices, joints)[0]
        v, j = layer.norm_vertices(vertices)[0], layer.norm_joints(joints)[0]
        K, V = layer.key_value(j).chunk(2, dim=1)
        for i in range(5):
            q, heads = layer.query(v[i]), []
            for h in (slice(0, 4), slice(4, 8)):
                share = torch.softmax(K[:, h] @ q[h] / 2.0, dim=0)  # eq. 9, sqrt(4) channels
                heads.append(share @ V[:, h])
            expected = layer.proj(torch.cat(heads))
            assert torch.allclose(found[i], expected, atol=1e-12)


def test_joints_are_seen_by_vertices_only_with_cross_attention():
    for regressor, matters in (("self_attention", False), ("cross_attention", True)):
        network = tiny(regressor=regressor).eval()
        inputs = network.example_inputs(1)
        with torch.no_grad():
            before = network(**inputs)["vertices_m"]
            network.vertices.template[-21:] += 1.0  # where the joints are
            after = network(**inputs)["vertices_m"]
        assert ((before - after).abs().max() > 1e-6) == matters


def test_angles_agree_with_numpy_and_the_prior_stays_within_limits():
    anatomy = Anatomy.of(HAND)
    angles = np.random.default_rng(0).uniform(anatomy.lower_rad, anatomy.upper_rad)
    found = TorchAngles(HAND)(torch.tensor(angles[None], dtype=torch.float32))
    np.testing.assert_allclose(found[0], anatomy.rotations(angles)[1:], atol=1e-6)

    prior = tiny().prior
    with torch.no_grad():
        prior.head[-1].weight.normal_(std=3.0)
        hand = prior(torch.randn(4, 512))
    allowed = np.radians(5.0) + 1e-4
    found = hand.unusual.numpy() * anatomy.std_rad + anatomy.mean_rad
    assert (found > anatomy.lower_rad - allowed).all()
    assert (found < anatomy.upper_rad + allowed).all()
    assert np.ptp(found, axis=0).mean() > 1.0
    for i in range(4):
        local, shape = hand.rotations[i].double().numpy(), hand.shape[i].double().numpy()
        posed = HAND.pose_rotations(local, shape)
        np.testing.assert_allclose(hand.vertices_m[i], posed.vertices_m, atol=1e-4)
        keypoints = HAND.keypoints(posed, shape, "anatomical")
        np.testing.assert_allclose(hand.keypoints_m[i], keypoints, atol=1e-4)


def test_the_first_hand_is_upright_in_the_middle_of_the_crop():
    network = tiny(parts="prior").eval()
    with torch.no_grad():
        for head in (network.prior.head, network.camera.head):
            head[-1].weight.zero_()
        out = network(**network.example_inputs(1))
    assert torch.allclose(out["camera"][0], torch.tensor(START_CAMERA))
    uv = out["keypoints_uv"][0]
    assert uv[0].tolist() == pytest.approx([0.5, 0.85], abs=1e-5)
    assert (uv[[8, 12, 16, 20], 1] < 0.35).all()  # fingertips are above the wrist
    assert ((uv > -0.1) & (uv < 1.1)).all()
    angles = Anatomy.of(HAND).mean_rad
    bend = TorchAngles(HAND)(torch.tensor(angles[None], dtype=torch.float32))
    assert torch.allclose(out["rotations"][:, 1:], bend, atol=1e-5)


def test_the_true_camera_shows_the_true_hand(crops):
    truth = truth_of(crops)
    uv = project(truth.keypoints_m, truth.camera)
    assert torch.allclose(uv, truth.keypoints_uv, atol=1e-4)
    weak = project(truth.keypoints_m, truth.camera[:, :3])
    assert (weak - truth.keypoints_uv).norm(dim=2).max() > 0.01, "perspective was of no use"


def test_deviations_of_keypoints_are_those_of_their_vertices():
    network = tiny()
    same = network.keypoint_variance(torch.full((1, 778, 3), 4.0))
    assert torch.allclose(same, torch.full((1, 21, 3), 4.0))
    tip = torch.tensor(HAND.template_m).float() - torch.tensor(HAND.joint_template_m[0]).float()
    far = (tip - torch.tensor(HAND.keypoints_at_rest("anatomical")[8]).float()).norm(dim=1)
    variance = torch.where(far < 0.03, 9.0, 1.0)[None, :, None].expand(1, -1, 3)
    found = network.keypoint_variance(variance)[0, :, 0].sqrt()
    assert found[8] == pytest.approx(3.0, abs=0.2)  # some of its vertices are farther
    assert found[[0, 4, 16, 20]].numpy() == pytest.approx(np.ones(4), abs=0.1)


def test_true_vertices_give_true_keypoints():
    vertices, keypoints = sample_hands(HAND, "detector", 20, seed=3)
    weights = tiny(keypoints="detector").keypoint_weights.double().numpy()
    error_mm = 1e3 * np.linalg.norm(weights @ vertices - keypoints, axis=2)
    assert error_mm.mean() < 0.5


def test_means_are_corrections_of_the_prior_where_asked_for():
    network = tiny(FROM_PRIOR).eval()
    with torch.no_grad():
        for parameter in network.vertices.mean[-1].parameters():
            parameter.zero_()
        estimate = network.estimate(**network.example_inputs(2))
    mean, prior = estimate.mesh.mean_m, estimate.prior.vertices_m
    assert (mean - prior).abs().max() < 1e-3  # the wrist is another by that
    network.train()
    network.estimate(**network.example_inputs(2)).mesh.mean_m.square().sum().backward()
    assert network.prior.head[-1].weight.grad is None, "the prior has its own losses"


def test_no_cue_is_an_unknown_cue_and_is_dropped_in_training_only():
    network = tiny(landmark_cue=True, cue_dropout=0.5).eval()
    inputs = network.example_inputs(16)
    image, cue = inputs["image"], inputs["landmark_cue"]
    with torch.no_grad():
        none = network(image)["vertices_m"]
        known = network(image, cue)["vertices_m"]
        unknown = network(image, cue * torch.tensor([1.0, 1.0, 0.0]))["vertices_m"]
        network.training = True
        mixed = network.estimate(image, cue).mesh.mean_m
    assert torch.allclose(unknown, none, atol=1e-6)
    dropped = torch.isclose(mixed, none, atol=1e-6).flatten(1).all(1)
    kept = torch.isclose(mixed, known, atol=1e-6).flatten(1).all(1)
    assert (dropped ^ kept).all()
    assert 2 <= dropped.sum() <= 14


def test_bad_inputs_are_refused():
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 64, 64\).* got \(1, 3, 32, 32\)"):
        tiny()(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="takes no landmark_cue"):
        tiny()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 21, 3))
    with pytest.raises(ValueError, match=r"got \(1, 21, 2\)"):
        tiny(landmark_cue=True)(torch.zeros(1, 3, 64, 64), torch.zeros(1, 21, 2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder", "resnet101"),
        ("parts", "none"),
        ("regressor", "graph"),
        ("positions", "sine"),
        ("texture", "uv"),
        ("keypoints", "mano"),
        ("heads", 0),
        ("widths", ()),
        ("widths", (32, 17)),
        ("texture_width", 33),
        ("mesh_level", 9),
        ("image_size_px", 100),
        ("cue_dropout", 1.0),
    ],
)
def test_config_refuses_impossible_values(field, value):
    shown = str(value).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=rf"{field}.*{shown}"):
        replace(TINY, **{field: value})


def test_config_refuses_a_start_that_is_not_there():
    with pytest.raises(ValueError, match='from_prior is true with parts "amvur"'):
        replace(FROM_PRIOR, parts="amvur")


# --- losses ---------------------------------------------------------------------------------------


def test_likelihood_by_hand():
    p = PRIOR_STDDEV_M
    truth = torch.zeros(1, 2, 3)
    # Two vertices off by one deviation of the prior to both sides; their centre is right.
    mean = torch.zeros(1, 2, 3)
    mean[0, 0, 0], mean[0, 1, 0] = p, -p
    for spread in (0.5, 1.0, 2.0):
        expected = 0.5 * ((1.0 / spread**2) / 3.0 + 2.0 * math.log(spread))
        mesh = MeshDistribution(mean, torch.full((1, 2, 3), spread * p))
        assert gaussian_nll(mesh, truth).item() == pytest.approx(expected, abs=1e-5)
        moved = mesh._replace(mean_m=mean + 0.3)  # where the hand is has a deviation of its own
        assert gaussian_nll(moved, truth).item() == pytest.approx(expected, abs=1e-3)


def test_the_best_deviation_is_the_error():
    error = 0.4 * PRIOR_STDDEV_M
    mean = torch.tensor([[[error] * 3, [-error] * 3]])
    for weight, best in ((0.0, error), (1.0, math.sqrt(error * PRIOR_STDDEV_M))):
        stddev = torch.full((1, 2, 3), best, requires_grad=True)
        loss = gaussian_nll(MeshDistribution(mean, stddev), torch.zeros(1, 2, 3))
        loss = loss + weight * divergence(torch.zeros(1, 2, 3), stddev, torch.zeros(1, 2, 3))
        loss.backward()
        assert stddev.grad.abs().max() * PRIOR_STDDEV_M < 1e-4


def test_divergence_by_hand():
    p = PRIOR_STDDEV_M
    zero, one = torch.zeros(1, 4, 3), torch.full((1, 4, 3), p)
    assert divergence(zero, one, zero).item() == pytest.approx(0.0, abs=1e-6)
    assert divergence(one, one, zero).item() == pytest.approx(0.5, abs=1e-6)
    expected = 0.5 * (4.0 + 9.0 - 1.0 - math.log(4.0))
    assert divergence(3.0 * one, 2.0 * one, zero).item() == pytest.approx(expected, abs=1e-5)


def test_joints_in_the_image_by_hand():
    uv = torch.full((1, 21, 2), 0.5)
    near = joints_2d_loss(uv + 0.03, uv).item()
    assert near == pytest.approx(0.5 * (0.03 / UV_STDDEV) ** 2, rel=1e-4)
    far = joints_2d_loss(uv + 0.3, uv).item()
    assert far == pytest.approx(0.05 * (0.3 - 0.025) / UV_STDDEV**2, rel=1e-4)


def test_deviations_can_be_learned_from_2d_joints():
    """The likelihood of 2D joints is best where deviations in the image are the errors there."""
    camera = torch.tensor([START_CAMERA[:3]])
    joints = torch.zeros(1, 21, 3)
    off = torch.where(torch.arange(21) % 2 == 0, 0.02, -0.02)
    off = off - off.mean()
    uv = project(joints, camera) + off[None, :, None]
    best = (off / math.exp(START_CAMERA[0])).square()[None, :, None].expand(1, 21, 3).clone()
    best.requires_grad_()
    joints_2d_nll(joints, best, camera, uv).backward()
    assert (best.grad * best.detach()).abs().max() < 1e-5
    joints.requires_grad_()
    joints_2d_nll(joints, best.detach() + 0.0 * joints, camera, uv).backward()
    assert joints.grad.abs().max() == 0.0


def test_supervised_losses_by_name_weight_and_switch(crops):
    truth = truth_of(crops)
    stddev = torch.full_like(truth.vertices_m, PRIOR_STDDEV_M)
    prior = tiny().prior(torch.zeros(4, 512))
    known = prior._replace(vertices_m=truth.vertices_m, keypoints_m=truth.keypoints_m)
    perfect = Estimate(truth.camera, known, MeshDistribution(truth.vertices_m, stddev), None)
    network = tiny().eval()
    terms = supervised_losses(network, perfect, truth, AMVURLossWeights())
    assert set(terms) == {field.name for field in fields(AMVURLossWeights)}
    for name, term in terms.items():
        assert term.item() == pytest.approx(0.0, abs=3e-3), name  # keypoints by vertices: 0.2 mm

    # Everything one prior's deviation to the side, in a camera that is as wrong as it may be.
    off = PRIOR_STDDEV_M * torch.tensor([1.0, 0.0, 0.0])
    side = Estimate(
        truth.camera + torch.tensor([0.1, 0.0, 0.0, 0.0]),
        known._replace(vertices_m=truth.vertices_m + off, keypoints_m=truth.keypoints_m + off),
        MeshDistribution(truth.vertices_m + off, stddev),
        None,
    )
    moved = supervised_losses(network, side, truth, AMVURLossWeights(joints=2.0, vertices_kl=0.0))
    assert "vertices_kl" not in moved
    assert moved["joints"].item() == pytest.approx(2.0 * 0.5 / 3.0, abs=0.01)
    assert moved["prior_vertices"].item() == pytest.approx(0.5 * 0.5 / 3.0, abs=1e-4)
    assert moved["camera"].item() == pytest.approx(0.1 * 0.5 / 4.0, abs=1e-5)
    assert moved["joints_2d"].item() > 0.01
    with pytest.raises(ValueError, match="joints must be 0 or more, got -1"):
        AMVURLossWeights(joints=-1.0)


def test_weak_losses_need_2d_joints_alone():
    network = tiny(FROM_PRIOR).train()
    estimate = network.estimate(**network.example_inputs(2))
    terms = weak_losses(network, estimate, torch.rand(2, 21, 2), AMVURWeakLossWeights())
    assert set(terms) == {field.name for field in fields(AMVURWeakLossWeights)}
    alone = estimate._replace(prior=None)
    terms = weak_losses(network, alone, torch.rand(2, 21, 2), AMVURWeakLossWeights())
    assert set(terms) == {"camera_kl", "joints_2d", "joints_2d_spread"}


# --- figures --------------------------------------------------------------------------------------


def test_figures_of_deviations_that_are_right():
    rng, tally = np.random.default_rng(0), DeviationTally()
    seen = rng.random((40, 60)) < 0.5
    covered = ~seen & (rng.random((40, 60)) < 0.2)
    stddev = np.where(seen, 0.004, np.where(covered, 0.02, 0.012))
    error = stddev[..., None] * rng.standard_normal((40, 60, 3))
    answers = {"vertices_m": torch.tensor(error), "vertex_stddev_m": torch.tensor(stddev)}
    for rows in (slice(0, 10), slice(10, 40)):
        labels = {
            "vertices_m": torch.zeros(40, 60, 3),
            "visibility": torch.tensor(seen),
            "covered": torch.tensor(covered),
        }
        tally.add({k: v[rows] for k, v in answers.items()}, {k: v[rows] for k, v in labels.items()})
    figures = tally.figures()
    assert figures["within_one_stddev"] == pytest.approx(0.683, abs=0.02)
    assert figures["stddev_rank_correlation"] > 0.5
    assert figures["hidden_to_seen_stddev"] == pytest.approx(3.0)
    assert figures["hidden_to_seen_error"] == pytest.approx(3.3, abs=0.3)
    assert figures["covered_to_seen_stddev"] == pytest.approx(5.0)
    assert figures["covered_to_seen_error"] == pytest.approx(5.0, abs=0.5)
    assert DeviationTally().figures() == {}


# --- export --------------------------------------------------------------------------


def test_onnx_runtime_gives_the_same():
    network = tiny(landmark_cue=True)
    for head in (network.prior.head, network.vertices.mean, network.vertices.log_variance):
        torch.nn.init.normal_(head[-1].weight, std=0.1)
    expected = assert_onnx_agrees(network, 1, 3, atol=2e-4)
    assert expected["vertices_m"].std() > 0.001, "nothing was compared"
    assert expected["vertex_stddev_m"].std() > 1e-5
