"""M3DHMR learns sixteen rendered crops by heart: labels, losses and network fit together.

The one slow test of training (three minutes of one core): a wrong sign or frame anywhere between
engine and mesh leaves centimetres.
"""

import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

from by_heart import learned_by_heart  # noqa: E402

from hand_mesh_ros.training.run_config import default_run_config  # noqa: E402

# Plain spirals learn a mesh's details in half the time that dynamic ones take.
SMALL = [
    "network.image_size_px=64",
    "network.stack_widths=[16]",
    "network.hourglass_width=32",
    "network.mesh_widths=[128,128,96,64,32]",
    "network.convolution=spiral",
    "network.roi_length=9",
    "network.landmark_cue=false",
    "task.images={bank_size: 64, skin_detail: 1}",
    "task.lift_learning_rate=4e-2",
    "trainer.batch_size=16",
]


@pytest.mark.timeout(1800)
def test_sixteen_crops_are_learned_to_two_millimetres():
    config = default_run_config("m3dhmr").assigned(SMALL)
    figures = learned_by_heart(config, steps=900, learning_rate=4e-3, rising=0.1).after
    assert figures["pa_mpvpe_mm"] < 2.0
    assert figures["pa_mpjpe_mm"] < 2.0
    assert figures["uv_error_percent"] < 0.5
