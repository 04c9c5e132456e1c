import itertools
import json
import types

import pytest
from dds_peers import free_domain

from hand_mesh_ros.cli import bench_pipeline, bench_ros
from hand_mesh_ros.cli.main import main
from hand_mesh_ros.networks.checkpoint_file import checkpoint_path, read_checkpoint_file
from hand_mesh_ros.sources.synthetic import SyntheticCamera

SPREAD = {"p50", "p90", "p99"}


def test_pipeline_is_measured_stage_by_stage(tmp_path, capsys):
    report = tmp_path / "bench.json"
    options = ["--frames", "2", "--hands", "1", "--width", "320", "--height", "240", "--depth"]
    assert main(["bench", *options, "--report", str(report)]) == 0
    (result,) = json.loads(report.read_text())["results"]
    assert (result["model"], result["batch"], result["frames"]) == ("lifter", 1, 2)
    assert (result["width"], result["height"]) == (320, 240)
    assert 0.0 < result["ms_p50"] <= result["ms_p90"] <= result["ms_p99"]
    assert {"detection", "reconstruction", "root", "smoothing"} <= set(result["stage_ms"])
    assert all(set(times) == SPREAD for times in result["stage_ms"].values())
    assert "lifter 320x240" in capsys.readouterr().out


def test_publishing_is_measured_with_a_subscriber_to_each_topic(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain()))
    report = tmp_path / "bench.json"
    assert main(["bench", "--ros", "--frames", "3", "--report", str(report)]) == 0
    results = {r["graph"]: r for r in json.loads(report.read_text())["results"]}
    result = results["DdsGraph"]
    assert (result["hands"], result["frames"]) == (2, 3)
    assert 0.0 < result["ms_p50"] <= result["ms_p99"]
    assert set(result["stage_ms"]) == {"meshes", "tf", "markers", "joint_states"}
    said = capsys.readouterr().out
    assert ("RclpyGraph" in results) != ("RclpyGraph: not measured" in said)


def test_every_topic_but_pictures_and_topology_is_listened_to():
    class Publisher:
        subscriber_count = 0

    class Graph:
        def publisher(self, topic, type_name, qos):
            return Publisher()

    graph = bench_ros._Announcing(Graph())
    topics = "hand_meshes", "hand_topology", "hand_overlay", "image_preview/compressed", "/tf"
    for topic in topics:
        graph.publisher(topic, "some/msg/Type", None)
    assert [topic for topic, _ in graph.publishers] == ["hand_meshes", "/tf"]
    with pytest.raises(RuntimeError, match=r"no subscriber heard of hand_meshes, /tf"):
        bench_ros._wait_for_subscribers(graph.publishers, lambda: False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runs", "0"], "--runs is 0"),
        (["--models", "lifter", "--batch", "0"], "--batch 0: expected positive numbers"),
        (["--models", "lifter", "--batch", "a"], "--batch a: expected numbers"),
        (["--models", "lifter", "--precision", "int4"], "--precision int4: expected some of fp32"),
        (["--models", "nothing"], "no checkpoint 'nothing'"),
        (["--models", "lifter", "--device", "tpu"], "device is 'tpu'"),
        (["--rates", "30", "--frames", "1"], "--frames is 1, a rate needs 2 or more"),
        (["--rates", "fast"], "--rates fast: expected numbers"),
        (["--rates", "30", "--ros"], "--rates and --ros are two measurements"),
        (["--pipeline", "nothing"], 'parameter model: got "nothing"'),
        (["--frames", "0"], "--frames is 0"),
        (["--hands", "3"], "--hands is 3"),
        (["--frames", "1", "--report", "/nowhere/at/all.json", "--ros"], "--report /nowhere"),
    ],
)
def test_wrong_options_are_refused(options, words, capsys, monkeypatch):
    monkeypatch.setattr(bench_ros, "ros_results", lambda **_: [])
    assert main(["bench", *options]) == 2
    assert words in capsys.readouterr().err


# Networks.


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One measurement that several tests look at."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("bench")
    options = ["--models", "lifter", "--backends", "torch,onnx,onnx-tensorrt", "--batch", "1,8"]
    options += ["--runs", "7", "--device", "cpu", "--cache-dir", str(folder / "cache")]
    files = ["--report", str(folder / "r.json"), "--markdown", str(folder / "r.md")]
    code = main(["bench", *options, *files])
    report = json.loads((folder / "r.json").read_text())
    return types.SimpleNamespace(code=code, report=report, folder=folder)


def test_networks_are_measured_on_every_back_end(measured):
    results = {(r["backend"], r["batch"]): r for r in measured.report["results"]}
    assert set(results) == {(b, n) for b in ("torch", "onnx") for n in (1, 8)}
    tensors = read_checkpoint_file(checkpoint_path("lifter")).tensors.values()
    sizes, matrices = [t.size for t in tensors], [t.size for t in tensors if t.ndim == 2]
    for (_, batch), result in results.items():
        assert (result["model"], result["precision"]) == ("lifter", "fp32")
        assert result["weights"] == "checkpoint"
        assert result["runs"] == 7
        assert 0.0 < result["ms_p50"] <= result["ms_p90"] <= result["ms_p99"]
        assert result["fps"] == pytest.approx(1e3 * batch / result["ms_p50"], rel=0.02)
        assert result["build_s"] > 0.0
        assert result["load_s"] > 0.0
        assert result["first_call_ms"] > 0.0
        assert result["memory_mb"] is None or result["memory_mb"] >= 0.0
        # One product for each number of a matrix, none for a bias.
        assert result["gmacs"] == pytest.approx(1e-9 * sum(matrices), abs=1e-4)
        assert result["params_m"] == pytest.approx(1e-6 * sum(sizes), abs=1e-3)
    assert results["torch", 8]["speed_up"] == 1.0
    ratio = results["torch", 1]["ms_p50"] / results["onnx", 1]["ms_p50"]
    assert results["onnx", 1]["speed_up"] == pytest.approx(ratio, rel=0.01)
    assert results["onnx", 1]["parity"]["shape"]["max_difference"] <= 1e-4


def test_a_back_end_that_was_asked_for_and_is_missing_is_told(measured):
    assert measured.code == 1
    (refused,) = measured.report["refused"]
    assert (refused["backend"], refused["error"]) == ("onnx-tensorrt", "needs an NVIDIA GPU")
    text = (measured.folder / "r.md").read_text()
    assert "lifter onnx-tensorrt fp32: needs an NVIDIA GPU" in text
    assert "| lifter | onnx | fp32 | 8 |" in text
    assert "Random weights" not in text
    assert "HaMeR" in text
    assert "M3DHMR" not in text


def test_random_weights_and_published_speeds_are_told(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    from hand_mesh_ros.cli.bench_models import _text
    from hand_mesh_ros.networks import checkpoint_file

    monkeypatch.setattr(checkpoint_file, "WEIGHTS", tmp_path)
    options = ["--backends", "torch", "--runs", "1", "--device", "cpu"]
    assert main(["bench", "--models", "lifter", *options]) == 0
    assert "Random weights (no checkpoint): lifter." in capsys.readouterr().out
    result = {"model": "x", "network": "m3dhmr", "weights": "checkpoint", "parity_text": ""}
    report = {"device": "d", "threads": 1, "results": [result], "refused": []}
    assert "| M3DHMR, ResNet-18 | 42 | not said | network alone |" in _text(report)


def test_two_reports_are_compared(measured, tmp_path, capsys):
    before, after = measured.folder / "r.json", tmp_path / "after.json"
    report = json.loads(before.read_text())
    kept = [r for r in report["results"] if r["backend"] == "onnx"]
    for result in kept:
        result["ms_p50"] /= 4.0
    after.write_text(json.dumps({"results": kept}))
    out = tmp_path / "compared.json"
    assert main(["bench", "--compare", str(before), str(after), "--report", str(out)]) == 0
    rows = json.loads(out.read_text())["compared"]
    assert [(r["backend"], r["batch"], r["speed_up"]) for r in rows] == [
        ("onnx", 1, 4.0),
        ("onnx", 8, 4.0),
    ]
    said = capsys.readouterr().out
    assert "| lifter onnx fp32 1 |" in said
    assert f"2 results are in {before} alone." in said


def test_reports_that_cannot_be_compared_are_refused(tmp_path, capsys):
    paths = {name: tmp_path / f"{name}.json" for name in ("a", "b", "broken", "absent")}
    for name, model in (("a", "one"), ("b", "two")):
        result = {"model": model, "ms_p50": 1.0, "ms_p99": 2.0}
        paths[name].write_text(json.dumps({"results": [result]}))
    paths["broken"].write_text("{}")
    for other, words in (
        ("b", "no result in common"),
        ("broken", "no report of hand-mesh bench"),
        ("absent", "No such file"),
    ):
        assert main(["bench", "--compare", str(paths["a"]), str(paths[other])]) == 2
        assert words in capsys.readouterr().err


# The pipeline at the rate of a camera.


def test_rate_and_latency_at_a_fixed_rate(tmp_path):
    report = tmp_path / "rates.json"
    options = ["--rates", "5,1000", "--frames", "6", "--width", "160", "--height", "120"]
    assert main(["bench", *options, "--hands", "1", "--report", str(report)]) == 0
    slow, fast = json.loads(report.read_text())["results"]
    assert (slow["input_hz"], fast["input_hz"]) == (5.0, 1000.0)
    assert slow["output_hz"] <= 6.0
    assert 0.0 < fast["skipped"] < 1.0
    assert fast["frames"] == slow["frames"] == 6
    for result in (slow, fast):
        assert result["model"] == "lifter"
        assert set(result["stage_ms"]["detection"]) == SPREAD
        assert 0.0 < result["ms_p50"] <= result["ms_p99"]


def test_only_the_newest_frame_waits(monkeypatch):
    now_s = [100.0]
    clock = types.SimpleNamespace(
        perf_counter=lambda: now_s[0], sleep=lambda s: now_s.__setitem__(0, now_s[0] + s)
    )
    monkeypatch.setattr(bench_pipeline, "time", clock)
    frame = SyntheticCamera(64, 48).frame_at(0).frame
    seen = []
    arrivals = bench_pipeline._arrivals(itertools.repeat(frame), 10.0)
    for shown, arrival_s, number in itertools.islice(arrivals, 7):
        seen.append((number, round(now_s[0] - arrival_s, 6), shown.stamp_ns))
        now_s[0] += 0.25 if number == 2 else 0.01  # the next but one has come meanwhile
    assert [number for number, _, _ in seen] == [0, 1, 2, 4, 5, 6, 7]
    assert [waited_s for _, waited_s, _ in seen] == [0.0, 0.0, 0.0, 0.05, 0.0, 0.0, 0.0]
    assert [stamp_ns for *_, stamp_ns in seen][:4] == [100000000, 200000000, 300000000, 500000000]
