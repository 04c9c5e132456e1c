"""The borders between the parts of the package: who may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hand_mesh_ros"

# A file may import the library only if it is one of these, or lies in one of these folders.
ALLOWED = {
    "rclpy": ("ros/rclpy_",),
    "cyclonedds": ("ros/dds_graph.py",),
    "torch": (
        "networks/",
        "backends/",
        "training/",
        "evaluation/",
        "export/",
        "reconstruction/network.py",
        "hand_models/torch_",
    ),
    "tensorrt": ("backends/tensorrt_backend.py",),
    "torch_tensorrt": ("backends/tensorrt_backend.py",),
    "onnxruntime": ("backends/", "export/"),
    "mediapipe": ("detection/",),
    "viser": ("viewer/",),
    "torchvision": (),
}
# What the pipeline is made of; ROS is not part of it.
OUTSIDE_ROS = ("pipeline.py", "types.py", "camera.py", "camera_root.py", "tracking.py")


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_inside_their_borders(path):
    relative = path.relative_to(PACKAGE).as_posix()
    roots = {name.split(".")[0] for name in imports(path)}
    for library, places in ALLOWED.items():
        allowed = any(relative == p or relative.startswith(p) for p in places)
        assert allowed or library not in roots, f"{relative} imports {library}"


@pytest.mark.parametrize(
    "path",
    [
        *(PACKAGE / name for name in OUTSIDE_ROS),
        *(
            f
            for folder in ("detection", "hand_models", "reconstruction", "sources")
            for f in sorted((PACKAGE / folder).rglob("*.py"))
        ),
    ],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_the_pipeline_knows_nothing_of_ros(path):
    assert not [n for n in imports(path) if n.startswith(("hand_mesh_ros.ros", "rosbags"))]


def test_default_path_starts_without_torch_or_rclpy():
    program = (
        "import sys; import hand_mesh_ros.cli.main, hand_mesh_ros.cli.run, hand_mesh_ros.assembly;"
        "import hand_mesh_ros.reconstruction.landmark_fit;"
        "bad = {'torch', 'rclpy', 'tensorrt', 'smplx', 'cv_bridge'} & set(sys.modules);"
        "sys.exit(f'imported: {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
