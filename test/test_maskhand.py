"""MaskHand: attention, the network, losses, training and export."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

import torch
from by_heart import learned_by_heart
from onnx_parity import assert_onnx_agrees

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.torch_hand import rotations_from_axis_angle
from hand_mesh_ros.networks.checkpoint import load_network, save_network
from hand_mesh_ros.networks.layers.deformable_attention import DeformableAttention
from hand_mesh_ros.networks.layers.graph_transformer import (
    GraphTransformerBlock,
    skeleton_neighbours,
)
from hand_mesh_ros.networks.maskhand import MaskHand, MaskHandConfig
from hand_mesh_ros.networks.maskhand_losses import MaskHandLossWeights, masked_cross_entropy
from hand_mesh_ros.networks.maskhand_sampling import drawn_hands, mean_codes
from hand_mesh_ros.networks.vq_mano import VQMano, VQManoConfig
from hand_mesh_ros.training.run_config import default_run_config
from hand_mesh_ros.training.trainer import build_task, train
from hand_mesh_ros.training.typed_config import ConfigError

HAND = load_open_hand()
SIZE = 64
TOKENISER = VQManoConfig(tokens_per_joint=1, codes=16, code_width=8, width=16, blocks=1)
CONFIG = replace(
    MaskHandConfig.small(),
    tokeniser=TOKENISER,
    image_size_px=SIZE,
    stage_width=8,
    levels=2,
    width=32,
    heads=4,
    graph_blocks=1,
    layers=2,
    cue_dropout=0.0,
)
CPU = torch.device("cpu")


def tokeniser(config=TOKENISER):
    """Random weights with a codebook of its own latents."""
    torch.manual_seed(1)
    made = VQMano(config, HAND)
    for module in (made.encoder, made.decoder):
        for block in module.blocks:
            torch.nn.init.normal_(block.within.weight, std=0.1)
    latent = made.encoder(rotations(200))
    for _ in range(3):
        made.quantizer.learn(latent, made.quantizer.nearest(latent))
    return made.eval()


def rotations(n):
    generator = torch.Generator().manual_seed(3)
    return rotations_from_axis_angle(0.4 * torch.randn(n, 15, 3, generator=generator))


def network(**changes):
    """Random weights, so strong that codes and hands differ between images."""
    torch.manual_seed(0)
    net = MaskHand(replace(CONFIG, **changes), HAND)
    net.take_tokeniser(tokeniser(net.config.tokeniser))
    with torch.no_grad():
        net.to_logits[-1].weight.mul_(8.0)
        net.to_hand[-1].weight.mul_(30.0)
        for layer in net.context.cue:
            torch.nn.init.normal_(layer.weight, std=0.1)
    return net


def inputs(n=2):
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.rand(n, 3, SIZE, SIZE, generator=generator),
        "landmark_cue": torch.rand(n, 21, 3, generator=generator),
    }


# Layers.


def test_deformable_attention_reads_maps_where_it_looks():
    torch.manual_seed(0)
    look = DeformableAttention(4, 2, levels=2, points=3, finest=16)
    with torch.no_grad():
        look.offset.bias.zero_()
        for layer in (*look.value, look.proj):
            layer.bias.zero_()
            layer.weight.copy_(torch.eye(4).view_as(layer.weight))
    u, v = torch.meshgrid(
        (torch.arange(16) + 0.5) / 16, (torch.arange(16) + 0.5) / 16, indexing="xy"
    )
    fine = torch.stack([u, v, u + v, torch.ones(16, 16)])[None]
    coarse = torch.nn.functional.avg_pool2d(fine, 2)
    places = torch.tensor([[[0.25, 0.75], [0.5, 0.4]]])
    seen = look(torch.randn(1, 2, 4), places, look.values([coarse, fine]))
    expected = torch.cat([places, places.sum(2, keepdim=True), torch.ones(1, 2, 1)], dim=2)
    torch.testing.assert_close(seen, expected)
    with torch.no_grad():
        look.offset.bias.copy_(torch.tensor([0.1, 0.0]).repeat(12))
    moved = look(torch.randn(1, 2, 4), places, look.values([coarse, fine]))
    torch.testing.assert_close(moved[..., 0], seen[..., 0] + 0.1)
    torch.testing.assert_close(moved[..., 1], seen[..., 1])


def test_deformable_attention_starts_in_rings_and_learns_where_to_look():
    look = DeformableAttention(8, 4, levels=1, points=2, finest=10)
    ring = look.offset.bias.view(4, 1, 2, 2).norm(dim=3)[:, 0]
    torch.testing.assert_close(ring, torch.tensor([[0.1, 0.2]]).expand(4, 2))
    maps = [torch.rand(1, 8, 10, 10, requires_grad=True)]
    look(torch.randn(1, 3, 8), torch.full((1, 3, 2), 0.5), look.values(maps)).sum().backward()
    assert look.offset.weight.grad.abs().sum() > 0.0
    assert maps[0].grad.abs().sum() > 0.0


def test_the_skeletons_neighbours_are_its_bones():
    neighbours = skeleton_neighbours()
    torch.testing.assert_close(neighbours.sum(1), torch.ones(21))
    assert neighbours[8].nonzero().flatten().tolist() == [7, 8]  # the index finger's tip
    assert neighbours[0].nonzero().flatten().tolist() == [0, 1, 5, 9, 13, 17]


def test_a_graph_block_lets_every_token_reach_every_other():
    torch.manual_seed(0)
    block = GraphTransformerBlock(5, 16, 4)
    x = torch.randn(1, 5, 16, requires_grad=True)
    block(x)[0, 0].sum().backward()
    assert (x.grad[0].abs().amax(1) > 1e-6).all()
    assert block.neighbours.grad[0].abs().min() > 0.0


# The network.


def test_outputs_are_one_consistent_hand():
    net = network().eval()
    out = net(**inputs())
    shapes = {
        "vertices_m": (2, 778, 3),
        "keypoints_m": (2, 21, 3),
        "keypoints_uv": (2, 21, 2),
        "rotations": (2, 16, 3, 3),
        "shape": (2, 10),
        "camera": (2, 3),
        "score": (2,),
    }
    assert {name: tuple(t.shape) for name, t in out.items()} == shapes
    for i in range(2):
        local, shape = (out[k][i].detach().double().numpy() for k in ("rotations", "shape"))
        posed = HAND.pose_rotations(local, shape)
        np.testing.assert_allclose(out["vertices_m"][i].detach(), posed.vertices_m, atol=1e-5)
    assert not torch.allclose(out["vertices_m"][0], out["vertices_m"][1], atol=1e-3)
    assert (out["score"] > 0.0).all()
    assert (out["score"] <= 1.0).all()


def test_the_first_hand_is_the_likeliest_whatever_is_drawn():
    net = network(num_hypotheses=4, num_draws=20).eval()
    given = inputs()
    with torch.no_grad():
        alone = net(**given)
        again = net(**given)
        draws = torch.rand(2, 20, 2, 15, generator=torch.Generator().manual_seed(0))
        among = net(**given, draws=draws)
        others = net(**given, draws=1.0 - draws)["hypotheses_vertices_m"]
    for name, values in alone.items():
        assert torch.equal(again[name], values)
        torch.testing.assert_close(among[name], values, atol=1e-5, rtol=1e-4)
    hands = among["hypotheses_vertices_m"]
    assert hands.shape == (2, 4, 778, 3)
    torch.testing.assert_close(hands[:, 0], alone["vertices_m"], atol=1e-5, rtol=0)
    torch.testing.assert_close(others[:, 0], hands[:, 0], atol=1e-5, rtol=0)
    assert ((others - hands)[:, 1:].norm(dim=3).mean(2) > 1e-4).all()
    spread = (hands - hands[:, :1]).norm(dim=3).mean(2)  # (2, 4)
    assert (spread[:, 1:] > 1e-4).all()
    # Probabilities: each of 21 hands is in one group, and the likeliest is in its own.
    counts = 21.0 * among["hypotheses_score"]
    torch.testing.assert_close(counts, counts.round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(counts.sum(1), torch.full((2,), 21.0))
    assert (counts[:, 0] > 0.5).all()


def test_hypotheses_of_as_many_draws_are_these_draws():
    """Every group is one drawn hand, which is made here by itself."""
    net = network(num_hypotheses=4, num_draws=3, drawn_share=0.2).eval()
    given = inputs()
    draws = torch.rand(2, 3, 2, 15, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = net(**given, draws=draws)
        torch.testing.assert_close(found["hypotheses_score"], torch.full((2, 4), 0.25))
        for crop, number in np.ndindex(2, 3):
            one = {name: x[crop : crop + 1] for name, x in given.items()}
            context = net.context(**one)
            values = net.values_of(context)
            made = drawn_hands(
                lambda codes, masked, c=context, v=values: net.predicted(c, v, codes, masked),
                net.codebook,
                net.sampled(context, values).first_logits,
                draws[crop, number : number + 1],
                tokens=3,
                temperature=1.0,
            )
            hand = net.posed(made.embedding, made.hand, context.uv).vertices_m[0]
            among = found["hypotheses_vertices_m"][crop, 1 + number]
            torch.testing.assert_close(among, hand, atol=1e-5, rtol=0)


def test_the_hand_is_read_with_the_codes_that_are_known():
    net = network().eval()
    given = inputs(1)
    with torch.no_grad():
        context = net.context(given["image"], given["landmark_cue"])
        values = net.values_of(context)
        shown = torch.zeros(1, 15, dtype=torch.bool)
        hidden = ~shown
        codes = torch.randn(2, 1, 15, net.codebook.shape[1])
        first = net.predicted(context, values, codes[0], shown)
        other = net.predicted(context, values, codes[1], shown)
        unseen = net.predicted(context, values, codes[1], hidden)
        alike = net.predicted(context, values, codes[0], hidden)
    assert (first.hand - other.hand).abs().max() > 1e-4
    assert (first.logits - other.logits).abs().max() > 1e-3
    assert torch.equal(unseen.logits, alike.logits)  # what is hidden is not seen


def test_no_cue_is_an_unknown_cue_and_a_known_one_matters():
    net = network().eval()
    image = inputs()["image"]
    unknown = torch.rand(2, 21, 3) * torch.tensor([1.0, 1.0, 0.0])
    with torch.no_grad():
        none = net(image)["vertices_m"]
        assert torch.equal(net(image, unknown)["vertices_m"], none)
        assert (net(**inputs())["vertices_m"] - none).abs().max() > 1e-4


def test_at_the_start_landmarks_are_where_the_cue_says_or_in_the_middle():
    torch.manual_seed(0)
    net = MaskHand(replace(CONFIG, image_size_px=128), HAND).eval()
    image = torch.rand(2, 3, 128, 128)
    told = 0.2 + 0.6 * torch.rand(2, 21, 2)
    cue = torch.cat([told, torch.ones(2, 21, 1)], dim=2)
    cue[0, :10, 2] = 0.0
    with torch.no_grad():
        torch.nn.init.zeros_(net.context.heatmaps[-1].weight)
        torch.nn.init.zeros_(net.context.heatmaps[-1].bias)
        uv = net(image, cue)["keypoints_uv"]
    assert (uv[1] - told[1]).norm(dim=1).max() < 0.03
    assert (uv[0, 10:] - told[0, 10:]).norm(dim=1).max() < 0.03
    torch.testing.assert_close(uv[0, :10], torch.full((10, 2), 0.5))


def test_tokens_start_at_their_joints_landmarks():
    net = network()
    share = torch.softmax(net.looks_at, 1)
    assert share.shape == (16, 21)
    torch.testing.assert_close(share[0], torch.full((21,), 1 / 21))
    # MANO's joints: index 1-3, middle 4-6, little 7-9, ring 10-12, thumb 13-15.
    expected = [5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3]
    assert share[1:].argmax(1).tolist() == expected


def test_the_tokeniser_is_frozen_inside():
    net = network()
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {f"decoder.{n}" for n, _ in net.decoder.named_parameters()}
    assert "codebook" not in dict(net.named_parameters())
    with pytest.raises(ValueError, match=r"set network\.tokeniser to it"):
        net.take_tokeniser(tokeniser(replace(TOKENISER, codes=17)))


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "tiny", "levels": 3},
        {"backbone": "tiny", "levels": 1},
        {"pose_cue": False},
        {"graph_blocks": 0},
        {"steps": 1},
        {"keypoints": "detector"},
        {"landmark_cue": False},
    ],
    ids=str,
)
def test_switches_make_working_networks(changes):
    net = network(**changes)
    out = net.eval()(**net.example_inputs(1))
    assert all(t.isfinite().all() for t in out.values())
    assert ("landmark_cue" in net.example_inputs(1)) == net.config.landmark_cue


def test_the_small_network_is_small():
    net = MaskHand(MaskHandConfig.small(), HAND)
    assert sum(p.numel() for p in net.parameters()) < 16e6
    assert net.config.image_size_px == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "vgg"}, "backbone must be one of .*got 'vgg'"),
        ({"image_size_px": 100}, "image_size_px must be a multiple of 32 from 64 on for resnet18"),
        ({"levels": 5}, "levels must be 1 to 4 for resnet18, got 5"),
        ({"width": 30}, "width must be a multiple of heads and of 4, got 30"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature must be 0 or more, got -1.0"),
        ({"num_hypotheses": 0}, "num_hypotheses must be at least 1, got 0"),
        ({"num_hypotheses": 9, "num_draws": 7}, "num_draws must be at least 8, got 7"),
        ({"drawn_share": 0.0}, r"drawn_share must be in \(0, 1\], got 0.0"),
        ({"cue_dropout": 1.0}, r"cue_dropout must be in \[0, 1\), got 1.0"),
        ({"keypoints": "mine"}, "keypoints must be one of"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_bad_inputs_say_what_was_expected():
    net = network().eval()
    given = inputs()
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 64, 64\).*got \(2, 3, 32, 32\)"):
        net(given["image"][:, :, :32, :32])
    with pytest.raises(ValueError, match=r"landmark_cue must be \(B, 21, 3\)"):
        net(given["image"], given["landmark_cue"][..., :2])
    with pytest.raises(ValueError, match=r"draws must be \(B, 64, 2, 15\).*\(2, 3, 2, 15\)"):
        net(**given, draws=torch.rand(2, 3, 2, 15))


# Losses and training.


def test_cross_entropy_is_of_hidden_codes_alone():
    logits = torch.zeros(2, 3, 4)
    logits[0, 0, 1] = 50.0
    index = torch.tensor([[1, 0, 0], [2, 2, 2]])
    masked = torch.tensor([[True, False, False], [True, False, True]])
    expected = 2.0 * math.log(4.0) / 3.0  # one is right, two are guessed
    assert masked_cross_entropy(logits, index, masked).item() == pytest.approx(expected, rel=1e-5)
    logits[0, 1] = torch.tensor([-50.0, 0.0, 0.0, 0.0])  # wrong, but it was shown
    assert masked_cross_entropy(logits, index, masked).item() == pytest.approx(expected, rel=1e-5)


def test_gradients_reach_logits_through_the_mean_codes():
    net = network()
    given = inputs()
    context = net.context(given["image"], given["landmark_cue"])
    masked = torch.ones(2, 15, dtype=torch.bool)
    index = torch.zeros(2, 15, dtype=torch.int64)
    codes = torch.nn.functional.embedding(index, net.codebook)
    found = net.predicted(context, net.values_of(context), codes, masked)
    found.logits.retain_grad()
    means = mean_codes(torch.softmax(found.logits, 2), net.codebook)
    net.posed(means, found.hand, context.uv).vertices_m.pow(2).sum().backward()
    assert (found.logits.grad.abs().amax((0, 2)) > 0.0).all()  # every token's
    assert net.context.maps.backbone.conv1.weight.grad.abs().sum() > 0.0
    assert net.layers[0].look.offset.weight.grad.abs().sum() > 0.0
    assert all(p.grad is None for p in net.decoder.parameters())


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="tokens must be 0 or more, got -1"):
        MaskHandLossWeights(tokens=-1.0)


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """A tokeniser of 200 poses, trained for seconds."""
    config = default_run_config("vq_mano").assigned(
        [
            *("network.tokens_per_joint=1", "network.codes=64", "network.code_width=16"),
            *("network.width=48", "task.poses=300", "task.validation_poses=8"),
            *("trainer.steps=150", "trainer.batch_size=64", "trainer.val_every_steps=1000"),
            *("trainer.warmup_steps=0", "trainer.ema_decay=0.9"),
        ]
    )
    return train(config, tmp_path_factory.mktemp("codes") / "run").weights


def run_config(codes, *changes):
    return default_run_config("maskhand_small").assigned(
        [
            "network.tokeniser={tokens_per_joint: 1, codes: 64, code_width: 16, width: 48}",
            *(f"task.tokeniser={codes}", f"network.image_size_px={SIZE}"),
            *("network.stage_width=16", "network.width=64", "network.heads=4"),
            *("task.backbone_weights=''",),
            *("network.layers=2", "network.graph_blocks=1", "network.cue_dropout=0"),
            *("task.images={bank_size: 64, skin_detail: 1}", "task.validation_hands=8"),
            *("trainer.batch_size=8", "trainer.threads=1", "trainer.accelerator=cpu"),
            *("trainer.steps=2", "trainer.val_every_steps=2", "trainer.warmup_steps=0"),
            *changes,
        ]
    )


def test_a_run_trains_and_its_weights_load(codes, tmp_path):
    result = train(run_config(codes), tmp_path / "run")
    assert result.finished
    names = ["pa_mpjpe_mm", "pa_mpvpe_mm", "uv_error_percent"]
    assert list(result.figures)[:3] == names
    assert 0.0 <= result.figures["score_rank_error"] <= 2.0
    loaded = load_network(result.weights, HAND)
    own = load_network(codes, HAND).network
    assert torch.equal(loaded.network.codebook, own.quantizer.codebook)
    for name, weight in own.decoder.state_dict().items():
        assert torch.equal(loaded.network.decoder.state_dict()[name], weight)


def test_tokenisers_that_do_not_fit_are_refused(codes, tmp_path):
    with pytest.raises(ConfigError, match=r"task\.tokeniser: the tokeniser is VQManoConfig"):
        build_task(run_config(codes, "network.tokeniser.codes=32"))
    path = tmp_path / "other.safetensors"
    save_network(path, "maskhand", network(), CONFIG, HAND, preprocessing={}, training={})
    with pytest.raises(ConfigError, match="is a MaskHand, expected weights of vq_mano"):
        build_task(run_config(path))


def test_eight_crops_are_learned_by_heart(codes):
    """Labels, codes, losses and sampling fit together: a wrong frame would leave centimetres."""
    by_heart = learned_by_heart(run_config(codes), steps=240, learning_rate=2e-3, rising=0.3)
    task, batch, figures = by_heart.task, by_heart.batch, by_heart.after
    with torch.no_grad():
        out = task.network(**task.network_inputs(batch))
    error_mm = 1e3 * (out["vertices_m"] - batch["vertices_m"]).norm(dim=2).mean().item()
    assert figures["pa_mpvpe_mm"] < 4.0
    assert figures["uv_error_percent"] < 2.0
    assert error_mm < 8.0


# Export.


def test_onnx_runtime_draws_the_same_hands():
    """One graph for every batch; few layers, since exporting is what takes the time."""
    net = network(num_hypotheses=3, num_draws=6, steps=2, layers=1, levels=1)
    assert list(net.example_inputs(1)) == ["image", "landmark_cue", "draws"]
    assert_onnx_agrees(net, 1, 3)
