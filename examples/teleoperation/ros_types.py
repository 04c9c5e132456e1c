"""ROS messages for Cyclone DDS from their .msg text: neither ROS nor hand_mesh_ros is needed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from cyclonedds.idl import make_idl_struct, types

MESSAGE_FOLDER = Path(__file__).resolve().parents[2] / "msg"
STANDARD = {
    "builtin_interfaces/Time": "int32 sec; uint32 nanosec",
    "builtin_interfaces/Duration": "int32 sec; uint32 nanosec",
    "std_msgs/Header": "builtin_interfaces/Time stamp; string frame_id",
    "geometry_msgs/Point": "float64 x; float64 y; float64 z",
    "geometry_msgs/Quaternion": "float64 x; float64 y; float64 z; float64 w",
    "geometry_msgs/Pose": "geometry_msgs/Point position; geometry_msgs/Quaternion orientation",
    "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose; float64[36] covariance",
    "sensor_msgs/RegionOfInterest": "uint32 x_offset; uint32 y_offset; uint32 height; "
    "uint32 width; bool do_rectify",
    "sensor_msgs/JointState": "std_msgs/Header header; string[] name; float64[] position; "
    "float64[] velocity; float64[] effort",
}
_FIELD = re.compile(r"([A-Za-z0-9_/]+)(\[(\d*)\])?\s+([a-z][a-z0-9_]*)")


@cache
def message_type(name: str) -> Any:
    """Class of a message such as "sensor_msgs/JointState"; the fields are its arguments, in order.

    Raises:
        ValueError: a line of its text is no field.
        KeyError: neither standard nor ours.
    """
    package, short = name.split("/")
    if package == "hand_mesh_ros":
        lines = (MESSAGE_FOLDER / f"{short}.msg").read_text("utf-8").splitlines()
    else:
        lines = STANDARD[name].split(";")
    fields = {}
    for line in (line.split("#")[0].strip() for line in lines):
        if not line or "=" in line:  # a remark or a constant
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ValueError(f"{name}: {line!r} is no field: expected a type and a name")
        kind, array, length, field = match.groups()
        item = _item_type(kind, package)
        if array:
            item = types.array[item, int(length)] if length else types.sequence[item]
        fields[field] = item
    return make_idl_struct(f"{short}_", f"{package}.msg.dds_.{short}_", fields)


def _item_type(kind: str, package: str) -> Any:
    if kind in ("string", "bool"):
        return str if kind == "string" else bool
    if "/" in kind or kind[0].isupper():
        return message_type(kind if "/" in kind else f"{package}/{kind}")
    return getattr(types, kind)
