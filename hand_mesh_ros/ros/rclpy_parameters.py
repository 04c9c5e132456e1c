"""The node's parameters as ROS knows them: descriptors made of `parameters.SPECS`."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from hand_mesh_ros.ros.parameters import SPECS, NodeParameters, ParameterSpec

_WHEN = {
    "live": "may change at any time",
    "configure": "may change while the node is unconfigured",
    "start": "is read once",
}


def declare_parameters(node: Node, parameters: NodeParameters) -> None:
    """Declare every parameter of a node that may know some by its overrides already."""
    for spec in SPECS:
        if node.has_parameter(spec.name):
            node.undeclare_parameter(spec.name)  # known without a descriptor, or as an integer
        value = getattr(parameters, spec.field_name)
        node.declare_parameter(spec.name, value, descriptor(spec), ignore_override=True)


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    made = ParameterDescriptor(
        name=spec.name,
        description=spec.text,
        additional_constraints=f"{spec.expected}; {_WHEN[spec.when]}",
        read_only=spec.when == "start",
    )
    if spec.minimum is not None and spec.maximum is not None:
        low, high = spec.minimum, spec.maximum
        if isinstance(spec.default, int):
            made.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            made.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
    return made
