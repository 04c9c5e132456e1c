"""`hand-mesh view` as a user calls it."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from test_cli import COMMAND, environment, hand_mesh
from test_viewer_feeds import hands_bag

from hand_mesh_ros.cli import main as cli


@pytest.fixture
def unhurried(monkeypatch):
    """Called in this process, the command must not slow down all tests after this one."""
    monkeypatch.setattr(os, "nice", lambda increment: increment)
    monkeypatch.setattr(os, "getsid", lambda pid: -1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["view", "/no/such/bag"], "there is no recording at /no/such/bag"),
        (["view", "--topic", "/hands"], "-r hand_meshes:=/hands"),
    ],
)
def test_wrong_calls_say_what_is_wrong_in_one_line(arguments, says):
    done = hand_mesh(*arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert says in lines[-1]
    assert len(lines) == 1, done.stderr


@pytest.mark.usefixtures("unhurried")
def test_a_missing_viser_is_named_with_its_install_line(tmp_path, monkeypatch, capsys):
    bag = hands_bag(tmp_path / "bag")
    monkeypatch.setitem(sys.modules, "viser", None)
    assert cli.main(["view", str(bag)]) == 2
    assert "pip install 'hand_mesh_ros[viewer]'" in capsys.readouterr().err


@pytest.mark.usefixtures("unhurried")
def test_an_address_of_another_machine_is_refused(tmp_path, capsys):
    pytest.importorskip("viser", reason="the viewer needs viser: pip install viser")
    assert cli.main(["view", str(hands_bag(tmp_path / "bag")), "--host", "192.0.2.1"]) == 2
    assert "cannot listen on 192.0.2.1:8080" in capsys.readouterr().err


def test_the_page_is_where_it_says_until_ctrl_c(tmp_path):
    pytest.importorskip("viser", reason="the viewer needs viser: pip install viser")
    command = [*COMMAND, "view", str(hands_bag(tmp_path / "bag")), "--port", "0"]
    view = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert view.stdout is not None
    try:
        line = view.stdout.readline()
        assert line.startswith("the view is at http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[-1]) as answer:
            assert b"<html" in answer.read()
    finally:
        view.send_signal(signal.SIGINT)
        assert view.wait(20) == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are told by Linux alone")
def test_the_page_lets_others_go_first(tmp_path):
    pytest.importorskip("viser", reason="the viewer needs viser: pip install viser")
    command = [*COMMAND, "view", str(hands_bag(tmp_path / "bag")), "--port", "0"]
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    view = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    assert view.stdout is not None
    try:
        view.stdout.readline()
        threads = [int(path.name) for path in Path(f"/proc/{view.pid}/task").iterdir()]
        nice = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
        assert nice == {min(ours + 10, 19)}
        session = Path(f"/proc/{view.pid}/autogroup")
        assert not session.exists() or session.read_text().split()[-1] == "10"
        assert os.getpriority(os.PRIO_PROCESS, 0) == ours
    finally:
        view.terminate()
        view.wait(20)


def test_the_demo_says_where_its_page_is():
    pytest.importorskip("viser", reason="the viewer needs viser: pip install viser")
    no_screen = {k: v for k, v in environment().items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [*COMMAND, "demo", "--frames", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=no_screen)
    assert done.returncode == 0, done.stderr
    assert "the view is at http://127.0.0.1:" in done.stdout
