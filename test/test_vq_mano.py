"""VQ-MANO: the codebook's life, codes of articulations, its training and its weights."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

import torch

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.evaluation.metrics import pa_error_m
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.torch_hand import rotations_from_axis_angle
from hand_mesh_ros.networks.checkpoint import load_network
from hand_mesh_ros.networks.checkpoint_file import WEIGHTS
from hand_mesh_ros.networks.layers.vector_quantizer import VectorQuantizer
from hand_mesh_ros.networks.vq_mano import VQMano, VQManoConfig
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.training.articulations import dataset_articulations, prior_articulations
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.datasets import DatasetError, register_dataset
from hand_mesh_ros.training.datasets.base import HandDataset, HandSample
from hand_mesh_ros.training.run_config import default_run_config
from hand_mesh_ros.training.trainer import build_task, train
from hand_mesh_ros.training.vq_mano_task import VQManoTaskOptions

HAND = load_open_hand()
SMALL = VQManoConfig(tokens_per_joint=2, codes=16, code_width=8, width=16, blocks=2)
CPU = torch.device("cpu")


def quantizer(codes=4, width=2, **changes):
    return VectorQuantizer(codes, width, **{"decay": 0.9, "dead_below": 0.5} | changes)


def network(**changes):
    torch.manual_seed(0)
    return VQMano(replace(SMALL, **changes), HAND)


def rotations(n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return rotations_from_axis_angle(0.4 * torch.randn(n, 15, 3, generator=generator))


# The codebook.


def test_the_nearest_code_is_the_nearest_by_the_formula():
    of = quantizer(codes=50, width=3)
    torch.manual_seed(1)
    of.codebook.normal_()
    vectors = torch.randn(7, 11, 3)
    distance = (vectors[:, :, None] - of.codebook).norm(dim=3)
    assert torch.equal(of.nearest(vectors), distance.argmin(2))
    torch.testing.assert_close(
        (of.codes_of(of.nearest(vectors)) - vectors).norm(dim=2), distance.min(2).values
    )


def test_the_first_batch_makes_the_codebook():
    torch.manual_seed(0)
    of = quantizer(codes=8)
    vectors = torch.randn(100, 2)
    of.learn(vectors, of.nearest(vectors))
    among = (of.codebook[:, None] - vectors).norm(dim=2).min(1).values
    # The code that all had chosen is their mean; the others are vectors of the batch.
    assert (among < 1e-6).sum() >= 7
    assert len(torch.unique(of.codebook, dim=0)) >= 7


def test_codes_are_moving_averages_of_what_chose_them():
    of = quantizer(decay=0.75)
    of.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]))
    of.counts.fill_(4.0)
    of.sums.copy_(4.0 * of.codebook)
    vectors = torch.tensor([[1.0, 1.0], [1.0, -1.0], [10.0, 2.0]])
    index = of.nearest(vectors)
    assert index.tolist() == [0, 0, 1]
    of.learn(vectors, index)
    # Count 0.75 * 4 + 0.25 * n, sum likewise.
    torch.testing.assert_close(of.counts, torch.tensor([3.5, 3.25, 3.0, 3.0]))
    expected = torch.tensor([[0.5 / 3.5, 0.0], [(30 + 2.5) / 3.25, 0.5 / 3.25], [0, 10], [10, 10]])
    torch.testing.assert_close(of.codebook, expected)


def test_a_dead_code_moves_into_the_batch_and_a_living_one_does_not():
    torch.manual_seed(0)
    of = quantizer(decay=0.5, dead_below=0.5)
    of.codebook.copy_(torch.tensor([[0.0, 0.0], [99.0, 0.0], [0.0, 99.0], [1.0, 0.0]]))
    of.counts.copy_(torch.tensor([4.0, 1.1, 0.9, 4.0]))
    of.sums.copy_(of.counts[:, None] * of.codebook)
    vectors = torch.tensor([[0.1, 0.0], [1.1, 0.0]])
    of.learn(vectors, of.nearest(vectors))
    assert of.counts.tolist() == pytest.approx([2.5, 0.55, 1.0, 2.5])  # only the third died
    torch.testing.assert_close(of.codebook[1], torch.tensor([99.0, 0.0]))
    assert any(torch.allclose(of.codebook[2], v) for v in vectors)


def test_nothing_but_learn_changes_the_codebook():
    net = network().train()
    net.quantizer.learn(*(lambda z: (z, net.quantizer.nearest(z)))(net.encoder(rotations(40))))
    before = net.quantizer.codebook.clone()
    net(rotations())
    assert torch.equal(net.quantizer.codebook, before)
    assert before.abs().sum() > 0.0


def test_share_in_use_counts_codes_once():
    index = torch.tensor([[0, 0, 3], [3, 3, 9]])
    assert VectorQuantizer.share_in_use(index, 10) == pytest.approx(0.3)


# The network.


def test_tokens_codes_and_rotations_have_their_shapes():
    for tokens_per_joint in (1, 2, 4):
        net = network(tokens_per_joint=tokens_per_joint).eval()
        out = net(rotations())
        assert out["index"].shape == (3, 15 * tokens_per_joint)
        assert net.config.tokens == 15 * tokens_per_joint
        R = out["rotations"]
        assert R.shape == (3, 15, 3, 3)
        eye = torch.eye(3).expand_as(R)
        torch.testing.assert_close(R @ R.transpose(2, 3), eye, atol=1e-5, rtol=0)
        assert (torch.linalg.det(R) > 0.0).all()


def test_a_token_belongs_to_its_joint():
    """What a joint does reaches its own latents, and only those of joints near it in the list."""
    net = network(blocks=1).eval()
    torch.nn.init.normal_(net.encoder.blocks[0].within.weight)
    one, other = rotations(1), rotations(1, seed=5)
    changed = one.clone()
    changed[:, 6] = other[:, 6]
    moved = (net.encoder(changed) - net.encoder(one)).abs().amax((0, 2)).unflatten(0, (15, 2))
    # Two convolutions of three joints each.
    assert (moved.amax(1) > 1e-6).nonzero().flatten().tolist() == [4, 5, 6, 7, 8]


def test_gradients_pass_the_codes_as_if_they_were_the_latent():
    net = network()
    net.quantizer.codebook.normal_()
    done = net.tokenise(rotations())
    torch.testing.assert_close(done.rotations, net.decoder(net.quantizer.codes_of(done.index)))
    done.rotations[:, :, 0, 1].sum().backward()
    assert net.encoder.start.weight.grad.abs().sum() > 0.0
    assert net.decoder.end.weight.grad.abs().sum() > 0.0


def test_encode_gives_the_codes_that_forward_decodes():
    net = network().eval()
    net.quantizer.codebook.normal_(std=0.2)
    out = net(rotations())
    assert torch.equal(net.encode(rotations()), out["index"])
    assert len(out["index"].unique()) > 2
    torch.testing.assert_close(net.decoder(net.quantizer.codes_of(out["index"])), out["rotations"])


def test_the_papers_sizes():
    config = VQManoConfig.paper()
    assert (config.tokens, config.codes, config.code_width) == (60, 2048, 256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens_per_joint": 0}, "tokens_per_joint must be at least 1, got 0"),
        ({"codes": 1}, "codes must be at least 2, got 1"),
        ({"decay": 1.0}, r"decay must be in \[0, 1\), got 1.0"),
        ({"dead_below": -1.0}, "dead_below must be 0 or more, got -1.0"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


# Data.

SPEC = "poses_for_a_test:/nowhere"
MANO = replace(HAND, name="mano", pose_mean=0.1 * np.arange(45.0) / 45.0)


@register_dataset("poses_for_a_test")
class Poses(HandDataset):
    """A right hand, the same one as a left hand, one about the mean pose, and one without pose."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        pose = 0.3 * rng.standard_normal(48)
        mean = np.append(np.zeros(3), MANO.pose_mean)
        common = {
            "load_image": None,
            "camera": Camera(64, 64, np.diag([60.0, 60.0, 1.0])),
            "box_px": np.zeros(4),
            "keypoints_px": np.zeros((21, 2)),
            "keypoints_valid": np.ones(21, bool),
        }
        self.pose = pose
        self._hands = [
            HandSample("right", side=Side.RIGHT, pose=pose, shape=np.ones(10), **common),
            HandSample("left", side=Side.LEFT, pose=mirror_axis_angle(pose), **common),
            HandSample(
                "mean", side=Side.RIGHT, pose=pose - mean, pose_is_about_mean=True, **common
            ),
            HandSample("none", side=Side.RIGHT, **common),
        ]

    def __len__(self):
        return len(self._hands)

    def _sample(self, index):
        return self._hands[index]


def test_poses_of_data_sets_are_right_hands_with_the_mean_pose():
    found = dataset_articulations({SPEC: 1.0}, MANO, 10, seed=0)
    expected = rotation_from_axis_angle(Poses("").pose.reshape(16, 3))[1:]
    assert found.rotations.shape == (3, 15, 3, 3)
    for hand in found.rotations:
        np.testing.assert_allclose(hand, expected, atol=1e-6)
    assert sorted(found.shape.sum(1).tolist()) == [0.0, 0.0, 10.0]
    assert len(dataset_articulations({SPEC: 1.0}, MANO, 2, seed=0).shape) == 2


def test_data_sets_of_another_hand_are_refused():
    with pytest.raises(DatasetError, match="the data sets' poses are mano's, this trains open"):
        dataset_articulations({SPEC: 1.0}, HAND, 10, seed=0)


def test_articulations_of_the_prior_are_its_poses():
    found = prior_articulations(HAND, 50, np.random.default_rng(3))
    R = found.rotations.astype(np.float64)
    np.testing.assert_allclose(R @ R.swapaxes(2, 3), np.broadcast_to(np.eye(3), R.shape), atol=1e-6)
    bend = np.degrees(np.arccos(np.clip((np.trace(R, axis1=2, axis2=3) - 1) / 2, -1, 1)))
    assert 5.0 < np.median(bend) < 60.0
    assert bend.max() < 130.0


# Training.


def run_config(*changes):
    return default_run_config("vq_mano").assigned(
        [
            *("network.codes=64", "network.code_width=16", "network.width=32", "network.blocks=2"),
            *("task.poses=200", "task.validation_poses=40", "trainer.batch_size=32"),
            *("trainer.warmup_steps=0", "trainer.val_every_steps=30"),
            *changes,
        ]
    )


def test_training_lowers_the_error_and_its_weights_load(tmp_path):
    config = run_config("trainer.steps=60", "trainer.ema_decay=0.8")
    result = train(config, tmp_path / "run")
    assert list(result.figures) == ["pa_mpvpe_mm", "codes_unused_percent"]
    loaded = load_network(result.weights, HAND).network
    task = build_task(config)
    val = list(task.batches(BatchStream("val", CPU)))
    rested = {"rotations": torch.eye(3).expand(40, 15, 3, 3)}
    with torch.no_grad():
        again = task.validate(loaded, val)
        truth, flat = (
            task._vertices(b["rotations"], val[0]["shape"]).double().numpy()
            for b in (val[0], rested)
        )
    assert again["pa_mpvpe_mm"] == pytest.approx(result.figures["pa_mpvpe_mm"], rel=1e-4)
    assert again["pa_mpvpe_mm"] < 0.6 * 1e3 * pa_error_m(flat, truth)
    assert 0.0 <= again["codes_unused_percent"] < 70.0


def test_batches_depend_on_the_step_alone():
    task = build_task(run_config())
    batches = task.batches(BatchStream("train", CPU))
    first, second = next(batches), next(batches)
    assert first["rotations"].shape == (32, 15, 3, 3)
    assert not torch.equal(first["rotations"], second["rotations"])
    again = next(task.batches(BatchStream("train", CPU, start_step=1)))
    assert torch.equal(again["rotations"], second["rotations"])
    val = next(task.batches(BatchStream("val", CPU)))
    gap = (val["rotations"][:, None] - torch.from_numpy(task._poses["train"].rotations)).abs()
    assert gap.amax((2, 3, 4)).min() > 1e-3  # no validation hand is trained on


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": 0}, "expected something to train on"),
        ({"vertices": -1.0}, "vertices is -1"),
        ({"datasets": {"freihand:/x": 0.0}}, "weight of freihand:/x is 0"),
    ],
)
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(VQManoTaskOptions(), **changes)


def test_the_packaged_weights_keep_hands_to_a_millimetre_and_a_half():
    """Fifteen codes out of 256 for a hand."""
    assert (WEIGHTS / "vq_mano.safetensors").stat().st_size < 4e6
    net = load_network("vq_mano", HAND).network
    task = build_task(run_config("task.validation_poses=300"))
    task.network = net
    batches = task.batches(BatchStream("val", CPU))
    with torch.no_grad():
        figures = task.validate(net, batches)
    print(figures)
    assert figures["pa_mpvpe_mm"] < 1.5
    assert figures["codes_unused_percent"] < 40.0
