"""The pip install: the same code as the ROS package, with its interface and config files as data.

Metadata is in pyproject.toml; only what must map folders outside the package is here.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["hand_mesh_ros", "hand_mesh_ros.*"]),
        "hand_mesh_ros.hand_models.data",
        "hand_mesh_ros.training.data",
        "hand_mesh_ros.weights",
        "hand_mesh_ros.msg",
        "hand_mesh_ros.config",
    ],
    package_dir={"hand_mesh_ros.msg": "msg", "hand_mesh_ros.config": "config"},
    package_data={
        "hand_mesh_ros.hand_models.data": ["*.npz"],
        "hand_mesh_ros.training.data": ["*.npz"],
        "hand_mesh_ros.weights": ["*.safetensors", "*.md", "SHA256SUMS"],
        "hand_mesh_ros.msg": ["*.msg"],
        "hand_mesh_ros.config": ["*.yaml"],
    },
)
