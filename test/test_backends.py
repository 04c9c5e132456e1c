import ctypes
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from small_network import small_network, small_request

from hand_mesh_ros.backends import tensorrt_backend, torch_backend
from hand_mesh_ros.backends.base import BackEndError, EngineOptions, EngineSpec, TensorSpec
from hand_mesh_ros.backends.choose import (
    ChosenBackEnd,
    choose_backend,
    judged_parity,
    stored_reference,
)
from hand_mesh_ros.backends.kinds import FASTEST_FIRST, KINDS, BackEndKind
from hand_mesh_ros.backends.onnx_backend import OnnxBackEnd, cuda_providers, tensorrt_providers
from hand_mesh_ros.backends.open import open_backend, torch_device
from hand_mesh_ros.backends.parity import OutputParity, Parity, ParityReference, check_parity
from hand_mesh_ros.backends.steady_backend import RETRY_S, SteadyBackEnd
from hand_mesh_ros.backends.typed_network import TypedNetwork, example_inputs, network_spec

SPEC = EngineSpec((TensorSpec("image", (3, 4)),), (TensorSpec("vertices_m", (2, 3)),), "fp32", 1, 4)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module", params=KINDS)
def backend(request, folder):
    made = small_request(folder, device=DEVICE, max_batch=4)
    missing = KINDS[request.param].missing(made.device)
    if missing is not None:
        pytest.skip(f"{request.param}: {missing}")
    if request.param == "torch-compile" and DEVICE == "cpu":
        pytest.skip("torch-compile: takes too long on a CPU")
    return KINDS[request.param].build(made)


def expected(inputs):
    with torch.inference_mode():
        return {k: v.numpy() for k, v in small_network()(**inputs).items()}


# One test body for all back-ends.


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_backend_computes_what_the_network_computes(backend, batch):
    inputs = example_inputs(small_network(), batch)
    out = backend.run({k: v.numpy() for k, v in inputs.items()})
    assert list(out) == ["vertices_m", "score"]
    for name, y in expected(inputs).items():
        assert out[name].dtype == np.float32
        np.testing.assert_allclose(out[name], y, atol=2e-6)


def test_a_backend_runs_tensors_where_they_lie(backend):
    inputs = example_inputs(small_network(), 3)
    out = backend.run_tensors({k: v.to(DEVICE) for k, v in inputs.items()})
    kept = {k: v.clone() for k, v in out.items()}
    backend.run_tensors({k: torch.zeros_like(v, device=DEVICE) for k, v in inputs.items()})
    for name, y in expected(inputs).items():
        assert out[name].device.type == DEVICE
        np.testing.assert_allclose(out[name].cpu().numpy(), y, atol=2e-6)
        assert torch.equal(out[name], kept[name]), "a later run changed an earlier answer"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i.pop("cue"), r"inputs are \['image'\], expected \['cue', 'image'\]"),
        (lambda i: i.update(cue=i["cue"][:1]), r"'cue' is float32 \(1, 2\), expected float32"),
        (lambda i: i.update(cue=i["cue"].astype(np.float64)), "'cue' is float64"),
        (lambda i: i.update({k: v.repeat(3, 0) for k, v in i.items()}), "batch is 6, .* 1 to 4"),
    ],
)
def test_a_backend_refuses_inputs_that_do_not_fit(backend, change, words):
    inputs = {k: v.numpy() for k, v in example_inputs(small_network(), 2).items()}
    change(inputs)
    with pytest.raises(BackEndError, match=words):
        backend.run(inputs)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"min_batch": 3, "max_batch": 2}, "min_batch, max_batch are 3, 2"),
        ({"outputs": SPEC.outputs * 2}, "outputs are"),
        ({"inputs": ()}, r"inputs are \[\]"),
    ],
)
def test_impossible_specs_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(SPEC, **changes)


def test_batches_that_matter():
    assert SPEC.batches == (1, 2, 4)
    assert replace(SPEC, min_batch=3, max_batch=9).batches == (3, 4, 8, 9)
    assert replace(SPEC, max_batch=1).batches == (1,)
    assert [replace(SPEC, max_batch=n).usual_batch for n in (1, 2, 8)] == [1, 2, 2]


def test_a_network_is_cast_and_left_as_it_was():
    network = small_network()
    spec = network_spec(network, precision="fp16", max_batch=2)
    inputs = example_inputs(network, 2)
    typed = TypedNetwork(network, spec)
    assert {p.dtype for p in typed.parameters()} == {torch.float16}
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    vertices, _ = typed(*inputs.values())
    assert vertices.dtype == torch.float32
    error = np.abs(vertices.numpy() - expected(inputs)["vertices_m"]).max()
    assert 1e-6 < error < 1e-3, "half precision shows, and is half precision"


def test_other_batches_are_filled_up_to_the_next_size():
    seen = []

    def function(x):
        seen.append(len(x))
        return (2.0 * x,)

    padded = torch_backend.PaddedBatches(function, (1, 2, 8))
    for batch in (1, 2, 3, 8):
        x = torch.arange(batch, dtype=torch.float32)[:, None]
        assert torch.equal(padded(x)[0], 2.0 * x)
    assert seen == [1, 2, 8, 8]


# Parity.


class Wrong:
    """Eager answers, spoilt."""

    name = "wrong"

    def __init__(self, spec, spoil):
        self.spec = spec
        self._spoil = spoil

    def run(self, inputs):
        out = expected({k: torch.from_numpy(v) for k, v in inputs.items()})
        self._spoil(out)
        return out


def shifted(mm):
    return lambda out: out["vertices_m"].__iadd__(1e-3 * mm)


@pytest.mark.parametrize(
    ("precision", "mm", "passes"),
    [("fp32", 0.001, True), ("fp32", 0.03, False), ("fp16", 0.4, True), ("fp16", 0.6, False)],
)
def test_lengths_are_judged_in_millimetres(folder, precision, mm, passes):
    request = small_request(folder, precision=precision, max_batch=4)
    parity = check_parity(Wrong(request.spec, shifted(mm)), stored_reference(request))
    vertices, score = parity.outputs
    assert vertices.unit == "mm"
    assert vertices.max_difference == pytest.approx(mm, rel=0.02)
    assert vertices.mean_difference == pytest.approx(mm, rel=0.02)
    assert (parity.fault is None) == passes
    assert score.unit == ""
    assert score.max_difference == pytest.approx(0.0, abs=1e-6)


def one_is(value):
    def spoil(out):
        out["score"][0] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (one_is(np.nan), "score is not finite"),
        (one_is(-3.0), "score differs from eager fp32 by"),
        (lambda out: out.update(score=out["score"][:, None]), r"score has shape \(1, 1\)"),
        (lambda out: 1 / 0, "fails on a batch of 1: division by zero"),
    ],
)
def test_what_is_wrong_is_named(folder, spoil, words):
    request = small_request(folder, max_batch=4)
    with pytest.raises(BackEndError, match=words):
        judged_parity("wrong", Wrong(request.spec, spoil), stored_reference(request))


def test_an_engine_that_is_wrong_in_larger_batches_alone_is_refused(folder):
    def spoil(out):
        if len(out["score"]) == 4:
            out["vertices_m"] += 0.005

    request = small_request(folder, max_batch=4)
    parity = check_parity(Wrong(request.spec, spoil), stored_reference(request))
    assert "by 5 mm at most" in parity.fault


def test_reference_holds_noise_and_rendered_hands(folder):
    reference = stored_reference(small_request(folder))
    assert reference.inputs["image"].shape == (6, 3, 32, 32)
    noise, hands = reference.inputs["image"][:2], reference.inputs["image"][2:]

    def roughness(images):
        return np.abs(np.diff(images, axis=3)).mean()

    assert roughness(hands) < 0.5 * roughness(noise)
    with pytest.raises(ValueError, match="eager output 'y' is not finite"):
        ParityReference({"x": np.zeros(2)}, {"y": np.array([1.0, np.nan])})


# The choice.


def kinds(**spoils):
    """Kinds whose engines are spoilt; a text is why one is missing."""
    made = {}
    for name, spoil in spoils.items():
        missing = spoil if isinstance(spoil, str) else None
        made[name] = BackEndKind(
            lambda device, missing=missing: missing,
            lambda request, spoil=spoil: Wrong(request.spec, spoil),
        )
    return made


def fine(out):
    pass


def test_a_wrong_engine_is_refused_and_the_next_one_named(folder):
    said = []
    request = small_request(folder, max_batch=4)
    table = kinds(onnx=shifted(5.0)) | {"torch": KINDS["torch"], "tensorrt": KINDS["tensorrt"]}
    chosen = choose_backend("auto", request, log=said.append, kinds=table)
    assert chosen.backend.name == "torch (CPU)"
    refusal = "onnx fp32: refused, vertices_m differs from eager fp32 by 5 mm at most"
    assert chosen.refused[0].startswith(refusal)
    assert any("back-end onnx fp32 is not used: refused, vertices_m" in line for line in said)
    assert chosen.state.startswith("torch (CPU) fp32: vertices_m within ")
    assert refusal in chosen.state
    assert "tensorrt: needs an NVIDIA GPU" in chosen.state


def test_the_fastest_is_taken_and_the_others_have_reasons(folder):
    request = small_request(folder)
    table = kinds(onnx=fine, torch=fine, tensorrt="no GPU", other=fine)
    chosen = choose_backend("auto", request, log=lambda _: None, kinds=table)
    assert chosen.refused == (
        "torch: expected to be slower",
        "tensorrt: no GPU",
        "other: not tried unless asked for by name",
    )


def test_half_precision_that_breaks_gives_way_to_fp32(folder):
    def overflow_in_half(request):
        half = request.spec.precision == "fp16"
        return Wrong(request.spec, one_is(np.inf) if half else fine)

    table = {n: BackEndKind(lambda device: None, overflow_in_half) for n in ("onnx", "torch")}
    request = small_request(folder, precision="fp16")
    chosen = choose_backend("auto", request, log=lambda _: None, kinds=table)
    assert chosen.backend.spec.precision == "fp32"
    assert chosen.refused[:2] == (
        "onnx fp16: refused, score is not finite",
        "torch fp16: refused, score is not finite",
    )


def test_a_name_that_cannot_be_built_gives_way_to_eager(folder):
    def fails(request):
        raise RuntimeError("no kernel\nsecond line")

    table = {"mine": BackEndKind(lambda device: None, fails), "torch": KINDS["torch"]}
    chosen = choose_backend("mine", small_request(folder), log=lambda _: None, kinds=table)
    assert chosen.backend.name == "torch (CPU)"
    assert chosen.refused == ("mine fp32: cannot be built (RuntimeError: no kernel)",)


def test_eager_fp32_is_the_measure_and_not_measured(folder):
    request = small_request(folder)
    table = kinds(torch=shifted(5.0))
    chosen = choose_backend("torch", request, log=lambda _: None, kinds=table)
    assert chosen.parity.outputs[0].max_difference == pytest.approx(5.0, rel=0.02)
    with pytest.raises(BackEndError, match="no back-end can run small: torch fp32: refused"):
        choose_backend("torch", request, log=lambda _: None, kinds=kinds(torch=one_is(np.nan)))


def test_unknown_names_are_refused(folder):
    with pytest.raises(BackEndError, match="'tflite' is unknown, expected one of: auto, tensorrt"):
        choose_backend("tflite", small_request(folder))
    for name in ("tpu", "meta", "cuda:99"):
        with pytest.raises(BackEndError, match=f"device is '{name}'"):
            torch_device(name)
    assert all(name in KINDS for order in FASTEST_FIRST.values() for name in order)


def test_a_network_is_opened_in_one_call(folder):
    said = []
    made = open_backend(
        *("small", small_network(), small_request(folder).source.config),
        EngineOptions("torch", max_batch=2, device="cpu", cache_dir=folder, threads=1),
        log=said.append,
    )
    inputs = example_inputs(small_network(), 2)
    out = made.run({k: v.numpy() for k, v in inputs.items()})
    np.testing.assert_allclose(out["vertices_m"], expected(inputs)["vertices_m"], atol=2e-6)
    assert said[-1] == f"back-end of small: {made.state}"


# Failures while running.


class Failing:
    """A back-end that fails as long as it is told to."""

    def __init__(self, name, spec):
        self.name, self.spec, self.error, self.runs = name, spec, None, 0

    def run(self, inputs):
        self.runs += 1
        if self.error is not None:
            raise self.error
        return {"made_by": self.name}


def steady(folder, **options):
    """One with a reserve, and what there is to watch: both back-ends, the time and the log."""
    spec = small_request(folder).spec
    gpu, cpu = Failing("tensorrt (cuda:0)", spec), Failing("onnx (CPU)", spec)
    made, said, now = [], [], [0.0]

    def reserve():
        made.append(cpu)
        return ChosenBackEnd(cpu, Parity((OutputParity("vertices_m", 0.0, 0.0, "mm", None),)), ())

    options = {"reserve": reserve, **options}
    chosen = ChosenBackEnd(gpu, Parity((OutputParity("vertices_m", 0.0, 0.0, "mm", None),)), ())
    backend = SteadyBackEnd(chosen, log=said.append, clock=lambda: now[0], **options)
    inputs = {k: v.numpy() for k, v in example_inputs(small_network(), 1).items()}
    return backend, gpu, cpu, made, said, now, inputs


def test_a_failing_engine_gives_way_and_comes_back(folder):
    backend, gpu, _, made, said, now, inputs = steady(folder)
    assert backend.run(inputs) == {"made_by": "tensorrt (cuda:0)"}
    assert not made
    gpu.error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    for _ in range(3):
        assert backend.run(inputs) == {"made_by": "onnx (CPU)"}
    assert (len(made), gpu.runs) == (1, 2)  # it is not asked at every frame
    assert backend.name == "onnx (CPU)"
    assert "tensorrt (cuda:0) failed: OutOfMemoryError: CUDA out of memory" in backend.state
    now[0] += RETRY_S
    assert backend.run(inputs) == {"made_by": "onnx (CPU)"}
    assert gpu.runs == 3
    gpu.error = None
    assert backend.run(inputs) == {"made_by": "onnx (CPU)"}
    now[0] += RETRY_S
    assert backend.run(inputs) == {"made_by": "tensorrt (cuda:0)"}
    assert "failed" not in backend.state
    assert len(said) == 2
    assert said[0].startswith("back-end tensorrt (cuda:0) failed (OutOfMemoryError: CUDA out of")
    assert "onnx (CPU) takes over, it is tried again every 30 s" in said[0]
    assert said[1] == "back-end tensorrt (cuda:0) works again"
    assert len(made) == 1


def test_inputs_that_do_not_fit_are_no_failure(folder):
    backend, gpu, _, made, said, _, inputs = steady(folder)
    with pytest.raises(BackEndError, match="inputs are"):
        backend.run({"other": inputs["image"]})
    assert (gpu.runs, made, said) == (0, [], [])


def test_without_a_reserve_the_failure_is_told(folder):
    backend, gpu, _, _, said, _, inputs = steady(folder, reserve=None)
    gpu.error = RuntimeError("device lost")
    with pytest.raises(RuntimeError, match="device lost"):
        backend.run(inputs)
    assert not said

    def none():
        raise BackEndError("no back-end can run small")

    backend, gpu, _, _, _, _, inputs = steady(folder, reserve=none)
    gpu.error = RuntimeError("device lost")
    with pytest.raises(BackEndError, match="device lost; and nothing can take over: no back-end"):
        backend.run(inputs)


def test_plain_torch_takes_over_from_an_engine_on_the_cpu(folder):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    said = []
    backend = open_backend(
        *("small", small_network(), small_request(folder).source.config),
        EngineOptions("onnx", device="cpu", cache_dir=folder, threads=1),
        log=said.append,
    )
    assert backend.name == "onnx (CPU)"
    named = example_inputs(small_network(), 1)
    inputs = {k: v.numpy() for k, v in named.items()}

    def lost(_):
        raise RuntimeError("the engine is gone")

    backend._chosen.backend.run = lost
    out = backend.run(inputs)
    assert backend.name == "torch (CPU)"
    np.testing.assert_allclose(out["vertices_m"], expected(named)["vertices_m"], atol=2e-6)
    assert any("torch (CPU) takes over" in line for line in said)


# ONNX Runtime's and TensorRT's borders.


def test_onnx_runtime_without_the_wanted_provider_is_refused(folder):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    pytest.importorskip("onnxscript")
    from hand_mesh_ros.backends.kinds import onnx_model

    request = small_request(folder, max_batch=4)
    with pytest.raises(BackEndError, match="has no working CUDAExecutionProvider"):
        OnnxBackEnd(onnx_model(request), request.spec, cuda_providers(0))
    with pytest.raises(BackEndError, match="ONNX Runtime refuses the model"):
        OnnxBackEnd(b"no model", request.spec, cuda_providers(0))


def test_the_tensorrt_provider_is_told_shapes_types_and_where_to_keep_engines(tmp_path):
    (name, options), (second, _), (third, _) = tensorrt_providers(
        replace(SPEC, precision="fp16"), 1, tmp_path
    )
    assert (name, second, third) == (
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    )
    assert options["trt_profile_min_shapes"] == "image:1x3x4"
    assert options["trt_profile_opt_shapes"] == "image:2x3x4"
    assert options["trt_profile_max_shapes"] == "image:4x3x4"
    assert options["trt_fp16_enable"]
    assert options["device_id"] == 1
    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert "trt_fp16_enable" not in tensorrt_providers(SPEC, 0, None)[0][1]


class FakeTensorRT(types.ModuleType):
    """TensorRT's runtime on host memory: its one engine runs the small network."""

    __version__ = "11.0"
    TensorIOMode = types.SimpleNamespace(INPUT="in", OUTPUT="out")

    class Logger:
        WARNING = 1

        def __init__(self, level):
            pass

    class Runtime:
        def __init__(self, logger):
            pass

        def deserialize_cuda_engine(self, data):
            return FakeEngine() if data == b"engine" else None


class FakeEngine:
    names = ("image", "cue", "output0", "output1")
    num_io_tensors = 4

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_mode(self, name):
        return "out" if name.startswith("output") else "in"

    def create_execution_context(self):
        return FakeContext()


class FakeContext:
    def __init__(self):
        self.shapes, self.addresses = {}, {}

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape
        return shape[0] <= 4

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        def array(name, shape):
            pointer = ctypes.cast(self.addresses[name], ctypes.POINTER(ctypes.c_float))
            return np.ctypeslib.as_array(pointer, shape)

        batch = self.shapes["image"][0]
        inputs = {n: torch.from_numpy(array(n, self.shapes[n]).copy()) for n in ("image", "cue")}
        out = expected(inputs)
        array("output0", (batch, 5, 3))[:] = out["vertices_m"]
        array("output1", (batch,))[:] = out["score"]
        return stream == 7


@pytest.fixture
def fake_tensorrt(monkeypatch):
    """TensorRT and torch-tensorrt up to the line that needs a GPU; gives what was asked of it."""
    asked = types.SimpleNamespace(options=None, program=None)

    def convert(program, *, use_explicit_typing=False, **options):
        asked.program = program
        asked.options = options | {"use_explicit_typing": use_explicit_typing}
        return b"engine"

    module = types.ModuleType("torch_tensorrt")
    module.dynamo = types.SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)
    module.Input = lambda **shapes: shapes
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT("tensorrt"))
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    stream = types.SimpleNamespace(cuda_stream=7)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(tensorrt_backend, "RecordedGraphs", lambda function, device: function)
    return asked


def test_tensorrt_gets_a_typed_network_and_its_batch_range(fake_tensorrt, folder):
    request = small_request(folder, precision="fp16", max_batch=4)
    engine = tensorrt_backend.build_engine(small_network(), request.spec, request.device)
    assert engine == b"engine"
    image, cue = fake_tensorrt.options["arg_inputs"]
    assert (image["min_shape"], image["max_shape"]) == ((1, 3, 32, 32), (4, 3, 32, 32))
    assert (cue["opt_shape"], cue["dtype"]) == ((2, 2), torch.float32)
    assert fake_tensorrt.options["use_explicit_typing"]
    assert fake_tensorrt.options["disable_tf32"]
    weights = fake_tensorrt.program.state_dict
    assert weights["network.conv.weight"].dtype == torch.float16
    out = fake_tensorrt.program.module()(*example_inputs(small_network(), 3).values())
    assert out[0].shape == (3, 5, 3)
    assert out[0].dtype == torch.float32


def test_a_tensorrt_engine_is_run_by_its_own_runtime(fake_tensorrt, folder):
    request = small_request(folder, max_batch=4)
    backend = tensorrt_backend.tensorrt_backend(b"engine", request.spec, request.device)
    assert backend.name == "tensorrt (TensorRT 11.0)"
    inputs = example_inputs(small_network(), 3)
    out = backend.run({k: v.numpy() for k, v in inputs.items()})
    for name, y in expected(inputs).items():
        np.testing.assert_allclose(out[name], y, atol=2e-6)


def test_tensorrt_engines_that_do_not_fit_are_refused(fake_tensorrt, folder, monkeypatch):
    request = small_request(folder, max_batch=4)
    arguments = request.spec, request.device
    with pytest.raises(BackEndError, match="does not take the engine: it was built"):
        tensorrt_backend.tensorrt_backend(b"another version's", *arguments)
    with pytest.raises(BackEndError, match="refuses image of shape"):
        tensorrt_backend.tensorrt_backend(
            b"engine", replace(request.spec, max_batch=8), request.device
        )
    monkeypatch.setattr(FakeEngine, "names", ("image", "output0", "output1", "output2"))
    with pytest.raises(BackEndError, match=r"the engine has inputs \['image'\]"):
        tensorrt_backend.tensorrt_backend(b"engine", *arguments)
    monkeypatch.setattr(sys.modules["tensorrt"], "_package_name", "tensorrt_rtx", raising=False)
    assert tensorrt_backend._package(sys.modules["tensorrt"]) == "TensorRT-RTX"


def test_a_tensorrt_build_that_fails_says_why(fake_tensorrt, folder, monkeypatch):
    def convert(program, **options):
        raise RuntimeError("unsupported operator aten.foo\nmany more lines")

    dynamo = types.SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)
    monkeypatch.setattr(sys.modules["torch_tensorrt"], "dynamo", dynamo)
    request = small_request(folder, max_batch=4)
    with pytest.raises(BackEndError, match=r"cannot build it: unsupported operator aten\.foo$"):
        tensorrt_backend.build_engine(small_network(), request.spec, request.device)
