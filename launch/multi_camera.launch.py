"""One node a camera, each in the camera's namespace, with hand frames of its own.

ros2 launch hand_mesh_ros multi_camera.launch.py cameras:=left,right image:=image_raw
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Arguments other than `cameras` are those of hand_mesh.launch.py, alike for all."""
    cameras = DeclareLaunchArgument("cameras", description="namespaces, e.g. left,right")
    return LaunchDescription([cameras, OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[GroupAction]:
    names = LaunchConfiguration("cameras").perform(context).split(",")
    path = PathJoinSubstitution(
        [FindPackageShare("hand_mesh_ros"), "launch", "hand_mesh.launch.py"]
    )
    return [
        GroupAction(
            [
                IncludeLaunchDescription(
                    path,
                    launch_arguments={"namespace": name, "tf_prefix": f"{name}_"}.items(),
                )
            ]
        )
        for name in (name.strip() for name in names)
        if name
    ]
