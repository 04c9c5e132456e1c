"""M3DHMR learns sixteen rendered crops by heart: labels, losses and network fit together.

The one slow test of training (three minutes of one core): a wrong sign or frame anywhere between
engine and mesh leaves centimetres.
"""

import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

from hand_mesh_ros.training.run_config import default_run_config  # noqa: E402
from hand_mesh_ros.training.trainer import build_task  # noqa: E402

STEPS, LEARNING_RATE, LIFT_LEARNING_RATE = 900, 4e-3, 4e-2
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
    f"task.lift_learning_rate={LIFT_LEARNING_RATE}",
    "trainer.batch_size=16",
]


@pytest.mark.timeout(1800)
def test_sixteen_crops_are_learned_to_two_millimetres():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that it is the same run on every machine
    try:
        task = build_task(default_run_config("m3dhmr").assigned(SMALL))
        place = {"seed": 0, "rank": 0, "world_size": 1, "device": torch.device("cpu")}
        made = task.batches(split="train", **place)
        batch = next(made)
        made.close()
        groups = task.parameter_groups(weight_decay=0.0)
        optimizer = torch.optim.AdamW(groups, LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group.get("lr", LEARNING_RATE) for group in groups],
            total_steps=STEPS,
            pct_start=0.1,
        )
        task.network.train()
        for step in range(STEPS):
            loss = torch.stack(list(task.losses(batch, step=step).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            figures = task.validate(task.network.eval(), [batch])
    finally:
        torch.set_num_threads(threads)
    assert figures["pa_mpvpe_mm"] < 2.0
    assert figures["pa_mpjpe_mm"] < 2.0
    assert figures["uv_error_percent"] < 0.5
