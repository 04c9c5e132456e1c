import dataclasses
import json
import stat
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hand_samples import small_hand_model
from safetensors.numpy import save_file
from toy_training import Toy, ToyConfig

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks import checkpoint_file
from hand_mesh_ros.networks.checkpoint import load_network, save_network
from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    CheckpointFile,
    checkpoint_path,
    hand_model_fingerprint,
    read_checkpoint_file,
    write_checkpoint_file,
)

MODEL = small_hand_model()
TRAINING = {"seed": 3, "figures": {"error_mm": 1.5}}


def sample(**changes) -> CheckpointFile:
    tensors = {
        "a.weight": np.linspace(-3.0, 3.0, 12, dtype=np.float32).reshape(4, 3).T,  # not contiguous
        "steps": np.array(7, np.int64),
    }
    file = CheckpointFile("toy", {"width": 8}, "test_hand", "0" * 16, {}, TRAINING, tensors)
    return dataclasses.replace(file, **changes)


def saved(path, *, half=False, model=MODEL, config=None):
    torch.manual_seed(0)
    config = ToyConfig(width=5) if config is None else config
    network = Toy(config, model)
    save_network(
        path,
        "toy",
        network,
        config,
        model,
        preprocessing={"mean": (0.5, 0.25)},
        training=TRAINING,
        half=half,
    )
    return network.eval()


def test_a_file_comes_back_as_it_was(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint_file(path, sample())
    back = read_checkpoint_file(path)
    for name in ("network", "config", "hand_model", "hand_model_fingerprint", "training"):
        assert getattr(back, name) == getattr(sample(), name)
    assert back.tensors.keys() == sample().tensors.keys()
    for name, tensor in sample().tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(back.tensors[name], tensor)
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "plain"]


def test_half_precision_takes_half_the_room_and_comes_back_as_float32(tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    tensors = {"w": np.linspace(0.1, 1.0, 5000, dtype=np.float32), "n": np.array([70_000])}
    write_checkpoint_file(whole, sample(tensors=tensors))
    write_checkpoint_file(half, sample(tensors=tensors), half=True)
    assert whole.stat().st_size - half.stat().st_size == 10_000
    back = read_checkpoint_file(half).tensors
    assert back["w"].dtype == np.float32
    assert 0.0 < np.abs(back["w"] - tensors["w"]).max() < 2.5e-4
    assert back["n"] == 70_000


def test_half_precision_refuses_what_is_too_large_for_it(tmp_path):
    path = tmp_path / "half.safetensors"
    large = sample(tensors={"w": np.array([1e5], np.float32)})
    with pytest.raises(CheckpointError, match="tensor 'w' is not finite in float16"):
        write_checkpoint_file(path, large, half=True)
    assert not path.exists()


def in_parts(path, **changes):
    rng = np.random.default_rng(0)
    tensors = {f"w{i}": rng.standard_normal((10 + i, 50)).astype(np.float32) for i in range(8)}
    tensors["index"] = np.arange(300, dtype=np.int64)
    file = sample(tensors=tensors, **changes)
    write_checkpoint_file(path, file, half=True, most_bytes=4000)
    return tensors


def test_a_large_checkpoint_lies_in_several_files(tmp_path):
    path = tmp_path / "large.safetensors"
    tensors = in_parts(path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["large.part2.safetensors", "large.part3.safetensors", "large.safetensors"]
    assert all(file.stat().st_size < 4000 + 2000 for file in tmp_path.iterdir())
    back = read_checkpoint_file(path)
    assert back.config == sample().config
    assert set(back.tensors) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(back.tensors[name], tensor, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(back.tensors["index"], tensors["index"])


def test_parts_that_are_missing_or_foreign_are_named(tmp_path):
    path, other = tmp_path / "large.safetensors", tmp_path / "other.safetensors"
    in_parts(path)
    in_parts(other, training={"seed": 8})
    second = tmp_path / "large.part2.safetensors"
    with pytest.raises(CheckpointError, match="only a part of one"):
        read_checkpoint_file(second)
    (tmp_path / "other.part2.safetensors").replace(second)
    with pytest.raises(CheckpointError, match="belongs to another checkpoint than large"):
        read_checkpoint_file(path)
    second.unlink()
    with pytest.raises(CheckpointError, match=r"part2\.safetensors: no such checkpoint"):
        read_checkpoint_file(path)


def test_a_tensor_larger_than_a_file_is_refused(tmp_path):
    path = tmp_path / "large.safetensors"
    large = sample(tensors={"w": np.zeros((2, 1000), np.float32)})
    with pytest.raises(CheckpointError, match="'w' has 8000 bytes, a file takes 4000"):
        write_checkpoint_file(path, large, most_bytes=4000)
    assert not list(tmp_path.iterdir())


def test_reading_needs_no_torch(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint_file(path, sample(), half=True)
    program = (
        "import sys; from hand_mesh_ros.networks.checkpoint_file import read_checkpoint_file;"
        f"file = read_checkpoint_file({str(path)!r}); assert file.tensors['a.weight'].sum() == 0;"
        "sys.exit('torch' in sys.modules and 'torch was imported')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def broken_files(tmp_path):
    """(path, what the error says) of files that are no checkpoints."""
    good = tmp_path / "good.safetensors"
    write_checkpoint_file(good, sample())
    data = good.read_bytes()

    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    def described(name, text):
        metadata = None if text is None else {"hand_mesh_ros": text}
        save_file({"w": np.zeros(2)}, tmp_path / name, metadata=metadata)
        return tmp_path / name

    wrong_type = {"format": 1, **{f: "" for f in ("network", "hand_model")}, "config": []}
    bad = tmp_path / "nan"
    save_file(
        {"x": np.array([np.nan])},
        bad,
        metadata={"hand_mesh_ros": json.dumps({"format": 1, **_about()})},
    )
    return [
        (tmp_path / "none", "no such checkpoint"),
        (tmp_path, "not a whole safetensors file"),
        (file("empty", b""), "not a whole safetensors file"),
        (file("alien", b"PK\x03\x04 a zip or a pickle, who knows"), "not a whole safetensors"),
        (file("short", data[:-5]), "not a whole safetensors file"),
        (file("head", data[:40]), "not a whole safetensors file"),
        (described("silent", None), "says nothing of itself"),
        (described("words", "not json"), "not readable JSON"),
        (described("deep", "[" * 100_000), "not readable JSON"),
        (described("list", "[]"), "format None, this version reads 1"),
        (described("newer", '{"format": 2}'), "format 2, this version reads 1"),
        (described("type", json.dumps(wrong_type)), "no dict 'config'"),
        (bad, "'x' has values that are not finite"),
    ]


def _about():
    fields = ("network", "config", "hand_model", "hand_model_fingerprint")
    about = {name: getattr(sample(), name) for name in fields}
    return {**about, "preprocessing": {}, "training": {}}


def test_broken_files_are_refused_in_one_line(tmp_path):
    for path, says in broken_files(tmp_path):
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint_file(path)
        assert says in str(caught.value), path
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_checkpoint_file(path, sample())
    old = path.read_bytes()

    def full(tensors, name, metadata):
        name.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*a\.safetensors: No space left"):
        write_checkpoint_file(path, sample())
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    with pytest.raises(CheckpointError, match=r"cannot write .*: Not a directory"):
        write_checkpoint_file(path / "b.safetensors", sample())


def test_tensors_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(CheckpointError, match="tensor 'w' is not finite"):
        write_checkpoint_file(tmp_path / "a", sample(tensors={"w": np.array([1.0, np.inf])}))
    assert not list(tmp_path.iterdir())


def test_names_are_those_of_the_packages_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_file, "WEIGHTS", tmp_path)
    with pytest.raises(CheckpointError, match=r"'b': .*\(the package has no weights\)"):
        checkpoint_path("b")
    for name in ("b", "a"):
        write_checkpoint_file(tmp_path / f"{name}.safetensors", sample())
    assert checkpoint_path("b") == tmp_path / "b.safetensors"
    assert checkpoint_path(str(tmp_path / "a.safetensors")) == tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match=r"no checkpoint 'c': .* one of these names: a, b$"):
        checkpoint_path("c")


def test_a_network_comes_back_with_its_weights_and_config(tmp_path):
    path = tmp_path / "toy.safetensors"
    network = saved(path)
    loaded = load_network(str(path), MODEL)
    assert loaded.config == ToyConfig(width=5)
    assert loaded.file.preprocessing == {"mean": [0.5, 0.25]}
    assert loaded.file.training == TRAINING
    assert not loaded.network.training
    x = torch.linspace(-1.0, 1.0, 7)[:, None]
    torch.testing.assert_close(loaded.network(x), network(x), rtol=0.0, atol=0.0)


def test_another_hand_model_is_refused_naming_both(tmp_path):
    path = tmp_path / "toy.safetensors"
    saved(path)
    with pytest.raises(CheckpointError, match=r"for hand model 'test_hand' .* is 'open_hand'"):
        load_network(path, load_open_hand())
    moved = dataclasses.replace(MODEL, template_m=MODEL.template_m + 1e-4)
    with pytest.raises(CheckpointError, match=r"'test_hand' .*, this one is 'test_hand'"):
        load_network(path, moved)


def test_fingerprint_sees_what_matters_and_no_rounding():
    model = load_open_hand()
    mark = hand_model_fingerprint(model)
    assert len(mark) == 16
    noise = 1e-13 * np.random.default_rng(0).standard_normal(model.template_m.shape)
    assert hand_model_fingerprint(replaced(model, "template_m", noise)) == mark
    marks = {mark, hand_model_fingerprint(model.mirrored())}
    for name in ("template_m", "shape_dirs_m", "joint_regressor", "skinning_weights", "faces"):
        change = np.zeros_like(getattr(model, name))
        change.flat[5] = 1 if name == "faces" else 1e-5
        marks.add(hand_model_fingerprint(replaced(model, name, change)))
    detector = model.keypoint_regressors["detector"]
    nudged = dataclasses.replace(detector, offset_m=detector.offset_m + 1e-5)
    regressors = {**model.keypoint_regressors, "detector": nudged}
    other = dataclasses.replace(model, keypoint_regressors=regressors)
    assert len({*marks, hand_model_fingerprint(other)}) == 8


def replaced(model, name, change):
    return dataclasses.replace(model, **{name: getattr(model, name) + change})


def test_tensors_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "toy.safetensors"
    saved(path)
    file = read_checkpoint_file(path)
    tensors = dict(file.tensors)
    tensors["neck.weight"] = tensors.pop("head.1.weight")
    tensors["body.0.weight"] = tensors["body.0.weight"].T
    write_checkpoint_file(path, dataclasses.replace(file, tensors=tensors))
    with pytest.raises(CheckpointError) as caught:
        load_network(path, MODEL)
    for words in (
        "does not fit network 'toy'",
        "head.1.weight is missing",
        "neck.weight is unexpected",
        "body.0.weight is [1, 5], expected [5, 1]",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": "tyo"}, "network 'tyo' is unknown, expected one of"),
        ({"config": {"width": 5, "depth": 2}}, "network.depth is unknown"),
        ({"config": {"width": "5"}}, "network.width is '5', expected an integer"),
        ({"config": {"width": 0}}, "width is 0, expected 1 or more"),
    ],
)
def test_networks_of_another_version_are_refused(tmp_path, changes, says):
    path = tmp_path / "toy.safetensors"
    saved(path)
    write_checkpoint_file(path, dataclasses.replace(read_checkpoint_file(path), **changes))
    with pytest.raises(CheckpointError) as caught:
        load_network(path, MODEL)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
