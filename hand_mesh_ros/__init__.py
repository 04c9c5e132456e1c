"""Live metric 3D hand meshes for ROS 2."""

__version__ = "0.1.0"
