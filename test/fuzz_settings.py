"""What a user writes: command lines, parameter files, calibrations, training configs."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np
from fuzz_messages import use_camera
from fuzz_run import FuzzTarget

from hand_mesh_ros.hand_calibration import CalibrationError, load_calibrations
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.names import ArgumentError
from hand_mesh_ros.ros.parameter_files import load_parameter_file
from hand_mesh_ros.ros.parameters import SPECS, NodeParameters, ParameterError, default_yaml
from hand_mesh_ros.sources.base import SourceError
from hand_mesh_ros.sources.calibration import camera_for_file, camera_from_yaml

_MEMORY = Path("/dev/shm")  # a hundred thousand files need no disk
FOLDER = Path(tempfile.mkdtemp(prefix="hand_mesh_fuzz_", dir=_MEMORY if _MEMORY.is_dir() else None))
"""Where inputs become files; each decoder has one name there."""
Finalize(None, shutil.rmtree, args=(FOLDER, True), exitpriority=0)

# YAML that a reader may stumble over, each in the place of a value.
YAML_TRAPS = (
    "&a [*a]",
    "&a {x: *a}",
    "!!timestamp x",
    "!!bool x",
    "!!int ''",
    "!!float x",
    "!!binary x",
    "!!set {a, b}",
    "!!omap [a]",
    "!!pairs [a]",
    "!!python/object/apply:os.system [false]",
    "{? [a] : b}",
    "{? {a: b} : c}",
    "<<: 1",
    "1e999",
    ".nan",
    "-.inf",
    "1" + 400 * "0",
    "0x" + 300 * "f",
    "0b1",
    "190:20:30",
    "2001-99-99",
    "2001-01-01 99:99:99",
    "~",
    "''",
    "[]",
    "{}",
    "[1, [2]]",
    "[1, a]",
    300 * "[",
    300 * "[" + 300 * "]",
    300 * "{a: " + 300 * "}",
    "[" + 40 * "{a: 1}, " + "]",
    "'\\0'",
    '"\\ud800"',
    '"\\x00"',
    "|\n  a\n  b",
    "%",
    "@",
    "`",
    "- a\n- b",
    "a: b: c",
    "\tx",
    "---\na\n---\nb",
)
# Nine lines that stand for a thousand million words.
LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def written(name, data):
    path = FOLDER / name
    path.write_bytes(data)
    return path


def trapped(text):
    """A function that makes YAML of which one value has become a trap."""
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if ":" in line and not line.strip().startswith("#")]

    def make(rng):
        changed = list(lines)
        for _ in range(int(rng.integers(1, 3))):
            at = int(rng.choice(places))
            trap = str(YAML_TRAPS[rng.integers(len(YAML_TRAPS))])
            changed[at] = f"{lines[at].split(':')[0]}: {trap}"
        if rng.random() < 0.05:
            changed.insert(int(rng.integers(len(changed) + 1)), LAUGHS)
        return "\n".join(changed).encode()

    return make


_WORDS = (
    *("--ros-args", "--", "-r", "-p", "-e", "--remap", "--param", "--params-file", "--log-level"),
    *("image:=/camera/image_raw", "__ns:=/robot", "__node:=x", "hand_mesh:model:=lifter", "debug"),
    *("a:=b", ":=", "x:=", ":=y", "~/a:={node}", "rostopic://a:=b", "a:b:c:=d", "/**", "\udcff"),
)


def any_arguments(rng):
    """Words of a command line, ended by NUL."""
    words = ["--ros-args"]
    for _ in range(int(rng.integers(1, 6))):
        if rng.random() < 0.5:
            name = SPECS[rng.integers(len(SPECS))].name
            words += ["-p", f"{name}:={YAML_TRAPS[rng.integers(len(YAML_TRAPS))]}"]
        else:
            words.append(_WORDS[rng.integers(len(_WORDS))])
    return "\0".join(words).encode("utf-8", "surrogateescape")


def _parse_arguments(data):
    words = data.decode("utf-8", "surrogateescape").split("\0")
    arguments = parse_ros_arguments([w for w in words if "params-file" not in w], "hand_mesh")
    arguments.resolve("image")
    NodeParameters.from_overrides(arguments.parameters)


def _read_parameter_file(data):
    sections = load_parameter_file(str(written("parameters.yaml", data)))
    for section in sections:
        section.concerns("/hand_mesh")
        NodeParameters.from_overrides(section.parameters)


def _read_camera(data):
    use_camera(camera_from_yaml(written("camera.yaml", data)))


def _read_matrix(data):
    written("K.npy", data)
    use_camera(camera_for_file(FOLDER / "image.jpg", 64, 48, 60.0))


def _read_calibrations(data):
    load_calibrations(written("hands.yaml", data), load_open_hand())


_CAMERA_YAML = """\
image_width: 64
image_height: 48
camera_name: cam
camera_matrix:
  rows: 3
  cols: 3
  data: [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0.001, 0.002, 0.0]
"""
_HANDS_YAML = """\
hands:
  left:
    hand_model: open_hand
    shape: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    hand_length_m: 0.18
    hand_length_stddev_m: 0.01
    frames: 60
    has_depth: false
"""
_RUN_YAML = """\
name: lifter
hand: {model: open_hand}
trainer:
  steps: 10
  batch_size: 4
  learning_rate: 1e-3
  betas: [0.9, 0.999]
  milestones: [0.5]
"""


def _matrix():
    file = io.BytesIO()
    np.save(file, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]))
    return file.getvalue()


TARGETS = [
    FuzzTarget(
        "ROS arguments",
        (ArgumentError, ParameterError),
        [
            b"--ros-args\0-r\0image:=/camera/image_raw\0-p\0smoothing.beta:=3.5\0--",
            b"--ros-args\0-p\0hand_mesh:tf_prefix:='a b'\0--log-level\0debug\0-r\0__ns:=/robot",
        ],
        _parse_arguments,
        any_arguments,
        share=1.0,
    ),
    FuzzTarget(
        "parameter files (YAML)",
        (ArgumentError, ParameterError),
        [default_yaml().encode(), b"/**:\n  ros__parameters:\n    max_hands: 2\n"],
        _read_parameter_file,
        trapped("/**:\n  ros__parameters:\n    max_hands: 2\n    smoothing.beta: 3\n    model: x"),
        share=0.1,
    ),
    FuzzTarget(
        "camera calibrations (YAML)",
        (SourceError,),
        [_CAMERA_YAML.encode()],
        _read_camera,
        trapped(_CAMERA_YAML),
        share=0.2,
    ),
    FuzzTarget("camera matrices (npy)", (SourceError,), [_matrix()], _read_matrix, share=0.5),
    FuzzTarget(
        "hand calibrations (YAML)",
        (CalibrationError,),
        [_HANDS_YAML.encode()],
        _read_calibrations,
        trapped(_HANDS_YAML),
        share=0.2,
    ),
]

with contextlib.suppress(ImportError):  # training needs torch
    from hand_mesh_ros.training import lifter_task  # noqa: F401  # registers the task
    from hand_mesh_ros.training.run_config import default_run_config, read_run_config
    from hand_mesh_ros.training.typed_config import ConfigError

    def _read_run_config(data):
        values = read_run_config(written("run.yaml", data))
        default_run_config("lifter").changed(values)

    def _assign(data):
        texts = data.decode("utf-8", "replace").split("\0")
        default_run_config("lifter").assigned(texts)

    def any_assignments(rng):
        """Assignments of --set, ended by NUL."""
        keys = ("trainer.steps", "trainer.betas", "trainer.seed", "task.x", "name", "hand.model")
        trap = YAML_TRAPS[rng.integers(len(YAML_TRAPS))]
        return f"{rng.choice(keys)}={trap}".encode("utf-8", "surrogateescape")

    TARGETS += [
        FuzzTarget(
            "training configs (YAML)",
            (ConfigError,),
            [_RUN_YAML.encode()],
            _read_run_config,
            trapped(_RUN_YAML),
            share=0.2,
        ),
        FuzzTarget(
            "training assignments",
            (ConfigError,),
            [b"trainer.steps=5\0trainer.betas=[0.1, 0.2]", b"hand.model=open_hand"],
            _assign,
            any_assignments,
            share=0.5,
        ),
    ]
