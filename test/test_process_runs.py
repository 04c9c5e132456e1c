"""Runs of `hand-mesh process`: many recordings, stops, failures, several workers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from process_samples import (
    ScriptedPipeline,
    camera_messages,
    files_of,
    read_bag,
    settings,
    synthetic_bag,
    synthetic_frames,
    write_bag,
    write_pictures,
    write_video,
)

from hand_mesh_ros.cli.main import main
from hand_mesh_ros.processing import recording
from hand_mesh_ros.processing.output_folder import locked
from hand_mesh_ros.processing.ray_workers import gpu_share
from hand_mesh_ros.ros.parameters import NodeParameters

SMALL = {"width": 160, "height": 120, "noise": 0.0}
SEEN = {"width": 320, "height": 240, "noise": 0.0}
COMMAND = [sys.executable, "-m", "hand_mesh_ros.cli", "process"]


@pytest.fixture
def scripted(monkeypatch):
    """A pipeline that sees a hand in every frame, and how many were made."""
    made = []

    def build(parameters):
        made.append(ScriptedPipeline())
        return made[-1]

    monkeypatch.setattr(recording, "build_pipeline", build)
    return made


def run(*arguments):
    """Exit code of the command in this process."""
    return main(["process", *map(str, arguments)])


def test_every_input_gets_a_folder_and_a_line(tmp_path, scripted, capsys):
    frames = synthetic_frames(3, **SMALL)
    write_video(tmp_path / "clip.mp4", frames)
    (tmp_path / "day").mkdir()
    write_video(tmp_path / "day" / "clip.mp4", frames)
    write_pictures(tmp_path / "stills", frames)
    synthetic_bag(tmp_path / "drive", 3, **SMALL)
    inputs = [tmp_path / n for n in ("clip.mp4", "day/clip.mp4", "stills", "stills/2.png", "drive")]
    report = tmp_path / "report.json"
    code = run(*inputs, inputs[0], "-o", tmp_path / "out", "--npz", "--report", report)
    captured = capsys.readouterr()
    assert code == 0, captured.err
    folders = sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith("."))
    # Two of one name are told apart by as much of their paths as that takes.
    assert folders == ["2", "day_clip.mp4", "drive", "stills", f"{tmp_path.name}_clip.mp4"]
    assert len(captured.out.splitlines()) == 5
    assert "drive: 3 frames, 3 with a hand" in captured.out
    told = json.loads(report.read_text())
    assert told["frames"] == 13
    assert told["failed"] == {}
    assert told["recordings"]["drive"]["frames_with_hand"] == 3
    assert set(told["recordings"]["drive"]["stage_ms"]) >= {
        "reading",
        "detection",
        "reconstruction",
        "output npz",
    }
    assert len(scripted) == 1


def test_the_default_outputs(tmp_path, scripted):
    synthetic_bag(tmp_path / "drive", 2, **SMALL)
    assert run(tmp_path / "drive", "-o", tmp_path / "out") == 0
    written = {p.name for p in (tmp_path / "out" / "drive").iterdir()}
    assert written == {"hands", "hands.npz", "overlay.mp4", "summary.html", "done.json"}


def test_one_failure_does_not_stop_the_rest(tmp_path, scripted, capsys):
    (tmp_path / "empty.mp4").write_bytes(b"no video at all")
    (tmp_path / "bare").mkdir()
    write_bag(tmp_path / "mono", [])
    synthetic_bag(tmp_path / "drive", 2, **SMALL)
    names = ("empty.mp4", "bare", "mono", "absent.mp4", "drive")
    code = run(*(tmp_path / n for n in names), "-o", tmp_path / "out", "--npz")
    captured = capsys.readouterr()
    assert code == 1
    assert (tmp_path / "out" / "drive" / "hands.npz").exists()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 4, captured.err
    for line, says in zip(
        lines,
        (
            "can be decoded as video",
            "no images in the folder",
            "has no camera images",
            "no such file or folder",
        ),
        strict=True,
    ):
        assert line.startswith("hand-mesh process: ")
        assert says in line


def test_a_pipeline_that_fails_costs_one_recording(tmp_path, scripted, monkeypatch, capsys):
    for name in ("one", "two", "three"):
        synthetic_bag(tmp_path / name, 2, **SMALL)
    reconstruct = ScriptedPipeline.reconstruct

    def fails(self, frame, detected):
        if len(scripted) == 1 and len(self.frames) == 3:  # the second recording's second frame
            raise RuntimeError("out of luck")
        if len(scripted) == 2:  # its files do not fill the disk for the rest of the run
            assert not list((tmp_path / "out").glob(".unfinished-two*"))
        return reconstruct(self, frame, detected)

    monkeypatch.setattr(ScriptedPipeline, "reconstruct", fails)
    code = run(*(tmp_path / n for n in ("one", "two", "three")), "-o", tmp_path / "out", "--npz")
    assert code == 1
    assert "two: RuntimeError: out of luck" in capsys.readouterr().err
    left = {p.name for p in (tmp_path / "out").iterdir()}
    assert left == {"one", "three", ".hand-mesh-process.lock"}
    assert len(scripted) == 2  # the broken one is not used again


def test_no_frame_in_the_range(tmp_path, scripted, capsys):
    synthetic_bag(tmp_path / "drive", 2, **SMALL)
    assert run(tmp_path / "drive", "-o", tmp_path / "out", "--start", 60) == 1
    assert "gave no frame to process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--every", "0"], "every is 0, expected 1 or more"),
        (["--start", "-1"], "start is -1.0 s"),
        (["--start", "2", "--end", "1"], "end is 1.0 s, expected more than start (2.0 s)"),
        (["--rate", "0"], "rate is 0.0 Hz"),
        (["--workers", "0"], "--workers is 0"),
        (["--mesh-frames", "0"], "mesh frames are 0"),
        (["--model", "none"], 'model: got "none", expected one of'),
        (["--camera-info", "/no/such.yaml"], "/no/such.yaml"),
        (["--report", "/no/such/r.json"], "--report /no/such/r.json"),
        (["--ros-args", "-p", "max_hnds:=1"], 'did you mean "max_hands"?'),
    ],
)
def test_wrong_calls_say_what_is_wrong_in_one_line(tmp_path, capsys, options, says):
    synthetic_bag(tmp_path / "drive", 1, **SMALL)
    assert run(tmp_path / "drive", "-o", tmp_path / "out", *options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_what_is_done_is_not_done_again(tmp_path, scripted, capsys):
    synthetic_bag(tmp_path / "drive", 2, **SMALL)
    call = [tmp_path / "drive", "-o", tmp_path / "out", "--npz"]
    assert run(*call) == 0
    before = files_of(tmp_path / "out")
    assert run(*call) == 0
    assert "drive: done before" in capsys.readouterr().out
    assert len(scripted) == 1
    assert run(*call, "--every", 2) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "was made with other settings (every was 1, is 2); choose another -o" in line
    assert files_of(tmp_path / "out") == before
    assert run(*call, "--every", 2, "--overwrite") == 0
    with np.load(tmp_path / "out" / "drive" / "hands.npz") as table:
        assert len(table["frame_stamp_ns"]) == 1
    file = next((tmp_path / "drive").glob("*.mcap"))
    os.utime(file, ns=(1, 1))  # another recording of that name
    assert run(*call, "--every", 2) == 1
    assert "files changed" in capsys.readouterr().err


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, scripted, capsys):
    synthetic_bag(tmp_path / "drive", 1, **SMALL)
    (tmp_path / "out" / "drive").mkdir(parents=True)
    (tmp_path / "out" / "drive" / "thesis.tex").write_text("x")
    assert run(tmp_path / "drive", "-o", tmp_path / "out", "--overwrite") == 1
    assert "is no output of hand-mesh process; choose another -o" in capsys.readouterr().err
    assert (tmp_path / "out" / "drive" / "thesis.tex").exists()


def test_a_second_run_must_wait(tmp_path, scripted, capsys):
    synthetic_bag(tmp_path / "drive", 1, **SMALL)
    with locked(tmp_path / "out"):
        assert run(tmp_path / "drive", "-o", tmp_path / "out") == 2
    assert "another hand-mesh process is writing to" in capsys.readouterr().err


def test_an_output_that_cannot_be_written(tmp_path, scripted, capsys):
    synthetic_bag(tmp_path / "drive", 1, **SMALL)
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "drive", "-o", tmp_path / "file" / "out") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cannot write to" in line


@pytest.mark.parametrize("output", ["bag", "overlay", "npz", "glb", "summary"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch, scripted, capsys, output):
    out = tmp_path / "tiny"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a tmpfs of 64 kB")
    try:
        frames = synthetic_frames(12, **SMALL)
        rng = np.random.default_rng(0)
        for frame in frames:  # what no codec makes small
            frame.image[:] = rng.integers(0, 256, frame.image.shape, np.uint8)
        path = write_bag(tmp_path / "drive", camera_messages(frames))
        if output in ("npz", "summary"):
            (out / "ballast").write_bytes(bytes(60_000))
        assert run(path, "-o", out, f"--{output}") == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "o space left on" in line
        assert output != "overlay" or "overlay.mp4" in line
        assert {p.name for p in out.iterdir()} <= {".hand-mesh-process.lock", "ballast"}
    finally:
        subprocess.run(["umount", str(out)], check=True)


def recordings(folder: Path, count: int, frames: int) -> list[Path]:
    paths = [folder / f"drive_{i}" for i in range(count)]
    for seed, path in enumerate(paths):
        synthetic_bag(path, frames, seed=seed, **SEEN)
    return paths


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, what, timeout_s=120.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.005)


def unfinished(out: Path):
    return list(out.glob(".unfinished-*/hands/*.mcap")) if out.exists() else []


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Three recordings, and what one worker makes of them without a stop."""
    folder = tmp_path_factory.mktemp("reference")
    paths = recordings(folder, 3, 18)
    assert run(*paths, "-o", folder / "out") == 0
    return paths, files_of(folder / "out")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(tmp_path, reference, sign):
    paths, expected = reference
    out = tmp_path / "out"
    process = start(*paths, "-o", out)
    wait_for(lambda: (out / "drive_0").exists() and unfinished(out), "the second recording")
    process.send_signal(sign)
    _, said = process.communicate(timeout=120)
    assert process.returncode == (130 if sign == signal.SIGINT else -sign)
    done = {p.name for p in out.iterdir() if not p.name.startswith(".")}
    assert "drive_0" in done
    assert "drive_2" not in done
    if sign == signal.SIGINT:
        assert said.strip().splitlines() == [
            "hand-mesh process: stopped; the same command goes on with what is left"
        ]
        assert not unfinished(out)
    kept = (out / "drive_0" / "done.json").stat().st_mtime_ns
    assert run(*paths, "-o", out) == 0
    assert (out / "drive_0" / "done.json").stat().st_mtime_ns == kept
    assert files_of(out) == expected
    assert len(read_bag(out / "drive_1" / "hands")) > 40


def test_workers_make_the_same_files_and_one_that_dies_is_replaced(tmp_path, reference):
    paths, expected = reference
    out = tmp_path / "out"
    process = start(*paths, "-o", out, "--workers", 2)
    wait_for(lambda: unfinished(out), "a worker at work")
    children = psutil.Process(process.pid).children()
    workers = [p for p in children if "spawn_main" in str(p.cmdline())]
    wait_for(lambda: all(len(p.cpu_affinity()) == 1 for p in workers), "workers of one core each")
    held_to = {core for p in workers for core in p.cpu_affinity()}
    assert len(held_to) == min(2, len(os.sched_getaffinity(0)))
    workers[0].kill()
    output, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert files_of(out) == expected
    assert len(output.splitlines()) == 3
    assert said.count("its worker died; it is done again") == 1


def test_every_worker_says_why_settings_are_unfit(tmp_path):
    paths = recordings(tmp_path, 2, 1)
    done = start(*paths, "-o", tmp_path / "out", "--workers", 2, "--model", "none")
    _, said = done.communicate(timeout=120)
    assert done.returncode == 2
    assert len(said.strip().splitlines()) == 1
    assert 'model: got "none", expected one of' in said


def test_the_order_of_recordings_does_not_matter(tmp_path, reference):
    """A pipeline that has seen other recordings makes of one what a new one makes."""
    paths, expected = reference
    assert run(*reversed(paths), "-o", tmp_path / "out") == 0
    assert files_of(tmp_path / "out") == expected


def test_ray_actors_make_the_same_files_and_one_that_is_lost_is_replaced(tmp_path, reference):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from process_ray import run_and_lose_one

    paths, expected = reference
    said = run_and_lose_one(ray, paths, tmp_path / "out")
    assert files_of(tmp_path / "out") == expected
    assert sum("its worker was lost; it is done again" in line for line in said) == 1


@pytest.mark.parametrize(
    ("parameters", "num_gpus", "actors", "share"),
    [
        ({"model": "m3dhmr"}, 2.0, 2, 1.0),
        ({"model": "m3dhmr"}, 2.0, 3, 0.5),  # two thirds each would leave the third without
        ({"model": "m3dhmr"}, 4.0, 2, 1.0),
        ({"model": "m3dhmr"}, 0.0, 2, 0.0),
        ({"model": "m3dhmr", "device": "cpu"}, 2.0, 2, 0.0),
        ({"model": "lifter"}, 2.0, 2, 0.0),
    ],
)
def test_ray_actors_share_the_gpus_that_their_model_uses(parameters, num_gpus, actors, share):
    chosen = settings(parameters=NodeParameters.from_overrides(parameters))
    assert gpu_share(chosen, num_gpus=num_gpus, actors=actors) == share


def test_without_ray_its_install_line_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    paths = recordings(tmp_path, 1, 1)
    assert run(*paths, "-o", tmp_path / "out", "--ray", "local") == 2
    assert "pip install hand_mesh_ros[cluster]" in capsys.readouterr().err


def test_without_pyarrow_its_install_line_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    paths = recordings(tmp_path, 1, 1)
    assert run(*paths, "-o", tmp_path / "out", "--parquet") == 2
    assert "pip install hand_mesh_ros[parquet]" in capsys.readouterr().err


def test_settings_refuse_unknown_outputs():
    with pytest.raises(ValueError, match="expected some of bag, overlay"):
        settings("film")
