import json

import pytest
from dds_peers import free_domain

from hand_mesh_ros.cli import bench_ros
from hand_mesh_ros.cli.main import main

SPREAD = {"p50", "p90", "p99"}


def test_pipeline_is_measured_stage_by_stage(tmp_path, capsys):
    report = tmp_path / "bench.json"
    options = ["--frames", "2", "--hands", "1", "--width", "320", "--height", "240", "--depth"]
    assert main(["bench", *options, "--report", str(report)]) == 0
    (result,) = json.loads(report.read_text())["results"]
    assert (result["model"], result["batch"], result["frames"]) == ("landmark_fit", 1, 2)
    assert (result["width"], result["height"]) == (320, 240)
    assert 0.0 < result["ms_p50"] <= result["ms_p90"] <= result["ms_p99"]
    assert {"detection", "reconstruction", "root", "smoothing"} <= set(result["stage_ms"])
    assert all(set(times) == SPREAD for times in result["stage_ms"].values())
    assert "landmark_fit 320x240" in capsys.readouterr().out


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
    for topic in ("hand_meshes", "hand_topology", "hand_overlay", "/tf"):
        graph.publisher(topic, "some/msg/Type", None)
    assert [topic for topic, _ in graph.publishers] == ["hand_meshes", "/tf"]
    with pytest.raises(RuntimeError, match=r"no subscriber heard of hand_meshes, /tf"):
        bench_ros._wait_for_subscribers(graph.publishers, lambda: False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frames", "0"], "--frames is 0"),
        (["--hands", "3"], "--hands is 3"),
        (["--frames", "1", "--report", "/nowhere/at/all.json", "--ros"], "--report /nowhere"),
    ],
)
def test_wrong_options_are_refused(options, words, capsys, monkeypatch):
    monkeypatch.setattr(bench_ros, "ros_results", lambda **_: [])
    assert main(["bench", *options]) == 2
    assert words in capsys.readouterr().err
