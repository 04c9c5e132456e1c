"""The documentation says what is: commands, options, parameters, topics, files, targets."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from camera_samples import STORE
from hand_samples import sample_hand

from hand_mesh_ros.cli.main import COMMANDS
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.parameters import SPEC_OF_NAME, SPECS

REPOSITORY = Path(__file__).parents[1]
TEXTS = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8")
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
}


def load_reference():
    path = REPOSITORY / "tools" / "docs_reference.py"
    if not path.exists():
        pytest.skip("no tools folder here", allow_module_level=True)
    spec = importlib.util.spec_from_file_location("docs_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_reference"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


REFERENCE = load_reference()


def blocks(text):
    """Lines of the fenced blocks, continued ones joined, remarks cut off."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True) if line.count('"') % 2 == 0 else line.split()


def called():
    """(file, command, its words) of every call of hand-mesh in a block."""
    for name, text in TEXTS.items():
        for words in blocks(text):
            places = [i for i, word in enumerate(words) if Path(word).name == "hand-mesh"]
            for i in places:
                yield name, words[i + 1], words[i + 2 :]
            if words[:2] == ["make", "demo"] and len(words) > 2:
                yield name, "demo", words[2].removeprefix("ARGS=").split()


CALLS = list(called())


def test_the_texts_call_commands():
    assert {"demo", "run", "process", "view", "train", "evaluate", "bench", "export"} <= {
        command for _, command, _ in CALLS
    }


@pytest.mark.parametrize(("name", "command", "words"), CALLS, ids=lambda v: str(v)[:40])
def test_every_documented_call_is_possible(name, command, words):
    assert command in COMMANDS, f"{name} calls hand-mesh {command}"
    known = REFERENCE.help_of(command)
    ours = words[: words.index("--ros-args")] if "--ros-args" in words else words
    for word in ours:
        if word.startswith("--"):
            assert re.search(rf"{word}\b", known), f"{name}: hand-mesh {command} has no {word}"


def test_commands_and_options_in_the_text_exist():
    for name, text in TEXTS.items():
        for inline in re.findall(r"`hand-mesh ([a-z]+)([^`]*)`", text):
            command, rest = inline
            assert command in COMMANDS, f"{name} names hand-mesh {command}"
            for option in re.findall(r"--[a-z-]+", rest.split("--ros-args")[0]):
                assert option in REFERENCE.help_of(command), f"{name}: {command} {option}"


def test_documented_parameters_exist():
    for name, text in TEXTS.items():
        for parameter in re.findall(r"-p ([a-z_.]+):=", text):
            assert parameter in SPEC_OF_NAME, f"{name} sets {parameter}"
        for parameter in re.findall(r"`([a-z_.]+): [^`]+`", text):
            assert parameter in SPEC_OF_NAME, f"{name} sets {parameter}"


def test_documented_launch_files_and_targets_exist():
    makefile = (REPOSITORY / "Makefile").read_text()
    for name, text in TEXTS.items():
        for launch in re.findall(r"\b\w+\.launch\.py", text):
            assert (REPOSITORY / "launch" / launch).exists(), f"{name} names {launch}"
        for target in re.findall(r"^make ([a-z]+)", text, re.MULTILINE):
            assert f"\n{target}:" in makefile, f"{name} names make {target}"


def test_the_reference_names_every_parameter_with_its_default():
    page = REFERENCE.parameters_page()
    for spec in SPECS:
        start = page.index(f"## `{spec.name}`")
        section = page[start : page.find("\n## ", start + 1)]
        assert spec.expected in section
        assert str(spec.default).lower() in section.lower()


def test_the_reference_shows_every_message_whole():
    page = REFERENCE.messages_page()
    for path in (REPOSITORY / "msg").glob("*.msg"):
        assert f"hand_mesh_ros/msg/{path.stem}" in page
        assert path.read_text("utf-8").strip() in page


def test_the_reference_lists_the_nodes_topics_and_no_others():
    graph = REFERENCE.node_on_record()
    topics = {*graph.publishers, *graph.subscriptions}
    assert topics == set(REFERENCE._TOPICS)
    assert set(graph.services) == set(REFERENCE._SERVICES)
    page = REFERENCE.topics_page()
    for topic in ("hand_meshes", "hand_topology", "/tf", "camera_info"):
        assert f"| `{topic}` |" in page


def test_the_reference_has_the_help_of_every_command():
    page = REFERENCE.commands_page()
    for command in COMMANDS:
        assert f"usage: hand-mesh {command}" in page


def test_the_documented_frames_are_those_that_are_sent():
    hands = [sample_hand(Side.LEFT), sample_hand(Side.RIGHT)]
    sent = messages.tf_message(STORE, hands, 1, "cam").transforms
    named = set(re.findall(r"`((?:left|right)_hand_\w+)`", TEXTS["docs/frames.md"]))
    assert named == {transform.child_frame_id for transform in sent}


def test_the_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the pages need mkdocs: pip install .[docs]")
    pytest.importorskip("material", reason="the pages need mkdocs-material: pip install .[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "known_hand_length_m" in (tmp_path / "reference" / "parameters.html").read_text()
    assert "net.core.rmem_max" in (tmp_path / "troubleshooting.html").read_text()
