"""The command as a user calls it, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from hand_mesh_ros.ros.signals import ended_as_by_ctrl_c

COMMAND = [sys.executable, "-m", "hand_mesh_ros.cli"]


def environment() -> dict[str, str]:
    """A DDS domain that no other test process uses at the same time."""
    return {**os.environ, "ROS_DOMAIN_ID": str(1 + os.getpid() % 90)}


def hand_mesh(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("demo",),
        ("run",),
        ("camera",),
        ("train",),
        ("evaluate",),
        ("process",),
        ("view",),
        ("export",),
        ("bench",),
    ],
)
def test_help(arguments):
    done = hand_mesh(*arguments, "--help")
    assert done.returncode == 0
    assert "usage: hand-mesh" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--input", "/no/such.mp4"], "no such image, folder or video: /no/such.mp4"),
        (["demo", "--input", "webcam:97"], "camera 97 gives no image"),
        (["demo", "--hands", "3"], "1 or 2 hands, not 3"),
        (["demo", "--frames", "0"], "--frames is 0, expected 1 or more"),
        (["demo", "--depth", "--input", "/tmp"], "--depth needs the synthetic camera"),
        (["demo", "--known-hand-length", "long"], "--known-hand-length long"),
        (["demo", "--known-hand-length", "2"], "known_hand_length_m: got 2.0"),
        (
            ["demo", "--report", "/no/such/folder/r.json"],
            "--report /no/such/folder/r.json: No such",
        ),
        (["demo", "--ros-args", "-p", "max_hnds:=1"], 'did you mean "max_hands"?'),
        (["run", "--ros-args", "-p", "model:=none"], 'model: got "none", expected one of'),
        (["run", "--ros-args", "-p", "hand_model:=mano"], "parameter mano_dir"),
        (
            ["run", "--ros-args", "-p", "hand_model:=mano", "-p", "mano_dir:=/none"],
            "MANO_RIGHT",
        ),
        (["run", "--ros-args", "--params-file", "/no/such.yaml"], "/no/such.yaml"),
        (["run", "--ros-args", "-p", "hand_landmarker_task:=/no.task"], "/no.task"),
        (["run", "--distro", "zulu"], "zulu"),
        (["camera", "--input", "/no/such/folder/"], "no such image, folder or video"),
    ],
)
def test_wrong_calls_say_what_is_wrong_in_one_line(arguments, says):
    done = hand_mesh(*arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert says in lines[-1]
    assert len(lines) == 1, done.stderr


def test_unknown_command():
    done = hand_mesh("juggle")
    assert done.returncode == 2
    assert "juggle" in done.stderr


def test_demo_finds_the_synthetic_hand(tmp_path):
    """Camera, node and monitor as three processes over DDS; true errors in the report."""
    report_file = tmp_path / "r.json"
    arguments = ["--headless", "--frames", "120", "--seed", "7", "--report", str(report_file)]
    done = hand_mesh("demo", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text())
    assert report == json.loads(done.stdout)
    assert report["frames"] == 120
    # A busy machine may drop frames (nothing queues), but what is answered has its hand.
    assert report["frames_answered"] > 30
    assert report["frames_with_hand"] >= 0.95 * report["frames_answered"]
    assert report["root_error_percent"]["median"] < 9.0
    assert report["pa_mpjpe_mm"]["median"] < report["mediapipe_pa_mpjpe_mm"]["median"]
    assert report["pa_mpvpe_mm"]["median"] < 12.0
    assert report["node_peak_memory_mb"] < 600
    for key in ("fps", "latency_ms", "mediapipe_ms", "pipeline_ms", "root_error_mm"):
        assert key in report
    # From the image's stamp to another process includes the node's own share.
    assert 0.0 < report["node_latency_ms"]["p50"] < report["latency_ms"]["p50"]


def test_demo_writes_an_overlay_a_still(tmp_path):
    photographs = Path(__file__).parents[2] / "shared" / "real_hands"
    if not photographs.is_dir():
        pytest.skip("no photographs in ../shared/real_hands")
    stills = tmp_path / "stills"
    stills.mkdir()
    for name in ("64", "119", "138"):
        image = (photographs / f"{name}_img.jpg").read_bytes()
        (stills / f"{name}_img.jpg").write_bytes(image)
        np.save(stills / f"{name}_K.npy", np.load(photographs / f"{name}_K.npy"))
    arguments = ["--headless", "--input", str(stills), "--rate", "4", "--hold", "4"]
    done = hand_mesh("demo", *arguments, "--overlay", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 12
    assert report["reprojection_percent"]["median"] < 4.0
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == report["overlays"] == 3
    drawn, plain = cv2.imread(str(pictures[0])), cv2.imread(str(stills / "64_img.jpg"))
    assert drawn.shape == plain.shape
    assert np.abs(drawn.astype(int) - plain).mean() > 5, "nothing was drawn"


def test_demo_passes_on_why_the_node_did_not_start():
    done = hand_mesh("demo", "--headless", "--frames", "5", "--ros-args", "-p", "model:=none")
    assert done.returncode == 1
    assert done.stdout == ""
    assert 'model: got "none", expected one of' in done.stderr


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux alone tells of children")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_demo_leaves_nobody_behind(sign):
    """Whoever ends it: a supervisor, a closed terminal, the user."""
    before = signal.signal(sign, signal.SIG_DFL)  # under nohup these tests, and it, would ignore it
    try:
        demo = subprocess.Popen(
            [*COMMAND, "demo", "--headless", "--frames", "3000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
    finally:
        signal.signal(sign, before)
    end = time.monotonic() + 60.0
    while len(started := children(demo.pid)) < 2:
        assert time.monotonic() < end, "node and camera have not started"
        time.sleep(0.1)
    time.sleep(2.0)
    assert all(is_running(pid) for pid in started)
    demo.send_signal(sign)
    _, said = demo.communicate(timeout=40)
    assert "Traceback" not in said.decode()
    assert not any(is_running(pid) for pid in started)


def test_what_ignores_a_signal_goes_on_doing_so():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_as_by_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_supervisors_signal_interrupts_and_is_its_own_again_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ended_as_by_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_node_ends_cleanly_on_ctrl_c():
    process = subprocess.Popen(
        [*COMMAND, "run"], stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "waiting for image" in line
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 0
    assert "Traceback" not in process.stderr.read()
