"""AMVUR learns eight rendered crops by heart: labels, losses and network fit together."""

import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

from hand_mesh_ros.training.run_config import default_run_config  # noqa: E402
from hand_mesh_ros.training.trainer import build_task  # noqa: E402

# Eight crops say little about which vertices are worse than others, so it is always the same eight:
# without the engine's effects that came after this test.
LATER_EFFECTS = (
    *("clutter", "hand_colored_background", "tight_image", "harsh_light", "vignetting"),
    *("tone_curve", "chroma_noise", "sharpening", "veins", "hair", "rings", "watch"),
    "pinched_object",
)
SMALL = [
    "network.image_size_px=64",
    "network.landmark_cue=false",
    "network.texture=none",
    "task.backbone_weights=''",
    *("task.images.bank_size=64", "task.images.skin_detail=1"),
    *(f"task.images.{name}=0" for name in LATER_EFFECTS),
    "trainer.batch_size=8",
]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that it is the same run on every machine
    yield
    torch.set_num_threads(threads)


def learned(name, steps, learning_rate):
    """Figures of one batch before and after so many steps on it alone."""
    task = build_task(default_run_config(name).assigned(SMALL))
    place = {"seed": 0, "rank": 0, "world_size": 1, "device": torch.device("cpu")}
    made = task.batches(split="train", **place)
    batch = next(made)
    made.close()
    with torch.no_grad():
        before = task.validate(task.network.eval(), [batch])
    optimiser = torch.optim.AdamW(task.parameter_groups(weight_decay=0.0), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, pct_start=0.1
    )
    task.network.train()
    for step in range(steps):
        loss = torch.stack(list(task.losses(batch, step=step).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return before, task.validate(task.network.eval(), [batch])


def test_eight_crops_are_learned_with_3d_truth():
    before, after = learned("amvur", 80, 3e-3)
    print(before, after)
    assert before["pa_mpvpe_mm"] > 10.0
    assert after["pa_mpvpe_mm"] < 5.0  # 2.4 in this run
    assert after["pa_mpjpe_mm"] < 5.0
    assert after["uv_error_percent"] < 2.0
    # Deviations follow the errors down, and which vertices are worse than others.
    assert after["stddev_rank_correlation"] > 0.3
    assert 0.5 < after["within_one_stddev"] < 0.95


def test_2d_joints_alone_bring_hands_into_their_place():
    before, after = learned("amvur_weak", 40, 3e-3)
    print(before, after)
    assert after["uv_error_percent"] < 0.5 * before["uv_error_percent"]
