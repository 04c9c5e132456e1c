"""AMVUR learns eight rendered crops by heart: labels, losses and network fit together."""

import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

from by_heart import learned_by_heart  # noqa: E402

from hand_mesh_ros.training.run_config import default_run_config  # noqa: E402

SMALL = [
    "network.image_size_px=64",
    "network.landmark_cue=false",
    "network.texture=none",
    "task.backbone_weights=''",
    *("task.images.bank_size=64", "task.images.skin_detail=1"),
    "trainer.batch_size=8",
]


def test_eight_crops_are_learned_with_3d_truth():
    _, _, before, after = learned_by_heart(
        default_run_config("amvur").assigned(SMALL), steps=80, learning_rate=3e-3, rising=0.1
    )
    assert before["pa_mpvpe_mm"] > 10.0
    assert after["pa_mpvpe_mm"] < 5.0  # 2.4 in this run
    assert after["pa_mpjpe_mm"] < 5.0
    assert after["uv_error_percent"] < 2.0
    # Deviations follow the errors down. Which vertices are worse, eight crops do not say: see
    # test_packaged_networks.py.
    assert 0.5 < after["within_one_stddev"] < 0.95


def test_2d_joints_alone_bring_hands_into_their_place():
    _, _, before, after = learned_by_heart(
        default_run_config("amvur_weak").assigned(SMALL), steps=40, learning_rate=3e-3, rising=0.1
    )
    assert after["uv_error_percent"] < 0.5 * before["uv_error_percent"]
