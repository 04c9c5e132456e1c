"""Training as a whole, on a line: what it learns, how it stops, and that it goes on the same."""

import dataclasses
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

import torch
import toy_training
from safetensors.numpy import load_file
from toy_training import ToyTask

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks import checkpoint_file
from hand_mesh_ros.networks.checkpoint import load_network
from hand_mesh_ros.networks.checkpoint_file import CheckpointError, read_checkpoint_file
from hand_mesh_ros.training import resume_file
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.ema import MovingAverage
from hand_mesh_ros.training.lightning_task import TrainingError
from hand_mesh_ros.training.resume_file import ResumeFileIO, steps_done
from hand_mesh_ros.training.run_config import default_run_config
from hand_mesh_ros.training.schedule import learning_rate_factor
from hand_mesh_ros.training.seeds import numpy_stream, torch_stream
from hand_mesh_ros.training.trainer import train


def config(*assignments):
    return default_run_config("toy").assigned(assignments)


def weights(folder, which="last"):
    return {k: v.tobytes() for k, v in load_file(folder / f"{which}.safetensors").items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, result) of a run from start to end."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, train(config(), folder)


def test_it_learns_the_line_and_keeps_its_best_weights(finished):
    folder, result = finished
    assert (result.task, result.steps, result.finished) == ("toy", 120, True)
    assert not result.interrupted
    files = {"best.safetensors", "config.yaml", "last.safetensors", "resume.safetensors"}
    assert {p.name for p in folder.iterdir()} == files | {"tensorboard"}
    assert result.weights == folder / "best.safetensors"
    loaded = load_network(result.weights, load_open_hand())
    assert loaded.file.network == "toy"
    assert loaded.file.preprocessing == {"mean": [0.5]}
    training = loaded.file.training
    assert (training["task"], training["seed"]) == ("toy", 0)
    assert training["recipe"]["trainer"]["learning_rate"] == 0.05
    x = torch.linspace(0.1, 0.9, 9)[:, None]
    error_mm = 1e3 * (loaded.network(x)["y"] - 2.0 * x).abs().mean().item()
    assert error_mm < 100.0
    assert training["figures"]["error_mm"] == pytest.approx(error_mm, rel=0.5)
    last = read_checkpoint_file(folder / "last.safetensors").training
    assert (last["steps"], last["figures"]) == (120, result.figures)


def test_the_best_weights_are_those_of_the_lowest_first_figure(tmp_path, monkeypatch):
    figures = iter([5.0, 2.0, math.nan, 3.0])
    monkeypatch.setattr(
        ToyTask, "validate", lambda *_: {"error_mm": next(figures), "other_mm": -next(second)}
    )
    second = iter([1.0, 2.0, 3.0, 4.0])
    result = train(config(), tmp_path / "run")
    assert result.figures == {"error_mm": 3.0, "other_mm": -4.0}
    best = read_checkpoint_file(tmp_path / "run/best.safetensors").training
    assert (best["steps"], best["figures"]) == (60, {"error_mm": 2.0, "other_mm": -2.0})


def test_without_figures_the_last_weights_are_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyTask, "validate", lambda *_: {})
    result = train(config("trainer.steps=2"), tmp_path / "run")
    assert (result.figures, result.weights) == ({}, tmp_path / "run/last.safetensors")
    assert not (tmp_path / "run/best.safetensors").exists()


def test_the_checkpoint_has_the_averaged_weights(finished):
    folder, _ = finished
    state = ResumeFileIO().load_checkpoint(folder / "resume.safetensors")
    raw = state["state_dict"]["network.head.1.weight"].numpy()
    averaged = read_checkpoint_file(folder / "last.safetensors").tensors["head.1.weight"]
    kept = state["callbacks"]["Averaging"]["network"]["head.1.weight"].numpy()
    np.testing.assert_array_equal(averaged, kept)
    assert 1e-5 < np.abs(averaged - raw).max() < 0.3


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(finished, tmp_path):
    train(config(), tmp_path / "same")
    assert weights(tmp_path / "same") == weights(finished[0])
    train(config("trainer.seed=1"), tmp_path / "other")
    assert weights(tmp_path / "other") != weights(finished[0])


def test_a_resumed_run_ends_as_the_uninterrupted_one_bit_by_bit(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    losses = ToyTask.losses

    def interrupted(self, batch, *, step):
        if step == 46:  # between two saves
            signal.raise_signal(signal.SIGINT)
        return losses(self, batch, step=step)

    monkeypatch.setattr(ToyTask, "losses", interrupted)
    result = train(config(), folder)
    assert (result.steps, result.interrupted, result.finished) == (47, True, False)
    assert steps_done(folder / "resume.safetensors") == 47
    monkeypatch.undo()
    torch.manual_seed(99)  # what the process drew before must not matter
    result = train(config(), folder, resume=True)
    assert (result.steps, result.finished) == (120, True)
    for which in ("last", "best"):
        assert weights(folder, which) == weights(finished[0], which)
        name = f"{which}.safetensors"
        assert (folder / name).read_bytes() == (finished[0] / name).read_bytes()
    ours, theirs = (
        ResumeFileIO().load_checkpoint(run / "resume.safetensors") for run in (folder, finished[0])
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks"):
        assert_equal(ours[part], theirs[part])
    assert "extra.teacher.weight" in ours["state_dict"]


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def test_a_second_ctrl_c_ends_at_once(tmp_path, monkeypatch):
    losses = ToyTask.losses

    def impatient(self, batch, *, step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return losses(self, batch, step=step)

    monkeypatch.setattr(ToyTask, "losses", impatient)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(config(), tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "run/resume.safetensors").exists()


def test_sigterm_saves_too(tmp_path, monkeypatch):
    losses = ToyTask.losses

    def terminated(self, batch, *, step):
        if step == 3:
            signal.raise_signal(signal.SIGTERM)
        return losses(self, batch, step=step)

    monkeypatch.setattr(ToyTask, "losses", terminated)
    before = signal.getsignal(signal.SIGTERM)
    result = train(config(), tmp_path / "run")
    assert (result.steps, result.interrupted) == (4, True)
    assert steps_done(tmp_path / "run/resume.safetensors") == 4
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_time_budget_ends_the_run_with_figures_and_a_state(tmp_path):
    result = train(config("trainer.max_minutes=1e-6", "trainer.steps=1000"), tmp_path / "run")
    assert (result.steps, result.finished, result.interrupted) == (1, False, False)
    assert result.figures["error_mm"] > 0.0
    assert steps_done(tmp_path / "run/resume.safetensors") == 1
    again = train(config("trainer.steps=3"), tmp_path / "run", resume=True)
    assert (again.steps, again.finished) == (3, True)


def test_a_loss_that_is_not_finite_stops_with_its_batch(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        train(config("task.nan_at_step=32"), folder)
    message = str(caught.value)
    assert message.startswith("step 32: the loss is not finite (fit nan, total nan)")
    assert "\n" not in message
    path = folder / "bad_batch_step32_rank0.safetensors"
    assert str(path) in message
    batch = load_file(path)
    assert np.isnan(batch["y"][3])
    assert np.isfinite(batch["y"]).sum() == 15
    assert batch["x"].shape == (16, 1)
    assert steps_done(folder / "resume.safetensors") == 30
    assert all(np.isfinite(t).all() for t in load_file(folder / "last.safetensors").values())


def test_gradients_are_clipped_to_the_norm(tmp_path, monkeypatch):
    norms = []

    def after_step(self, step):
        grads = [p.grad for p in self.network.parameters()]
        norms.append(math.sqrt(sum((g * g).sum().item() for g in grads)))

    monkeypatch.setattr(ToyTask, "after_step", after_step)
    train(config("trainer.steps=3", "trainer.gradient_clip_norm=0.125"), tmp_path / "clipped")
    assert norms == pytest.approx([0.125] * 3, rel=1e-3)
    norms.clear()
    train(config("trainer.steps=3", "trainer.gradient_clip_norm=0"), tmp_path / "free")
    assert min(norms) > 0.5


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_precision_is_that_of_the_forward_pass(tmp_path, monkeypatch, precision):
    seen = set()

    def losses(self, batch, *, step):
        y = self.network(batch["x"])["y"]
        seen.add(y.dtype)
        return {"fit": (y.float() - batch["y"]).abs().mean()}

    monkeypatch.setattr(ToyTask, "losses", losses)
    train(config("trainer.steps=2", f"trainer.precision={precision}"), tmp_path / "run")
    assert seen == {torch.bfloat16 if precision == "bf16-mixed" else torch.float32}
    stored = load_file(tmp_path / "run/last.safetensors")
    assert stored["head.1.weight"].dtype == np.float32


def test_tensorboard_has_losses_figures_and_pictures(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0] / "tensorboard"))
    events.Reload()
    scalars = {"loss/fit", "loss/size", "loss/total", "learning_rate", "val/error_mm"}
    assert set(events.Tags()["scalars"]) == scalars
    assert [e.step for e in events.Scalars("loss/fit")] == [30, 60, 90, 120]
    assert events.Scalars("val/error_mm")[-1].value == pytest.approx(
        finished[1].figures["error_mm"]
    )
    fit, size, total = (
        events.Scalars(f"loss/{name}")[1].value for name in ("fit", "size", "total")
    )
    assert total == pytest.approx(fit + size, rel=1e-5)
    assert events.Scalars("learning_rate")[-1].value == pytest.approx(0.05 * 0.01)
    assert events.Tags()["images"] == ["line"]
    assert (events.Images("line")[0].height, events.Images("line")[0].width) == (4, 6)


def test_the_run_s_config_file_reproduces_it(finished):
    import yaml

    text = (finished[0] / "config.yaml").read_text()
    assert "# optimiser steps\n  steps: 120\n" in text
    other = dataclasses.replace(config(), trainer=TrainerConfig())
    assert other.changed(yaml.safe_load(text)) == config()


def test_a_run_can_start_from_another_run_s_weights(finished, tmp_path):
    folder, result = finished
    start = f"trainer.start_from={folder / 'best.safetensors'}"
    still = train(
        config(start, "trainer.steps=1", "trainer.learning_rate=0.0", "trainer.warmup_steps=0"),
        tmp_path / "still",
    )
    of = load_network(still.weights, load_open_hand()).network
    first = load_network(result.weights, load_open_hand()).network
    for name, values in first.named_parameters():
        assert torch.equal(values, of.get_parameter(name))
    # Other data: the slope goes on from where it was, and is soon the new one.
    new = train(config(start, "task.slope=-1.0"), tmp_path / "new")
    assert new.figures["error_mm"] < 60.0
    with pytest.raises(
        CheckpointError, match=r"best\.safetensors does not fit network 'toy': body"
    ):
        train(config(start, "network.width=4"), tmp_path / "narrow")
    with pytest.raises(CheckpointError, match=r"is of network 'lifter', expected 'toy'"):
        train(config("trainer.start_from=lifter"), tmp_path / "lifter")
    with pytest.raises(CheckpointError, match="nowhere"):
        train(config("trainer.start_from=nowhere"), tmp_path / "nowhere")


def test_folders_that_do_not_fit_are_refused(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(TrainingError, match="has a run already: resume it, or name another"):
        train(config(), folder)
    with pytest.raises(TrainingError, match=r"has done its 120 steps; raise trainer\.steps"):
        train(config(), folder, resume=True)
    with pytest.raises(TrainingError, match=r"has no resume\.safetensors, nothing to resume"):
        train(config(), tmp_path, resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot make folder .*/file/run: Not a directory"):
        train(config(), tmp_path / "file/run")


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume_file, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*resume\.safetensors: No space left"):
        train(config(), tmp_path / "run")
    monkeypatch.setattr(checkpoint_file, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*best\.safetensors: No space left"):
        train(config(), tmp_path / "other")


def test_a_state_that_is_not_ours_is_refused_and_not_unpickled(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (print, ("it was unpickled",))

    path = tmp_path / "resume.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="not a whole state of a run"):
        train(config(), tmp_path, resume=True)
    (tmp_path / "best.safetensors").write_bytes(b"")
    checkpoint_file.save_file({"w": np.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no state of a run to resume"):
        train(config(), tmp_path, resume=True)


def test_state_files_keep_kinds_that_json_has_not(tmp_path):
    path = tmp_path / "state"
    state = {
        "groups": [{"betas": (0.9, 0.999), "params": [0, 1]}],
        "state": {0: {"step": torch.tensor(3.0)}, 1: {"m": torch.arange(4, dtype=torch.bfloat16)}},
        "none": None,
        "flags": [True, 1, 1.5, math.inf],
    }
    shared = torch.ones(3)
    state["tied"] = [shared, shared]
    ResumeFileIO().save_checkpoint(state, path)
    assert_equal(ResumeFileIO().load_checkpoint(path), state)
    with pytest.raises(TypeError, match="a run's state has a set, which cannot be saved"):
        ResumeFileIO().save_checkpoint({"x": {1}}, path)


def test_moving_average_by_hand():
    network = torch.nn.BatchNorm1d(1)
    average = MovingAverage(network, decay=0.25)
    expected = 1.0
    for k, weight in enumerate([3.0, -2.0, 5.0, 0.5], start=1):
        network.weight.data[:] = weight
        network.running_mean[:] = 2.0 * weight
        network.num_batches_tracked += 1
        average.update(network)
        decay = [None, 2 / 11, 0.25, 0.25, 0.25][k]  # (1 + 2) / (10 + 2) is the decay itself
        expected = decay * expected + (1 - decay) * weight
        assert average.network.weight.item() == pytest.approx(expected, rel=1e-6)
        assert average.network.num_batches_tracked == k
    mean = 0.0
    for decay, weight in zip([2 / 11, 0.25, 0.25, 0.25], [3.0, -2.0, 5.0, 0.5], strict=True):
        mean = decay * mean + (1 - decay) * 2.0 * weight
    assert average.network.running_mean.item() == pytest.approx(mean, rel=1e-6)
    again = MovingAverage(torch.nn.BatchNorm1d(1), decay=0.25)
    again.load_state_dict(average.state_dict())
    for each in (average, again):
        each.update(network)
    assert again.network.weight.item() == average.network.weight.item()
    assert not average.network.training
    assert not average.network.weight.requires_grad


def test_learning_rate_rises_and_falls():
    cosine = TrainerConfig(steps=101, warmup_steps=0, final_learning_rate_ratio=0.1)
    rates = [learning_rate_factor(step, cosine) for step in (0, 50, 100, 200)]
    assert rates == pytest.approx([1.0, 0.55, 0.1, 0.1])
    warm = dataclasses.replace(cosine, warmup_steps=4)
    assert [learning_rate_factor(k, warm) for k in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    falls = TrainerConfig(steps=100, schedule="step", milestones=(0.5, 0.9), step_factor=0.1)
    rates = [learning_rate_factor(step, falls) for step in (0, 49, 50, 89, 90, 99)]
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_weight_decay_acts_on_matrices_alone():
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    task = ToyTask(network, None, model=load_open_hand(), batch_size=1)
    decayed, free = task.parameter_groups(0.3)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 2, 1, 1)]
    assert [tuple(p.shape) for p in free["params"]] == [(3,), (3,), (3,)]


def test_streams_differ_by_everything_that_names_them():
    usual = {"seed": 1, "rank": 0, "step": 5}
    others = [{}, {"seed": 2}, {"rank": 1}, {"step": 6}, {"split": "val"}]
    for stream, draw in (
        (numpy_stream, lambda s: s.random()),
        (torch_stream, lambda s: torch.rand(1, generator=s, dtype=torch.float64).item()),
    ):
        calls = [{"split": "train", **usual, **other} for other in others]
        drawn = [draw(stream(**call)) for call in calls]
        assert len(set(drawn)) == len(others)
        assert drawn == [draw(stream(**call)) for call in calls]


def test_two_processes_average_their_gradients_over_data_of_their_own(tmp_path):
    program = Path(toy_training.__file__)
    assignments = ["trainer.gradient_clip_norm=0", "network.dropout=0"]
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "run"), *assignments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"rank{k}.pt", weights_only=True) for k in (0, 1))
    assert not torch.equal(one["x"], two["x"])
    torch.testing.assert_close(one["gradient"], two["gradient"], rtol=0.0, atol=0.0)
    locals_ = [gradient_alone(batch["x"]) for batch in (one, two)]
    assert (locals_[0] - locals_[1]).abs().max() > 1e-3
    torch.testing.assert_close(one["gradient"], (locals_[0] + locals_[1]) / 2)
    assert done.stdout.count("step 1/1") == 1, "only the first process speaks"
    for noise in ("Tip", "GPU available", "weights_only", "stopped"):
        assert noise not in done.stderr
    assert load_network(tmp_path / "run/best.safetensors", load_open_hand()).file.training["steps"]


def gradient_alone(x):
    """Of the first layer, in a process that is alone with that batch."""
    torch.manual_seed(0)
    network = toy_training.Toy(toy_training.ToyConfig(dropout=0.0), load_open_hand())
    task = ToyTask(network, toy_training.ToyOptions(), model=load_open_hand(), batch_size=16)
    sum(task.losses({"x": x, "y": 2.0 * x}, step=0).values()).backward()
    return network.body[0].weight.grad
