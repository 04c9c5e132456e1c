"""The reference pages of the documentation, made of the code; a hook that MkDocs calls.

Every page is a function without arguments that returns Markdown. Nothing in them can be out of
date, and a topic without a description fails the build.
"""

from __future__ import annotations

import argparse
import importlib
import os
from dataclasses import dataclass, field
from typing import Any

from hand_mesh_ros.cli.main import COMMANDS
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import SPECS, NodeParameters, ParameterSpec
from hand_mesh_ros.ros.typestore import message_folder

GENERATED = "<!-- Made by tools/docs_reference.py of the code; edit that. -->\n\n"
_HELP_COLUMNS = "88"
_WHEN = {
    "live": "at any time",
    "configure": "before the node is configured",
    "start": "at the start only",
}
_TOPICS = {
    "image": "colour or grey images",
    "camera_info": (
        "calibration of the images (plumb_bob, rational_polynomial, equidistant); without it a "
        "field of view is assumed, and every hand says `ASSUMED_CAMERA`"
    ),
    "depth": "depth aligned to the images, mm (16UC1) or m (32FC1); optional",
    "depth/camera_info": "calibration of the depth images, to check that they are aligned",
    "hand_meshes": "all hands of an image, one message an image; empty when no hand is seen",
    "hand_mesh": "the same hands, one message a hand",
    "hand_hypotheses": (
        "with `num_hypotheses` from 2 on: all that each hand may be, its score a probability"
    ),
    "hand_topology": "faces, names and regions, which never change",
    "/tf": "frames of roots and grasps, below the frame of the image",
    "hand_joint_states": "named anatomical angles, rad; sent while somebody subscribes",
    "hand_markers": "mesh and skeleton for RViz; sent while somebody subscribes",
    "hand_detections": "what the detector said, before reconstruction; while somebody subscribes",
    "hand_overlay": "the image with the hands drawn in; sent while somebody subscribes",
    "image_preview/compressed": (
        "the image, 320 pixels wide, up to ten a second; sent while somebody subscribes"
    ),
    "/diagnostics": (
        "model, back-end, rates, times of the stages, refused images, hands held back; "
        "once a second"
    ),
}
_SERVICES = {
    "~/enable": "stop to listen to images, or go on",
    "~/reset": "forget all hands that were seen",
    "~/calibrate_hand": "measure the visible hands, and keep their shapes and sizes",
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those that MkDocs has found."""
    from mkdocs.structure.files import File

    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=GENERATED + page()))
    return files


def parameters_page() -> str:
    """Every parameter of the node."""
    lines = [
        "# Parameters",
        "",
        "Of the node, under ROS (`--ros-args -p name:=value`, a parameter file, `ros2 param`) and "
        "without (`hand-mesh run`, `hand-mesh demo` and `hand-mesh process` take the same "
        "`--ros-args`). An unknown name or an impossible value is refused with the reason. "
        "`config/hand_mesh.yaml` lists them all with their defaults.",
    ]
    for spec in SPECS:
        lines += ["", f"## `{spec.name}`", "", f"{_sentence(spec.text)}", "", _facts(spec)]
    return "\n".join(lines) + "\n"


def messages_page() -> str:
    """Our message definitions, as they are."""
    lines = ["# Messages"]
    for path in sorted(message_folder().glob("*.msg")):
        lines += ["", f"## `hand_mesh_ros/msg/{path.stem}`", "", "```text"]
        lines += [path.read_text("utf-8").strip(), "```"]
    return "\n".join(lines) + "\n"


def topics_page() -> str:
    """What the node listens to, sends and serves, asked of the node itself."""
    graph = node_on_record()
    lines = [
        "# Topics and services",
        "",
        "Names are relative: namespaces and remaps work. Every message carries the stamp and the "
        "frame of its image.",
        "",
        "## The node listens to",
        "",
        *_table(graph.subscriptions),
        "",
        "With the parameter `image_transport: compressed` the images come from "
        "`image/compressed` (sensor_msgs/msg/CompressedImage).",
        "",
        "## The node sends",
        "",
        *_table(graph.publishers),
        "",
        "## Services",
        "",
        "Where there is ROS.",
        "",
        "| Service | Type | |",
        "|---|---|---|",
    ]
    types = {"set_bool": "std_srvs/srv/SetBool", "trigger": "std_srvs/srv/Trigger"}
    lines += [f"| `{n}` | {types[k]} | {_SERVICES[n]} |" for n, k in graph.services.items()]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """What every command says of itself."""
    lines = ["# Commands", "", "After `make demo`, `hand-mesh` is `.venv/bin/hand-mesh`."]
    for name, text in COMMANDS.items():
        lines += ["", f"## `hand-mesh {name}`", "", f"{_sentence(text)}", ""]
        lines += ["```text", help_of(name).strip(), "```"]
    return "\n".join(lines) + "\n"


def help_of(command: str) -> str:
    """The text of `hand-mesh COMMAND --help`."""
    parser = argparse.ArgumentParser(prog=f"hand-mesh {command}", description=COMMANDS[command])
    importlib.import_module(f"hand_mesh_ros.cli.{command}").add_arguments(parser)
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _HELP_COLUMNS
    try:
        return parser.format_help()
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


PAGES = {
    "reference/topics.md": topics_page,
    "reference/messages.md": messages_page,
    "reference/parameters.md": parameters_page,
    "reference/commands.md": commands_page,
}


@dataclass
class RecordingGraph:
    """A graph without a network that notes what a node asks it for."""

    node_name: str = "hand_mesh"
    publishers: dict[str, tuple[str, Qos]] = field(default_factory=dict)
    subscriptions: dict[str, tuple[str, Qos]] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)

    class _Log:
        def __getattr__(self, level: str) -> Any:
            return lambda *text: None

    class _Endpoint:
        subscriber_count = 0

        def publish(self, cdr: object) -> None:
            """Send nothing."""

        def close(self) -> None:
            """Nothing to close."""

    log = _Log()

    def publisher(self, topic: str, type_name: str, qos: Qos) -> _Endpoint:
        """Note a publisher."""
        self.publishers[topic] = (type_name, qos)
        return self._Endpoint()

    def subscribe(self, topic: str, type_name: str, qos: Qos, callback: object) -> _Endpoint:
        """Note a subscription."""
        self.subscriptions[topic] = (type_name, qos)
        return self._Endpoint()

    def service(self, name: str, kind: str, callback: object) -> None:
        """Note a service."""
        self.services[name] = kind


class _NoPipeline:
    """A pipeline that gets no frame."""

    back_end = ""

    def __init__(self) -> None:
        self.hand_model = load_open_hand()

    def use_calibrations(self, calibrations: object) -> None:
        """Nothing to calibrate."""

    def reset(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""


def node_on_record() -> RecordingGraph:
    """What a node with the default parameters asks of its graph."""
    graph = RecordingGraph()
    node = HandMeshNode(graph, NodeParameters(), _NoPipeline())  # type: ignore[arg-type]
    node.activate()
    node.close()
    return graph


def _facts(spec: ParameterSpec) -> str:
    default = f'"{spec.default}"' if isinstance(spec.default, str) else str(spec.default).lower()
    return f"Default `{default}`; {spec.expected}; can change {_WHEN[spec.when]}."


def _table(endpoints: dict[str, tuple[str, Qos]]) -> list[str]:
    rows = ["| Topic | Type | QoS | |", "|---|---|---|---|"]
    for topic, (type_name, qos) in endpoints.items():
        if topic not in _TOPICS:
            raise KeyError(f"tools/docs_reference.py has no description of topic {topic}")
        quality = [qos.reliability.replace("_", " "), f"depth {qos.depth}"]
        if qos.durability == "transient_local":
            quality.append("transient local")
        rows.append(f"| `{topic}` | {type_name} | {', '.join(quality)} | {_TOPICS[topic]} |")
    return rows


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
