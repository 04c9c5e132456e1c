import errno
import json
import multiprocessing
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from small_network import SmallConfig, small_network, small_request

from hand_mesh_ros.backends.base import EngineOptions
from hand_mesh_ros.backends.engine_cache import EngineCache, EngineCodec, EngineKey
from hand_mesh_ros.backends.open import open_backend
from hand_mesh_ros.backends.progress import told_progress
from hand_mesh_ros.backends.typed_network import example_inputs

KEY = EngineKey("onnx", "small", "w0", "{}", "c0", "s0", "cpu", "torch 2")


class Shelf:
    """A cache with a codec of texts that counts what is built."""

    def __init__(self, folder):
        self.said = []
        self.built = 0
        self.cache = EngineCache(folder, log=self.said.append)

    def get(self, key=KEY, *, save=Path.write_text):
        def build():
            self.built += 1
            return f"engine {self.built}"

        def write(engine, path):
            save(path, engine)

        return self.cache.get(key, EngineCodec(build, write, Path.read_text))


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "cache")


def payload(shelf):
    (path,) = shelf.cache.folder.glob("*.engine")
    return path


def test_an_engine_is_built_once_and_then_read(shelf):
    assert shelf.get() == "engine 1"
    assert [line.split(":")[0] for line in shelf.said] == [
        "building the onnx engine of small ...",
        "building the onnx engine of small",
    ]
    assert shelf.get() == "engine 1"
    assert Shelf(shelf.cache.folder).get() == "engine 1"
    assert shelf.built == 1
    assert len(shelf.said) == 2


@pytest.mark.parametrize("field", [field.name for field in fields(EngineKey)])
def test_every_field_of_the_key_makes_another_engine(shelf, field):
    shelf.get()
    assert shelf.get(replace(KEY, **{field: "other"})) == "engine 2"
    assert shelf.get() == "engine 1"


def truncate(shelf):
    payload(shelf).write_text("eng")


def change(shelf):
    payload(shelf).write_text("engine 7")


def forget_note(shelf):
    payload(shelf).with_suffix(".json").unlink()


def break_note(shelf):
    payload(shelf).with_suffix(".json").write_text('{"format": ')


def swap_note(shelf):
    note = payload(shelf).with_suffix(".json")
    about = json.loads(note.read_text())
    about["key"]["weights"] = "another network's"
    note.write_text(json.dumps(about))


def lose_payload(shelf):
    payload(shelf).unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, "has 3 bytes instead of 8"),
        (change, "is not what was written there"),
        (forget_note, "has no note of what it is"),
        (break_note, "its note is not readable"),
        (swap_note, "its note is another engine's"),
        (lose_payload, "No such file"),
    ],
)
def test_what_is_spoilt_is_built_anew_and_said(shelf, spoil, words):
    shelf.get()
    spoil(shelf)
    shelf.said.clear()
    assert shelf.get() == "engine 2"
    assert words in shelf.said[0]
    assert shelf.said[0].endswith("it is built anew")
    assert shelf.get() == "engine 2"


def test_what_its_library_cannot_load_is_built_anew(shelf):
    shelf.get()

    def load(path):
        raise RuntimeError("wrong version")

    codec = EngineCodec(lambda: "new", lambda engine, path: path.write_text(engine), load)
    assert shelf.cache.get(KEY, codec) == "new"
    assert "cannot be loaded (RuntimeError: wrong version)" in "".join(shelf.said)


def full(path, engine):
    path.write_text(engine[:3])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line_and_nothing_is_left(shelf):
    assert shelf.get(save=full) == "engine 1"
    assert shelf.said[-1] == (
        f"cache {shelf.cache.folder}: No space left on device; the onnx engine of small is not kept"
    )
    assert [p.suffix for p in shelf.cache.folder.iterdir()] == [".lock"]
    assert shelf.get() == "engine 2"


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    shelf = Shelf(tmp_path / "file" / "cache")
    assert shelf.get() == "engine 1"
    assert "Not a directory; the onnx engine of small is not kept" in shelf.said[-1]


def test_a_folder_that_can_only_be_read_is_read(shelf, monkeypatch):
    shelf.get()

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(shelf.cache, "_locked", refuse)
    assert shelf.get() == "engine 1"
    assert shelf.get(replace(KEY, weights="new")) == "engine 2"
    assert "Permission denied" in shelf.said[-1]


def test_what_building_raises_is_passed_on(shelf):
    def build():
        raise ValueError("no such network")

    with pytest.raises(ValueError, match="no such network"):
        shelf.cache.get(KEY, EngineCodec(build, Path.write_text, Path.read_text))
    assert shelf.get() == "engine 1"


def test_where_engines_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("HAND_MESH_CACHE", str(tmp_path / "set"))
    assert EngineCache().folder == tmp_path / "set"
    assert EngineCache(tmp_path / "given").folder == tmp_path / "given"
    monkeypatch.delenv("HAND_MESH_CACHE")
    assert EngineCache().folder == Path.home() / ".cache" / "hand_mesh_ros"


def test_long_work_gives_word():
    said = []
    told = []

    def log(text):
        said.append(text)
        if "still" in text:
            told.append(text)

    with told_progress("building", log, every_s=0.002):
        while not told:
            pass
    assert said[0] == "building ..."
    assert said[1].startswith("building: still at it after")
    assert said[-1].startswith("building: done in")


def test_keys_know_weights_precision_and_batches(tmp_path):
    request = small_request(tmp_path, max_batch=2)
    key = request.key("onnx", on_device=False)
    assert key == small_request(tmp_path, max_batch=2).key("onnx", on_device=False)
    assert key != small_request(tmp_path, max_batch=3).key("onnx", on_device=False)
    half = small_request(tmp_path, max_batch=2, precision="fp16")
    assert key != half.key("onnx", on_device=False)
    other = small_request(tmp_path, max_batch=2)
    with torch.no_grad():
        other.source.network.norm.running_mean[0] += 1e-6
    assert key.weights != other.key("onnx", on_device=False).weights
    wide = replace(request.source, config=SmallConfig(width=9))
    assert key != replace(request, source=wide).key("onnx", on_device=False)
    assert "torch 2" in key.libraries


def opened(folder, barrier, said):
    """Body of a process: the same engine at the same time."""
    lines = []
    network = small_network()
    barrier.wait(240.0)
    made = open_backend(
        *("small", network, SmallConfig()),
        EngineOptions("onnx", max_batch=4, device="cpu", cache_dir=folder, threads=1),
        log=lines.append,
    )
    out = made.run({k: v.numpy() for k, v in example_inputs(network, 2).items()})
    said.put((lines, made.name, out["vertices_m"]))


def test_two_processes_build_one_engine(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    context = multiprocessing.get_context("spawn")
    barrier, said = context.Barrier(2), context.Queue()
    processes = [context.Process(target=opened, args=(tmp_path, barrier, said)) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [said.get(timeout=300.0) for _ in processes]
    for process in processes:
        process.join(30.0)
    for kind in ("parity", "onnx"):
        lines = [line for lines, _, _ in answers for line in lines]
        assert lines.count(f"building the {kind} engine of small ...") == 1
    assert [name for _, name, _ in answers] == ["onnx (CPU)", "onnx (CPU)"]
    np.testing.assert_array_equal(answers[0][2], answers[1][2])
    assert not list(tmp_path.glob(".*"))
