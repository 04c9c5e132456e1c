"""The fused network: it starts as the lifter, learns what an image adds, and runs live."""

from dataclasses import fields, replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

import torch
from by_heart import learned_by_heart
from onnx_parity import assert_onnx_agrees

from hand_mesh_ros.assembly import build_reconstructor
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.metrics import distances_m
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.torch_hand import rotations_from_axis_angle
from hand_mesh_ros.networks.checkpoint import load_network, save_network
from hand_mesh_ros.networks.checkpoint_file import CheckpointError
from hand_mesh_ros.networks.fused import Fused, FusedConfig, FusedStep
from hand_mesh_ros.networks.fused_losses import FusedLossWeights, fused_losses
from hand_mesh_ros.networks.handmim_losses import HandTruth
from hand_mesh_ros.networks.maskhand import MaskHand, MaskHandConfig
from hand_mesh_ros.networks.vq_mano import VQManoConfig
from hand_mesh_ros.reconstruction.hand_cost import EvidenceWeights
from hand_mesh_ros.reconstruction.landmark_fit import LandmarkFit, LandmarkFitConfig
from hand_mesh_ros.reconstruction.lifted_start import LIFTED_INPUTS, LiftedStarts
from hand_mesh_ros.reconstruction.lifter import Lifter
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.rotations import axis_angle_from_rotation
from hand_mesh_ros.sources.synthetic import SyntheticCamera
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.run_config import default_run_config
from hand_mesh_ros.training.trainer import build_task, train
from hand_mesh_ros.types import Detection, Track

HAND = load_open_hand()
SIZE = 64
CONFIG = FusedConfig(image_size_px=SIZE, stage_width=8, levels=2, width=32, hidden=64)
CPU = torch.device("cpu")
LENGTH_M = 0.19
NO_WEIGHTS = FusedLossWeights(**dict.fromkeys((f.name for f in fields(FusedLossWeights)), 0.0))


def network(**changes):
    torch.manual_seed(0)
    return Fused(replace(CONFIG, **changes), HAND)


def test_before_it_has_learned_anything_it_is_the_lifter():
    net = network().eval()
    given = net.example_inputs(3)
    with torch.no_grad():
        found = net(**given)
    posed = net.hand(given["lifted_rotations"], given["lifted_shape"])
    assert torch.allclose(found["vertices_m"], posed.vertices_m, atol=1e-6)
    assert torch.allclose(found["keypoints_uv"], given["lifted_uv"])
    assert torch.allclose(found["keypoint_stddev_m"], given["lifted_stddev_m"])


def test_live_that_holds_for_both_hands_wherever_they_are(tmp_path):
    """Crop, mirror, camera, size and place are undone: the lifter's hands come back."""
    path = tmp_path / "fused.safetensors"
    save_network(path, "fused", network(), CONFIG, HAND, preprocessing={}, training={})
    fused = build_reconstructor(
        NodeParameters(
            **{"model": "fused", "checkpoint": str(path), "backend": "torch", "device": "cpu"},
            **{"known_hand_length_m": LENGTH_M, "max_hands": 2},
        )
    )
    # A fit in which landmarks count nothing leaves the lifter's hand, of the known length.
    unmoved = LandmarkFitConfig(weights=EvidenceWeights(landmark_stddev=10.0))
    lifter = LandmarkFit(
        HAND, lifter=Lifter.load("lifter", HAND), known_hand_length_m=LENGTH_M, config=unmoved
    )
    shown = SyntheticCamera(seed=1, hands=2).frame_at(20)
    tracks = [
        Track(h.track_id, detection_of(h.keypoints_px, h.side), h.side, 0.9, is_new=True)
        for h in shown.hands
    ]
    assert {track.side for track in tracks} == set(Side)
    pairs = zip(
        fused.reconstruct(shown.frame, tracks),
        lifter.reconstruct(shown.frame, tracks),
        strict=True,
    )
    for a, b in pairs:
        assert distances_m(a.vertices_m, b.vertices_m).max() < 2.5e-3
        turn = axis_angle_from_rotation(a.R_camera_hand @ b.R_camera_hand.T)
        assert np.linalg.norm(turn) < np.radians(1.0)
        np.testing.assert_allclose(a.pose, b.pose, atol=0.02)
        np.testing.assert_allclose(
            a.t_camera_wrist_guess, b.t_camera_wrist_guess, rtol=0.01, atol=2e-3
        )
        np.testing.assert_allclose(a.depth_stddev, b.depth_stddev, rtol=0.1)
        np.testing.assert_allclose(a.keypoint_stddev_m, b.keypoint_stddev_m, rtol=0.1)
    # Landmarks on a line are no hand, for it as for the lifter; the other one still comes.
    line = np.linspace([100.0, 100.0], [200.0, 200.0], 21)
    flat = replace(tracks[0], detection=detection_of(line, tracks[0].side))
    first, second = fused.reconstruct(shown.frame, [flat, tracks[1]])
    assert first is None
    assert second is not None
    assert fused.reconstruct(shown.frame, [flat]) == [None]


def detection_of(px, side):
    return Detection(side, 0.9, 0.9, px, None, np.concatenate([px.min(0), px.max(0)]))


def test_missing_landmarks_are_no_obstacle_and_too_few_are_no_hand():
    starts, K = LiftedStarts(HAND), np.array([[180.0, 0, 31.5], [0, 180.0, 31.5], [0, 0, 1]])
    task = build_task(run_config())
    cue = next(task.batches(BatchStream("val", CPU)))["landmark_cue"]
    cue = cue[0].numpy()
    whole = starts.of_crop(cue, K, SIZE)
    assert set(whole.inputs) == set(LIFTED_INPUTS)
    assert all(np.isfinite(v).all() for v in whole.inputs.values())
    cue[[7, 8, 20], 2] = 0.0
    some = starts.of_crop(cue, K, SIZE)
    assert all(np.isfinite(v).all() for v in some.inputs.values())
    assert some.inputs["lifted_stddev_m"][8] > whole.inputs["lifted_stddev_m"][8]
    cue[3:, 2] = 0.0
    assert starts.of_crop(cue, K, SIZE) is None
    cue[:, 2] = 0.0
    assert starts.of_crop(cue, K, SIZE) is None


# Training.


def run_config(*changes):
    return default_run_config("fused").assigned(
        [
            *(f"network.image_size_px={SIZE}", "network.stage_width=16", "network.width=64"),
            *("network.hidden=128", "network.levels=2", "task.encoder_weights=''"),
            *("task.images={bank_size: 64, skin_detail: 1}", "task.validation_hands=8"),
            *("trainer.batch_size=8", "trainer.threads=1", "trainer.accelerator=cpu"),
            *("trainer.steps=2", "trainer.val_every_steps=2", "trainer.warmup_steps=0"),
            *("trainer.precision=32-true",),
            *changes,
        ]
    )


def test_a_run_trains_and_reports_the_lifter_beside_it(tmp_path):
    result = train(run_config("trainer.learning_rate=0.0"), tmp_path / "run")
    figures = result.figures
    assert figures["pa_mpjpe_mm"] == pytest.approx(figures["lifted_pa_mpjpe_mm"], abs=1e-3)
    assert figures["pa_mpvpe_mm"] == pytest.approx(figures["lifted_pa_mpvpe_mm"], abs=1e-3)
    assert 1.0 < figures["lifted_pa_mpjpe_mm"] < 15.0
    assert isinstance(load_network(result.weights, HAND).network, Fused)


def test_crops_whose_landmarks_make_no_hand_are_left_out(monkeypatch):
    task = build_task(run_config())
    whole = next(task.batches(BatchStream("val", CPU)))
    usual, calls = LiftedStarts.of_crop, []

    def third_fails(self, *given):
        calls.append(1)
        return None if len(calls) == 3 else usual(self, *given)

    monkeypatch.setattr(LiftedStarts, "of_crop", third_fails)
    fewer = next(task.batches(BatchStream("val", CPU)))
    left = [0, 1, 3, 4, 5, 6, 7]
    assert set(fewer) == set(whole)
    for name, values in whole.items():
        assert torch.equal(fewer[name], values[left]), name


def test_it_starts_from_the_encoder_of_a_maskhand(tmp_path):
    config = replace(
        MaskHandConfig.small(),
        tokeniser=VQManoConfig(tokens_per_joint=1, codes=16, code_width=8, width=16, blocks=1),
        **{"image_size_px": SIZE, "stage_width": 16, "levels": 2, "width": 64, "heads": 4},
        **{"graph_blocks": 1, "layers": 1},
    )
    path = tmp_path / "maskhand.safetensors"
    torch.manual_seed(5)
    of = MaskHand(config, HAND)
    save_network(path, "maskhand", of, config, HAND, preprocessing={}, training={})
    task = build_task(run_config(f"task.encoder_weights={path}"))
    for name, values in of.context.state_dict().items():
        assert torch.equal(task.network.context.state_dict()[name], values)
    with pytest.raises(CheckpointError, match="its encoder is not that of the fused network"):
        build_task(run_config(f"task.encoder_weights={path}", "network.width=32"))


def test_eight_crops_are_learned_by_heart():
    """Labels, losses and corrections fit together: a wrong frame would leave centimetres."""
    by_heart = learned_by_heart(run_config(), steps=200, learning_rate=2e-3, rising=0.3)
    before, figures = by_heart.before, by_heart.after
    assert figures["pa_mpvpe_mm"] < 0.4 * before["pa_mpvpe_mm"]
    assert figures["pa_mpvpe_mm"] < 2.0
    assert figures["uv_error_percent"] < 1.0


def test_deviations_learn_from_errors_and_nothing_else_from_deviations():
    torch.manual_seed(0)
    points = torch.randn(4, 21, 3, requires_grad=True)
    stddev = torch.full((4, 21), 0.01, requires_grad=True)
    identity = torch.eye(3).expand(4, 16, 3, 3)
    nothing = torch.zeros(4, 21, 2)
    step = FusedStep(points, points, nothing, identity, torch.zeros(4, 10), stddev)
    truth = HandTruth(
        *(torch.zeros(4, 21, 3), torch.zeros(4, 21, 3), nothing, identity),
        *(torch.zeros(4, 10), torch.eye(3).expand(4, 3, 3)),
    )
    alone = replace(NO_WEIGHTS, deviations=1.0)
    terms = fused_losses([step], truth, alone)
    assert set(terms) == {"deviations"}
    terms["deviations"].backward()
    assert points.grad is None
    # The likelihood is highest where the deviation is the error's root mean square of an axis.
    off = points.detach() - points.detach().mean(1, keepdim=True)
    best = (off**2).mean(2).sqrt().requires_grad_()
    again = fused_losses([step._replace(keypoint_stddev_m=best)], truth, alone)
    again["deviations"].backward()
    assert best.grad.abs().max() < 1e-4
    assert stddev.grad.max() < 0.0


def test_the_posed_term_is_of_pose_alone():
    random = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(4, 21, 3, generator=random)
    turn = rotations_from_axis_angle(torch.randn(4, 3, generator=random))
    turned = 1.2 * points @ turn + 0.3
    nothing, identity = torch.zeros(4, 21, 2), torch.eye(3).expand(4, 16, 3, 3)
    step = FusedStep(points, points, nothing, identity, torch.zeros(4, 10), points[..., 0])
    weights = replace(NO_WEIGHTS, posed=1.0)

    def posed(keypoints_m):
        truth = HandTruth(
            *(keypoints_m, keypoints_m, nothing, identity, torch.zeros(4, 10)),
            torch.eye(3).expand(4, 3, 3),
        )
        return fused_losses([step], truth, weights)["posed"].item()

    assert posed(turned) < 2e-3
    assert posed(turned.flip(1)) > 0.3


# Bad input, export.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size_px": 100}, "image_size_px must be a multiple of 32 from 64 on, got 100"),
        ({"corrections": 0}, "corrections must be at least 1, got 0"),
        ({"cue_stddev": 0.0}, "cue_stddev must be positive, got 0"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_images_of_another_size_are_refused():
    net = network()
    given = net.example_inputs(1) | {"image": torch.zeros(1, 3, 32, 32)}
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 64, 64\)"):
        net(**given)


def test_onnx_runtime_makes_the_same_hands():
    net = network(levels=1)
    for corrector in net.correctors:
        torch.nn.init.normal_(corrector.off.weight, std=0.01)
    given = net.example_inputs(1)
    assert list(given) == ["image", "landmark_cue", *LIFTED_INPUTS]
    assert_onnx_agrees(net, 1, 3)
