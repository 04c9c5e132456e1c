"""The ROS package's description, launch files and requirements against what the code needs."""

import ast
import importlib.util
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from hand_mesh_ros import __version__, shared_files
from hand_mesh_ros.ros import executables
from hand_mesh_ros.ros.camera_node import CAMERA_INFO_TOPIC, IMAGE_TOPIC
from hand_mesh_ros.ros.markers import NAMESPACES
from hand_mesh_ros.ros.parameters import SPEC_OF_NAME
from hand_mesh_ros.sources.base import DEFAULT_FRAME_ID

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hand_mesh_ros"
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.py"))
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()

# rosdep's names of what is not called as it is imported.
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "yaml": "python3-yaml",
}
# What a ROS workspace does without: the pip-only node, the command line, the networks.
OPTIONAL_FOLDERS = {
    "backends",
    "cli",
    "evaluation",
    "export",
    "networks",
    "processing",
    "training",
    "viewer",
}
OPTIONAL = {"anny", "cyclonedds", "scipy", "smplx", "torch"}


def texts(tag):
    return {element.text for element in MANIFEST.findall(tag)}


def run_dependencies():
    return texts("depend") | texts("exec_depend")


def requirements(path):
    """(name, version, marker) of each line."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)(?:;\s*(.*))?", line) for line in lines if line]
    assert all(found), f"{path.name} has a line that is not NAME==VERSION"
    return [match.groups() for match in found]


def imported_roots():
    roots = set()
    ours = [
        p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] not in OPTIONAL_FOLDERS
    ]
    for path in [*ours, *LAUNCH_FILES]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                roots.add(node.module.split(".")[0])
    return roots - set(sys.stdlib_module_names) - {"hand_mesh_ros"}


def test_manifest_says_what_ros_needs():
    assert MANIFEST.get("format") == "3"
    assert MANIFEST.findtext("name") == "hand_mesh_ros"
    assert MANIFEST.findtext("version") == __version__
    assert texts("member_of_group") == {"rosidl_interface_packages"}
    assert MANIFEST.findtext("export/build_type") == "ament_cmake"


def test_whatever_is_imported_is_installed_by_rosdep_or_the_requirements():
    known = run_dependencies() | {r[0] for r in requirements(ROOT / "requirements-ros.txt")}
    for root in sorted(imported_roots() - OPTIONAL):
        key = ROSDEP_KEYS.get(root, root)
        assert key in known, f"{root} is imported; neither package.xml nor requirements have {key}"


def test_packages_of_all_message_types_are_dependencies():
    named = set()
    for path in PACKAGE.rglob("*.py"):
        named |= set(re.findall(r'"([a-z0-9_]+)/(?:msg|srv)/[A-Z]\w+"', path.read_text()))
    assert {"sensor_msgs", "tf2_msgs"} <= named
    spoken_without_ros = {"rmw_dds_common"}  # there, the middleware speaks it
    assert named - spoken_without_ros - {"hand_mesh_ros"} <= run_dependencies()


def test_cmake_builds_every_message_and_installs_every_script():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    messages = {path.name for path in (ROOT / "msg").glob("*.msg")}
    assert set(re.findall(r"msg/(\w+\.msg)", cmake)) == messages
    scripts = sorted((ROOT / "scripts").iterdir())
    assert set(re.findall(r"scripts/(\w+)", cmake)) == {path.name for path in scripts}
    for path in scripts:
        assert os.access(path, os.X_OK), f"{path.name} is not executable"
        assert path.read_text().startswith("#!/usr/bin/env python3\n")


def test_messages_need_only_declared_packages():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    declared = set(re.search(r"set\(message_dependencies (.*?)\)", cmake)[1].split())
    used = set()
    for path in (ROOT / "msg").glob("*.msg"):
        used |= set(re.findall(r"^(\w+)/\w+", path.read_text(), re.MULTILINE))
    assert used == declared == texts("depend")


def test_requirements_are_those_that_are_tested_together():
    tested = {name: version for name, version, _ in requirements(ROOT / "constraints.txt")}
    for name, version, marker in requirements(ROOT / "requirements-ros.txt"):
        elsewhere = marker and ('== "aarch64"' in marker or ">=" in marker)
        if name in tested and not elsewhere:
            assert version == tested[name], name


def test_requirements_leave_numpy_and_opencv_to_ros():
    names = {name for name, _, _ in requirements(ROOT / "requirements-ros.txt")}
    assert not {n for n in names if n.startswith(("numpy", "opencv"))}
    assert "--no-deps" in (ROOT / "requirements-ros.txt").read_text()


def test_a_missing_library_gets_its_install_line(tmp_path, monkeypatch, capsys):
    file = tmp_path / "requirements-ros.txt"
    file.write_text('# a comment\nnumpy==1.0\nno-such-library==1.0; python_version < "9"\n')
    monkeypatch.setattr(executables, "places", lambda name: (tmp_path / "absent", file))
    assert executables.missing_requirements(file) == ["no-such-library"]
    assert executables.hand_mesh_node([]) == 1
    said = capsys.readouterr().err
    assert "needs no-such-library," in said
    assert f"{sys.executable} -m pip install --no-deps -r {file}" in said


def test_files_are_found_in_the_share_folder_of_a_ros_install(tmp_path):
    package = tmp_path / "local/lib/python3.10/dist-packages/hand_mesh_ros"
    package.mkdir(parents=True)
    copy = package / "shared_files.py"
    copy.write_text(Path(shared_files.__file__).read_text())
    spec = importlib.util.spec_from_file_location("installed_shared_files", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert tmp_path.resolve() / "share/hand_mesh_ros/msg" in module.places("msg")


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_files_are_short_and_run_nothing_of_their_own(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 90
    for word in ("eval(", "exec(", "PythonExpression", "subprocess", "os.system", "pip "):
        assert word not in text, word


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_files_set_no_parameter_to_its_own_default(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SetParameter":
            name, value = (argument.value for argument in node.args)
            spec = SPEC_OF_NAME[name]
            assert spec.check(value) != spec.default, name


def test_demo_listens_where_the_cameras_speak():
    text = (ROOT / "launch/demo.launch.py").read_text()
    assert f'"image": "{IMAGE_TOPIC}"' in text
    assert f'"camera_info": "{CAMERA_INFO_TOPIC}"' in text


def test_rviz_shows_what_the_node_sends():
    config = yaml.safe_load((ROOT / "config/hand_mesh.rviz").read_text())["Visualization Manager"]
    assert config["Global Options"]["Fixed Frame"] == DEFAULT_FRAME_ID
    displays = {display["Class"].split("/")[1]: display for display in config["Displays"]}
    assert {"Image", "MarkerArray", "TF"} <= set(displays)
    assert tuple(displays["MarkerArray"]["Namespaces"]) == NAMESPACES
    topics = {d["Topic"]["Value"] for d in config["Displays"] if "Topic" in d}
    assert topics == {f"/{IMAGE_TOPIC}", "/hand_overlay", "/hand_markers"}
