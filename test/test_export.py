import json
import shlex

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnxruntime
import torch
from small_network import small_network, small_request

from hand_mesh_ros.backends import choose, kinds, parity_inputs
from hand_mesh_ros.backends.base import BackEndError, EngineSpec, TensorSpec
from hand_mesh_ros.backends.named_network import named_network
from hand_mesh_ros.backends.onnx_backend import OnnxBackEnd, cpu_providers
from hand_mesh_ros.backends.typed_network import example_inputs, network_spec
from hand_mesh_ros.cli.main import main
from hand_mesh_ros.export.onnx_export import to_onnx
from hand_mesh_ros.export.trtexec import trtexec_command
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks import checkpoint_file
from hand_mesh_ros.networks.checkpoint import load_network
from hand_mesh_ros.networks.m3dhmr import M3DHMRConfig
from hand_mesh_ros.networks.registry import build_network


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HAND_MESH_CACHE", str(tmp_path / "cache"))


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_a_checkpoint_becomes_onnx_that_computes_the_same(tmp_path, capsys):
    path, report = tmp_path / "l.onnx", tmp_path / "r.json"
    options = ["--batch", "1:8", "-o", str(path), "--report", str(report)]
    assert main(["export", "lifter", *options]) == 0
    opened = session(path)
    network = load_network("lifter", load_open_hand()).network
    for batch in (1, 3, 8):
        inputs = example_inputs(network, batch)
        got = opened.run(None, {k: v.numpy() for k, v in inputs.items()})
        with torch.inference_mode():
            expected = network(**inputs)
        assert [o.name for o in opened.get_outputs()] == list(expected)
        assert {o.shape[0] for o in opened.get_outputs()} == {"batch"}
        for found, y in zip(got, expected.values(), strict=True):
            np.testing.assert_allclose(found, y.numpy(), atol=1e-4)
    about = json.loads(opened.get_modelmeta().custom_metadata_map["hand_mesh_ros"])
    assert about["network"] == "lifter"
    assert about["config"]["width"] == network.first.out_features
    said = json.loads(report.read_text())
    assert (said["format"], said["precision"], said["batch"]) == ("onnx", "fp32", [1, 8])
    assert said["weights"] == "checkpoint"
    assert said["checked_by"] == "onnx (CPU)"
    assert set(said["parity"]) == set(expected)
    assert all(p["max_difference"] <= 1e-4 for p in said["parity"].values())
    assert "against eager fp32, by onnx (CPU):" in capsys.readouterr().out


def test_half_precision_is_in_the_file_and_float32_at_its_border(tmp_path):
    import onnx

    path = tmp_path / "l.onnx"
    assert main(["export", "lifter", "--precision", "fp16", "-o", str(path)]) == 0
    model = onnx.load(path)
    sizes = {w.name: w.data_type for w in model.graph.initializer if len(w.dims) == 2}
    assert set(sizes.values()) == {onnx.TensorProto.FLOAT16}
    ends = [*model.graph.input, *model.graph.output]
    assert {v.type.tensor_type.elem_type for v in ends} == {onnx.TensorProto.FLOAT}


def test_the_image_network_exports_with_any_batch(tmp_path):
    config = M3DHMRConfig(
        stack_widths=(16,), hourglass_width=16, image_size_px=64, mesh_widths=(16, 8), kernels=2
    )
    torch.manual_seed(0)
    network = build_network("m3dhmr", config, load_open_hand()).eval()
    spec = network_spec(network, max_batch=3)
    backend = OnnxBackEnd(to_onnx(network, spec), spec, cpu_providers())
    for batch in (1, 3):
        inputs = example_inputs(network, batch)
        out = backend.run({k: v.numpy() for k, v in inputs.items()})
        with torch.inference_mode():
            expected = network(**inputs)
        assert list(out) == list(expected)
        for name, y in expected.items():
            np.testing.assert_allclose(out[name], y.numpy(), atol=1e-6)
        np.testing.assert_allclose(1e3 * out["vertices_m"], 1e3 * expected["vertices_m"], atol=1e-4)


def test_what_does_not_compute_the_same_is_not_written(tmp_path, monkeypatch, capsys):
    true_reference = parity_inputs.parity_reference

    def spoilt(network, spec):
        reference = true_reference(network, spec)
        reference.outputs["shape"] += 0.5
        return reference

    monkeypatch.setattr(choose, "parity_reference", spoilt)
    path = tmp_path / "l.onnx"
    path.write_text("the one before")
    assert main(["export", "lifter", "-o", str(path)]) == 1
    assert path.read_text() == "the one before"
    said = capsys.readouterr()
    assert "nothing is written: shape differs from eager fp32 by" in said.err
    assert "max" in said.out


def test_a_command_for_trtexec(tmp_path, capsys):
    spec = EngineSpec(
        (TensorSpec("image", (3, 128, 128)), TensorSpec("landmark_cue", (21, 3))),
        (TensorSpec("vertices_m", (778, 3)),),
        "fp16",
        1,
        4,
    )
    words = shlex.split(trtexec_command(tmp_path / "a b.onnx", tmp_path / "a.engine", spec))
    assert words == [
        "trtexec",
        f"--onnx={tmp_path}/a b.onnx",
        f"--saveEngine={tmp_path}/a.engine",
        "--stronglyTyped",
        "--minShapes=image:1x3x128x128,landmark_cue:1x21x3",
        "--optShapes=image:2x3x128x128,landmark_cue:2x21x3",
        "--maxShapes=image:4x3x128x128,landmark_cue:4x21x3",
    ]
    path = tmp_path / "l.onnx"
    options = ["--format", "trtexec", "--batch", "2", "-o", str(path)]
    assert main(["export", "lifter", *options]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == (
        f"trtexec --onnx={path} --saveEngine={tmp_path}/l.engine --stronglyTyped --noTF32"
    )


def test_networks_without_weights_say_so(tmp_path, monkeypatch):
    model = load_open_hand()
    trained = named_network("lifter", model)
    assert trained.trained
    assert trained.about["hand_model"] == "open_hand"
    monkeypatch.setattr(checkpoint_file, "WEIGHTS", tmp_path)
    random, again = (named_network("lifter", model) for _ in range(2))
    assert not random.trained
    assert random.source.weights_hash == again.source.weights_hash
    assert random.source.weights_hash != trained.source.weights_hash


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nothing"], "no checkpoint 'nothing'"),
        (["nothing"], "or a network for random weights: "),
        (["lifter", "--batch", "4:1"], "--batch 4:1: expected MIN:MAX"),
        (["lifter", "--batch", "a"], "--batch a: expected MIN:MAX"),
        (["lifter", "--precision", "int4"], "--precision int4: expected one of fp32, fp16, bf16"),
        (["lifter", "-o", "/nowhere/at/all.onnx"], "/nowhere/at/all.onnx: no such folder"),
    ],
)
def test_wrong_options_are_refused(options, words, capsys):
    assert main(["export", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_engine_without_a_gpu_is_refused(capsys):
    assert main(["export", "lifter", "--format", "tensorrt"]) == 2
    assert "this torch sees 0 NVIDIA GPUs" in capsys.readouterr().err


def test_a_missing_library_comes_with_its_install_line(capsys, monkeypatch):
    find_spec = kinds.importlib.util.find_spec
    monkeypatch.setattr(
        kinds.importlib.util, "find_spec", lambda n: None if n == "onnxscript" else find_spec(n)
    )
    assert main(["export", "lifter"]) == 2
    expected = "onnxscript not installed (pip install hand_mesh_ros[onnx])"
    assert expected in capsys.readouterr().err


def test_what_torch_cannot_export_is_one_line(tmp_path, monkeypatch):
    network = small_network()
    request = small_request(tmp_path, max_batch=2)

    def forward(image, cue):
        return {"vertices_m": torch.zeros(1) if image.sum().item() > 1e9 else cue, "score": cue}

    monkeypatch.setattr(network, "forward", forward)
    with pytest.raises(BackEndError, match=r"^torch.export failed: [^\n]*$"):
        to_onnx(network, request.spec)


def test_a_network_that_fixes_its_batch_is_refused(tmp_path, monkeypatch):
    network = small_network()
    request = small_request(tmp_path, max_batch=4)
    forward = network.forward

    def fixed(image, cue):
        return forward(image.reshape(len(image), 3, 32, 32), cue)

    monkeypatch.setattr(network, "forward", fixed)
    with pytest.raises(BackEndError, match="the network's code fixes the batch at 2"):
        to_onnx(network, request.spec)
