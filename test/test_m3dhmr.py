"""M3DHMR: its layers against slow references, its switches, its export, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hand_mesh_ros.hand_models.mesh_levels import mesh_levels
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.spirals import level_spirals
from hand_mesh_ros.hand_models.vertex_keypoints import sample_hands

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from onnx_parity import assert_onnx_agrees  # noqa: E402  # torch may be absent

from hand_mesh_ros.networks.layers.cost import network_cost  # noqa: E402  # torch may be absent
from hand_mesh_ros.networks.layers.gaussian_maps import gaussian_maps  # noqa: E402
from hand_mesh_ros.networks.layers.resnet import ResNet, load_imagenet_weights  # noqa: E402
from hand_mesh_ros.networks.layers.spiral_conv import (  # noqa: E402
    DepthSeparableSpiralConv,
    DynamicSpiralConv,
    SpiralConv,
)
from hand_mesh_ros.networks.layers.up_sample import UpSample  # noqa: E402
from hand_mesh_ros.networks.m3dhmr import (  # noqa: E402
    M3DHMR,
    PRETRAINED,
    M3DHMRConfig,
    StackOutput,
)
from hand_mesh_ros.networks.m3dhmr_losses import (  # noqa: E402
    M3DHMRLossWeights,
    TwoViews,
    consistency_2d,
    consistency_3d,
    edge_loss,
    m3dhmr_losses,
    normal_loss,
    pretraining_losses,
)
from hand_mesh_ros.networks.registry import build_network  # noqa: E402

HAND = load_open_hand()
FACES = torch.tensor(HAND.faces.astype(np.int64))
TINY = M3DHMRConfig(
    stack_widths=(8, 8),
    hourglass_width=8,
    image_size_px=64,
    mesh_widths=(16, 16, 16, 8, 8),
    kernels=2,
)
SPIRALS = level_spirals(HAND, 9)[3]  # 98 vertices


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def tiny(**changes) -> M3DHMR:
    return M3DHMR(replace(TINY, **changes), HAND)


# --- layers ---------------------------------------------------------------------------------------


def test_dynamic_convolution_is_one_mixed_weight_a_vertex():
    conv = DynamicSpiralConv(6, 5, SPIRALS, kernels=4).double()
    torch.nn.init.normal_(conv.spatial.bias)
    torch.nn.init.normal_(conv.channel.bias)
    x = torch.randn(2, 98, 6, dtype=torch.float64)
    share = conv.attention(x)
    W1, b1 = conv.spatial.weight.view(4, 5, 54), conv.spatial.bias.view(4, 5)
    W2, b2 = conv.channel.weight.view(4, 5, 5), conv.channel.bias.view(4, 5)
    out = conv(x)
    for b in range(2):
        for v in range(98):
            disk = torch.cat([x[b, w] for w in SPIRALS[v]])
            pi = share[b, v]
            W1_mixed, b1_mixed = sum(pi[i] * W1[i] for i in range(4)), pi @ b1  # eq. 5
            W2_mixed, b2_mixed = sum(pi[i] * W2[i] for i in range(4)), pi @ b2
            expected = W2_mixed @ (W1_mixed @ disk + b1_mixed) + b2_mixed  # eq. 6
            assert torch.allclose(out[b, v], expected, atol=1e-12)


def test_attention_sums_to_one_and_depends_on_the_vertex():
    conv = DynamicSpiralConv(6, 5, SPIRALS, kernels=8)
    share = conv.attention(10.0 * torch.randn(3, 98, 6))
    assert share.shape == (3, 98, 8)
    assert share.min() >= 0.0
    assert share.sum(-1).detach().numpy() == pytest.approx(np.ones((3, 98)), abs=1e-6)
    assert share.std(dim=1).min() > 0.01


def test_one_kernel_is_a_plain_spiral_convolution():
    dynamic = DynamicSpiralConv(6, 5, SPIRALS, kernels=1).double()
    torch.nn.init.normal_(dynamic.spatial.bias)
    torch.nn.init.normal_(dynamic.channel.bias)
    plain = SpiralConv(6, 5, SPIRALS).double()
    with torch.no_grad():
        plain.linear.weight.copy_(dynamic.channel.weight @ dynamic.spatial.weight)
        plain.linear.bias.copy_(
            dynamic.channel.weight @ dynamic.spatial.bias + dynamic.channel.bias
        )
    x = torch.randn(2, 98, 6, dtype=torch.float64)
    assert torch.allclose(dynamic(x), plain(x), atol=1e-12)


def test_depth_separable_convolution_against_loops():
    conv = DepthSeparableSpiralConv(6, 5, SPIRALS).double()
    x = torch.randn(1, 98, 6, dtype=torch.float64)
    filtered = torch.zeros(98, 6, dtype=torch.float64)
    for v in range(98):
        for s, w in enumerate(SPIRALS[v]):
            filtered[v] += conv.filter[s] * x[0, w]
    assert torch.allclose(conv(x)[0], filtered @ conv.linear.weight.T, atol=1e-12)


def test_signal_keeps_its_size_whatever_the_number_of_kernels():
    x = torch.randn(4, 98, 32)
    one, many = (DynamicSpiralConv(32, 32, SPIRALS, kernels=k)(x).std().item() for k in (1, 16))
    assert 0.7 < many / one < 1.4


def test_up_sampling_equals_numpy():
    up = mesh_levels(HAND).up[2]
    x = torch.randn(3, 98, 7)
    expected = np.stack([up.apply(sample) for sample in x.numpy()])
    assert UpSample(up)(x).numpy() == pytest.approx(expected, abs=1e-6)


def test_gaussian_maps_peak_at_their_pixel():
    pixel = torch.tensor([[[3.0, 12.0], [15.0, 0.0]]])
    maps = gaussian_maps((pixel + 0.5) / 16.0, 16, 1.0 / 16.0)
    for n, (x, y) in enumerate(pixel[0].int().tolist()):
        assert maps[0, n].argmax().item() == 16 * y + x
        assert maps[0, n, y, x].item() == pytest.approx(1.0)
    assert maps[0, 0, 12, 4].item() == pytest.approx(np.exp(-0.5), abs=1e-6)


def test_far_from_its_dot_a_gaussian_map_is_zero_and_never_nearly():
    """Numbers below 1e-38 are correct, and make a convolution several times as slow."""
    maps = gaussian_maps(torch.rand(4, 21, 2) * 1.4 - 0.2, 32, 0.03)
    assert maps[maps > 0.0].min() > 1e-30
    assert (maps == 0.0).float().mean() > 0.5


# --- ResNet ---------------------------------------------------------------------------------------


def torchvision_names(blocks: tuple[int, ...]) -> set[str]:
    """The keys of torchvision's resnet18 (122) and resnet34 (218) state dicts."""

    def norm(name: str) -> set[str]:
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return {f"{name}.{part}" for part in parts}

    names = {"conv1.weight", "fc.weight", "fc.bias"} | norm("bn1")
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            at = f"layer{layer}.{block}"
            names |= {f"{at}.conv1.weight", f"{at}.conv2.weight"}
            names |= norm(f"{at}.bn1") | norm(f"{at}.bn2")
        if layer > 1:
            names |= {f"layer{layer}.0.downsample.0.weight"} | norm(f"layer{layer}.0.downsample.1")
    return names


@pytest.mark.parametrize(
    ("name", "blocks", "keys", "parameters"),
    [("resnet18", (2, 2, 2, 2), 122, 11_689_512), ("resnet34", (3, 4, 6, 3), 218, 21_797_672)],
)
def test_resnet_has_torchvisions_names_and_sizes(name, blocks, keys, parameters):
    network = ResNet(name)
    names = torchvision_names(blocks)
    assert len(names) == keys
    assert set(network.state_dict()) == names - {"fc.weight", "fc.bias"}
    assert sum(p.numel() for p in network.parameters()) == parameters - 513_000  # without fc


def test_imagenet_weights_load_into_every_stack():
    state = ResNet("resnet18").state_dict() | {"fc.weight": torch.zeros(1000, 512)}
    state["layer1.0.bn2.running_mean"] = torch.arange(64.0)
    network = M3DHMR(M3DHMRConfig(mesh_widths=(8, 8, 8, 8, 8), kernels=1), HAND)
    network.encoder.load_imagenet(state)
    loaded = network.state_dict()
    for stack in ("encoder.stacks.0.stages", "encoder.stacks.1.stages"):
        assert torch.equal(loaded[f"{stack}.layer1.0.bn2.running_mean"], torch.arange(64.0))
        assert torch.equal(loaded[f"{stack}.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert torch.equal(loaded["encoder.stacks.0.stages.conv1.weight"], state["conv1.weight"])


def test_foreign_imagenet_weights_are_refused():
    state = ResNet("resnet18").state_dict()
    with pytest.raises(ValueError, match=r"'layer1\.2\.conv1\.weight' is missing"):
        load_imagenet_weights(ResNet("resnet34"), state)
    with pytest.raises(ValueError, match="fit a width of 64"):
        load_imagenet_weights(ResNet("resnet18", 32), state)


# --- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34"])
def test_outputs(backbone):
    network = build_network("m3dhmr", replace(TINY, backbone=backbone), HAND)
    out = network(**network.example_inputs(2))
    assert {name: tuple(t.shape) for name, t in out.items()} == {
        "vertices_m": (2, 778, 3),
        "keypoints_m": (2, 21, 3),
        "keypoints_uv": (2, 21, 2),
        "stack_keypoints_uv": (2, 2, 21, 2),
    }
    assert torch.equal(out["stack_keypoints_uv"][:, -1], out["keypoints_uv"])
    # The wrist joint is at the origin, and is the first anatomical keypoint.
    assert out["keypoints_m"][:, 0].abs().max() < 1e-6
    assert out["vertices_m"].std(dim=1).min() > 1e-5, "all vertices are at one place"
    maps = network.forward_pretraining(**network.example_inputs(2))["stack_heatmaps"]
    assert maps.shape == (2, 2, 21, 16, 16)


def test_true_vertices_give_true_keypoints():
    vertices, keypoints = sample_hands(HAND, "detector", 20, seed=3)
    weights = tiny(keypoints="detector").keypoint_weights.double().numpy()
    error_mm = 1e3 * np.linalg.norm(weights @ vertices - keypoints, axis=2)
    assert error_mm.mean() < 0.5


def test_features_are_sampled_where_the_landmarks_are():
    """A ramp over the crop, sampled at a landmark, is the landmark."""
    network = tiny()
    uv = torch.rand(2, 21, 2) * 0.7 + 0.15  # within the centres of the outer cells
    centres = (torch.arange(8) + 0.5) / 8
    u, v = centres.expand(8, 8), centres[:, None].expand(8, 8)
    latent = torch.stack([u, v]).expand(2, 2, 8, 8)
    seen = []

    class Encoder(torch.nn.Module):
        def forward(self, image, landmark_cue):
            return latent, [StackOutput([], image, image, uv)]

    class Decoder(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.zeros(2, 778, 3)

    network.encoder, network.decoder = Encoder(), Decoder()
    network.lift = torch.nn.Parameter(torch.eye(21))
    network(torch.zeros(2, 3, 64, 64))
    assert torch.allclose(seen[0], uv, atol=1e-5)


def test_sizes_of_the_presets(capsys):
    costs = {}
    for name, config in (
        ("resnet18", M3DHMRConfig()),
        ("small", M3DHMRConfig.small()),
        ("plain spirals", M3DHMRConfig(convolution="spiral")),
    ):
        network = M3DHMR(config, HAND)
        costs[name] = network_cost(network, network.example_inputs(1))
        with capsys.disabled():
            print(f"\nm3dhmr {name}: {costs[name]}", end="")
    assert costs["small"].params_m <= 16.0
    assert costs["small"].gmacs < 0.5 * costs["resnet18"].gmacs
    assert costs["plain spirals"].gmacs < costs["resnet18"].gmacs
    # K kernels are K times the work of the plain convolution, and more by the second map.
    assert costs["resnet18"].params_m - costs["plain spirals"].params_m > 7.0


def test_macs_of_a_resnet_are_the_published_ones():
    class Stages(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ResNet("resnet18")

        def forward(self, image):
            return self.net(self.net.stem(image))

    cost = network_cost(Stages(), {"image": torch.zeros(1, 3, 224, 224)})
    assert cost.gmacs == pytest.approx(1.81, abs=0.01)


SWITCHES = {
    "spiral": {"convolution": "spiral"},
    "depth separable": {"convolution": "depth_separable"},
    "no roi": {"roi": False},
    "roi length": {"roi_length": 9},
    "roi dilation": {"roi_dilation": 2},
    "K = 4": {"kernels": 4},
    "K = 8": {"kernels": 8},
    "K = 16": {"kernels": 16},
    "one stack": {"stack_widths": (8,)},
    "three stacks": {"stack_widths": (8, 8, 8)},
    "resnet34": {"backbone": "resnet34"},
    "larger image": {"image_size_px": 96},
    "longer spirals": {"spiral_length": 12},
    "dilated spirals": {"spiral_dilation": 2},
    "four levels": {"mesh_widths": (16, 16, 8, 8)},
    "landmark cue": {"landmark_cue": True},
    "detector keypoints": {"keypoints": "detector"},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_changes_the_network_and_trains(switch):
    base, network = tiny().state_dict(), tiny(**SWITCHES[switch]).train()
    state = network.state_dict()
    fixed = [name for name in base if name not in dict(network.named_parameters())]
    assert {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in base.items()} or any(
        not torch.equal(state[name], base[name]) for name in fixed
    )
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    out = network(**network.example_inputs(2))
    losses = m3dhmr_losses(
        out,
        vertices_m=torch.randn(2, 778, 3),
        keypoints_uv=torch.rand(2, 21, 2),
        faces=FACES,
        weights=M3DHMRLossWeights(),
    )
    sum(losses.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{name} is of no use"
        assert torch.isfinite(parameter.grad).all(), name
    before = network.lift.detach().clone()
    optimiser.step()
    assert not torch.equal(network.lift, before)


def test_weights_carry_their_spirals():
    saved = tiny().state_dict()
    other = tiny()
    for buffer in other.decoder.buffers():
        buffer.zero_()
    other.load_state_dict(saved)
    image = torch.rand(1, 3, 64, 64)
    expected = tiny().eval()
    expected.load_state_dict(saved)
    with torch.no_grad():
        assert torch.equal(other.eval()(image)["vertices_m"], expected(image)["vertices_m"])


# --- the cue --------------------------------------------------------------------------------------


def test_no_cue_is_an_unknown_cue():
    network = tiny(landmark_cue=True, landmark_context=True).eval()
    inputs = network.example_inputs(2)
    image, cue = inputs["image"], inputs["landmark_cue"]
    with torch.no_grad():
        torch.nn.init.normal_(network.encoder.cue.weight)
        none = network(image)
        unknown = network(image, cue * torch.tensor([1.0, 1.0, 0.0]))
    for name, values in none.items():
        assert torch.allclose(unknown[name], values, atol=1e-6)


def test_at_the_start_landmarks_are_off_the_cue_by_as_much_as_off_the_middle_without_it():
    network = tiny(landmark_cue=True).eval()
    inputs = network.example_inputs(2)
    image, cue = inputs["image"], inputs["landmark_cue"]
    with torch.no_grad():
        none = network(image)["stack_keypoints_uv"]
        seen = network(image, cue)["stack_keypoints_uv"]
    near = (cue[..., 2:] * (cue[..., :2] - 0.5))[:, None]
    # The first stack's maps do not depend on the cue yet, so that ImageNet's stem works on.
    assert torch.allclose(seen, none + near, atol=1e-6)


def test_pose_features_follow_the_landmarks():
    network = tiny(landmark_context=True).eval()
    image = network.example_inputs(2)["image"]
    with torch.no_grad():
        before = network(image)["vertices_m"]
        network.encoder.stacks[-1].landmark[-1].bias += 0.1
        moved = network(image)["vertices_m"]
        network.context = None
        without = network(image)["vertices_m"]
    assert (moved - before).abs().max() > 1e-5
    assert (without - moved).abs().max() > 1e-5


def test_cue_is_dropped_for_some_samples_in_training_only():
    network = tiny(landmark_cue=True, cue_dropout=0.5).eval()
    torch.nn.init.normal_(network.encoder.cue.weight)
    inputs = network.example_inputs(32)
    with torch.no_grad():
        without = network(inputs["image"])["keypoints_uv"]
        with_cue = network(**inputs)["keypoints_uv"]
        assert torch.equal(network(**inputs)["keypoints_uv"], with_cue)
        network.encoder.training = True  # batch norms stay in evaluation: samples are independent
        mixed = network(**inputs)["keypoints_uv"]
    dropped = torch.isclose(mixed, without, atol=1e-5).flatten(1).all(1)
    kept = torch.isclose(mixed, with_cue, atol=1e-5).flatten(1).all(1)
    assert (dropped ^ kept).all()
    assert 6 <= dropped.sum() <= 26


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
        ("backbone", "resnet50"),
        ("convolution", "graph"),
        ("keypoints", "mano"),
        ("kernels", 0),
        ("image_size_px", 100),
        ("stack_widths", ()),
        ("mesh_widths", (8,)),
        ("mesh_widths", (8, 0)),
        ("roi_dilation", 0),
        ("cue_dropout", 1.0),
        ("cue_stddev", 0.0),
    ],
)
def test_config_refuses_impossible_values(field, value):
    shown = "0" if value == (8, 0) else str(value).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=rf"{field}.*{shown}"):
        replace(TINY, **{field: value})


# --- pre-training ---------------------------------------------------------------------------------


def test_pretraining_lowers_its_losses_and_hands_on_its_part():
    network, uv = tiny().train(), torch.rand(4, 21, 2)
    image = torch.rand(4, 3, 64, 64)
    optimiser = torch.optim.Adam(network.encoder.parameters(), 3e-3)
    history = []
    for _ in range(80):
        losses = pretraining_losses(
            network.forward_pretraining(image), keypoints_uv=uv, stddev=0.05
        )
        history.append({name: term.item() for name, term in losses.items()})
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
    assert history[-1]["heatmap"] < 0.5 * history[0]["heatmap"]
    assert history[-1]["pose2d"] < 0.5 * history[0]["pose2d"]
    torch.manual_seed(1)
    fresh = tiny()
    before = {name: t.clone() for name, t in fresh.state_dict().items()}
    fresh.load_pretrained(network.state_dict())
    after, source = fresh.state_dict(), network.state_dict()
    for name in after:
        expected = source if name.startswith(PRETRAINED) else before
        assert torch.equal(after[name], expected[name]), name
    assert "encoder.stacks.1.stages.layer1.0.conv1.weight" in after
    with pytest.raises(ValueError, match=r"pre-trained .* got nothing"):
        fresh.load_pretrained({})


# --- losses ---------------------------------------------------------------------------------------

TRIANGLE = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
ONE_FACE = torch.tensor([[0, 1, 2]])


def test_normal_loss_of_a_triangle_stood_up():
    upright = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    expected = (0.0 + 1.0 / np.sqrt(2.0) + 1.0) / 3.0
    assert normal_loss(upright, TRIANGLE, ONE_FACE).item() == pytest.approx(expected, abs=1e-6)
    assert normal_loss(2.0 * TRIANGLE + 1.0, TRIANGLE, ONE_FACE).item() == pytest.approx(0.0)


def test_edge_loss_of_a_triangle_grown():
    expected = 0.1 * (2.0 + np.sqrt(2.0)) / 3.0 / 0.2
    assert edge_loss(1.1 * TRIANGLE, TRIANGLE, ONE_FACE).item() == pytest.approx(expected)


def test_consistency_knows_which_view_is_which():
    angle = 0.7
    c, s = np.cos(angle), np.sin(angle)
    R = torch.tensor([[[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float32)
    A = torch.tensor([[[0.9 * c, -0.9 * s, 0.2], [0.9 * s, 0.9 * c, -0.1]]], dtype=torch.float32)
    first, uv = torch.randn(1, 30, 3), torch.rand(1, 21, 2)
    both = torch.cat([first, (R @ first[0].T)[0].T[None]])
    both_uv = torch.cat([uv, (A[0, :, :2] @ uv[0].T).T[None] + A[0, :, 2]])
    views, swapped = TwoViews(R, A), TwoViews(R.transpose(1, 2), A)
    assert consistency_3d(both, views).item() == pytest.approx(0.0, abs=1e-6)
    assert consistency_3d(both, swapped).item() > 1.0
    assert consistency_2d(both_uv, views).item() == pytest.approx(0.0, abs=1e-6)
    assert consistency_2d(both_uv.flip(0), views).item() > 0.05


def test_losses_by_name_weight_and_switch():
    truth = torch.randn(2, 778, 3)
    uv = torch.rand(2, 21, 2)
    outputs = {
        "vertices_m": truth + 0.02,
        "keypoints_uv": uv + 0.1,
        "stack_keypoints_uv": torch.stack([uv + 0.3, uv + 0.1], dim=1),
    }
    weights = M3DHMRLossWeights(mesh=2.0, normal=0.0)
    views = TwoViews(torch.eye(3)[None], torch.eye(3)[None, :2])
    given = {"vertices_m": truth, "keypoints_uv": uv, "faces": FACES}
    losses = m3dhmr_losses(outputs, weights=weights, views=views, **given)
    assert set(losses) == {"mesh", "pose2d", "stack_pose2d", "edge", "con3d", "con2d"}
    assert losses["mesh"].item() == pytest.approx(2.0 * 0.1, abs=1e-5)
    assert losses["pose2d"].item() == pytest.approx(0.1, abs=1e-6)
    assert losses["stack_pose2d"].item() == pytest.approx(0.3, abs=1e-6)
    assert losses["edge"].item() == pytest.approx(0.0, abs=1e-5)
    assert "con3d" not in m3dhmr_losses(outputs, weights=weights, **given)
    with pytest.raises(ValueError, match="edge must be 0 or more, got -1"):
        M3DHMRLossWeights(edge=-1.0)


# --- export and learning --------------------------------------------------------------------------


def test_onnx_runtime_gives_the_same():
    network = tiny(landmark_cue=True).train()
    torch.nn.init.normal_(network.encoder.cue.weight, std=0.1)
    torch.nn.init.normal_(network.decoder.head.linear.weight)
    inputs = network.example_inputs(2)
    with torch.no_grad():
        for _ in range(20):  # batch norms learn what is usual
            network(**inputs)
    expected = assert_onnx_agrees(network, 2)
    assert expected["vertices_m"].abs().max() > 0.01, "nothing was compared"
