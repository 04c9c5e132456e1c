"""A camera, the node, and RViz if asked for.

ros2 launch hand_mesh_ros demo.launch.py rviz:=true video:=clip.mp4
"""

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node, SetParameter
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("hand_mesh_ros")


def generate_launch_description() -> LaunchDescription:
    """The synthetic camera unless there is a video."""
    node = IncludeLaunchDescription(
        PathJoinSubstitution([SHARE, "launch", "hand_mesh.launch.py"]),
        launch_arguments={
            "image": "camera/image_raw",
            "camera_info": "camera/camera_info",
            "depth": "camera/depth/image_raw",
            "depth_camera_info": "camera/depth/camera_info",
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "video",
                default_value="",
                description="video, image, folder of images, or webcam:0; empty: synthetic hands",
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="show it in RViz"),
            # First, as launch leaves running what it has started before an error.
            OpaqueFunction(function=_rviz, condition=IfCondition(LaunchConfiguration("rviz"))),
            # Stock kernels lose large best-effort messages even on one host: small buffers.
            GroupAction([SetParameter("image_reliability", "reliable"), node]),
            OpaqueFunction(function=_camera),
        ]
    )


def _camera(context: LaunchContext) -> list[Node]:
    video = LaunchConfiguration("video").perform(context)
    executable = "video_camera" if video else "synthetic_camera"
    arguments = ["--input", video, "--loop"] if video else []
    return [
        Node(package="hand_mesh_ros", executable=executable, arguments=arguments, output="screen")
    ]


def _rviz(context: LaunchContext) -> list[Node]:
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "rviz:=true needs the package rviz2, which is not installed: "
            "sudo apt install ros-$ROS_DISTRO-rviz2"
        ) from error
    config = PathJoinSubstitution([SHARE, "config", "hand_mesh.rviz"])
    return [Node(package="rviz2", executable="rviz2", arguments=["-d", config])]
