"""A program of somebody else's: reads rt/hand_mesh with nothing but cyclonedds and the .msg text.

Usage: third_party_reader.py DOMAIN HandMesh.msg. Prints what one message holds, as JSON.
"""

import json
import re
import sys
from pathlib import Path

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct, make_idl_struct, types
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

STANDARD = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Quaternion": "float64 x\nfloat64 y\nfloat64 z\nfloat64 w",
    "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation",
    "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose\nfloat64[36] covariance",
    "sensor_msgs/RegionOfInterest": (
        "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify"
    ),
}
FIELD = re.compile(r"^([A-Za-z0-9_/]+)(\[(\d*)\])?\s+([a-z][a-z0-9_]*)$")


def idl_type(name):
    if name == "string":
        return str
    if name == "bool":
        return bool
    return getattr(types, name, None) or struct(name, STANDARD[name])


def struct(name, text):
    fields = {}
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        if not line or "=" in line:
            continue
        kind, array, length, field = FIELD.match(line).groups()
        item = idl_type(kind)
        if array is None:
            fields[field] = item
        else:
            fields[field] = types.array[item, int(length)] if length else types.sequence[item]
    package, short = name.split("/")
    return make_idl_struct(f"{short}_", f"{package}.msg.dds_.{short}_", fields)


def plain(value):
    if isinstance(value, IdlStruct):
        return {name: plain(getattr(value, name)) for name in value.__annotations__}
    return list(value) if isinstance(value, (list, bytes, bytearray)) else value


def main(domain, message_file):
    hand_mesh = struct("hand_mesh_ros/HandMesh", Path(message_file).read_text())
    participant = DomainParticipant(int(domain))
    topic = Topic(participant, "rt/hand_mesh", hand_mesh)
    qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(1))
    reader = DataReader(participant, topic, qos)
    print(json.dumps("ready"), flush=True)
    print(json.dumps(plain(reader.take_one(timeout=duration(seconds=30)))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
