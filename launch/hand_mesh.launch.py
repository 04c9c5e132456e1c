"""The node for your camera.

ros2 launch hand_mesh_ros hand_mesh.launch.py image:=/camera/image_raw \
    camera_info:=/camera/camera_info params_file:=my.yaml
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

TOPICS = {
    "image": "images; with image_transport compressed, the topic without /compressed",
    "camera_info": "calibration of the images",
    "depth": "depth image aligned to the images, if there is one",
    "depth/camera_info": "calibration of the depth image",
}
OPTIONS = {
    "params_file": "YAML of parameters, as share/hand_mesh_ros/config/hand_mesh.yaml",
    "namespace": "ROS namespace of the node and its topics",
    "tf_prefix": "put before the names of the hands' frames",
}


def generate_launch_description() -> LaunchDescription:
    """One argument a topic and option; what is not given stays as the node has it."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(_name(t), default_value=t, description=TOPICS[t])
                for t in TOPICS
            ),
            *(DeclareLaunchArgument(o, default_value="", description=OPTIONS[o]) for o in OPTIONS),
            OpaqueFunction(function=_node),
        ]
    )


def _node(context: LaunchContext) -> list[LifecycleNode]:
    given = {name: LaunchConfiguration(name).perform(context) for name in OPTIONS}
    remaps = {topic: LaunchConfiguration(_name(topic)).perform(context) for topic in TOPICS}
    remaps["image/compressed"] = remaps["image"] + "/compressed"
    parameters: list = [given["params_file"]] if given["params_file"] else []
    if given["tf_prefix"]:
        parameters.append({"tf_prefix": given["tf_prefix"]})
    # It configures and activates itself, unless its parameter autostart is false.
    return [
        LifecycleNode(
            package="hand_mesh_ros",
            executable="hand_mesh_node",
            name="hand_mesh",
            namespace=given["namespace"],
            remappings=list(remaps.items()),
            parameters=parameters,
            output="screen",
        )
    ]


def _name(topic: str) -> str:
    return topic.replace("/", "_")
