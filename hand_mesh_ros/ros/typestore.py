"""Message types without ROS: a distribution's standard ones and ours, their CDR and their hash."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore as RosbagsTypestore

from hand_mesh_ros.shared_files import places

PACKAGE = "hand_mesh_ros"
DISTROS = {
    name: store
    for name in ("humble", "iron", "jazzy", "kilted", "lyrical")
    if (store := getattr(Stores, f"ROS2_{name.upper()}", None)) is not None
}

FieldType = tuple[Nodetype, Any]
"""A field as rosbags has it: BASE (name, bound), NAME type, ARRAY or SEQUENCE (type, length)."""


class TypestoreError(ValueError):
    """An unknown distribution or type, or bytes and messages that do not fit their type."""


class Typestore:
    """Message classes and codec of one ROS distribution, with hand_mesh_ros' own messages."""

    def __init__(self, distro: str = "jazzy") -> None:
        if distro not in DISTROS:
            known = ", ".join(DISTROS)
            raise TypestoreError(
                f"ROS distribution {distro!r} is not known, expected one of {known}"
            )
        self.distro = distro
        self._store = _load(distro)

    @property
    def has_type_hashes(self) -> bool:
        """False for Humble: peers began to announce hashes with Iron."""
        return self.distro != "humble"

    def type(self, type_name: str) -> Any:
        """Class of a message ("std_msgs/msg/Header"): a dataclass, arrays are numpy's."""
        return self._store.types[self._checked(type_name)]

    def fields(self, type_name: str) -> Sequence[tuple[str, FieldType]]:
        """Names and types of a message's fields, in the order of the wire."""
        return self._store.fielddefs[self._checked(type_name)][1]

    def definition(self, type_name: str) -> str:
        """Text of a message type and of all that it is made of, as bags keep it."""
        return self._store.generate_msgdef(self._checked(type_name), ros_version=2)[0]

    def type_hash(self, type_name: str) -> str:
        """ROS's own hash of the type's definition, "RIHS01_" and 64 hexadecimal digits."""
        return self._store.hash_rihs01(self._checked(type_name))

    def encode(self, message: Any, type_name: str | None = None) -> bytes:
        """CDR of a message, encapsulation header included (little endian, XCDR1)."""
        name = self._checked(type_name or message.__msgtype__)
        try:
            return bytes(self._store.serialize_cdr(message, name))
        except Exception as error:  # struct.error, AttributeError, ...: whatever the field breaks
            raise TypestoreError(f"cannot encode a {name}: {error}") from error

    def decode(self, cdr: bytes | bytearray | memoryview, type_name: str) -> Any:
        """Message of CDR bytes; its arrays are views of them, not copies."""
        name = self._checked(type_name)
        try:
            return self._store.deserialize_cdr(cdr, name)  # type: ignore[arg-type]  # a bytearray is fine
        except Exception as error:  # broken bytes break in many ways
            raise TypestoreError(f"{len(cdr)} bytes are no {name}: {error}") from error

    def _checked(self, type_name: str) -> str:
        if type_name not in self._store.fielddefs:
            raise TypestoreError(
                f"message type {type_name!r} is not known in {self.distro}, "
                'expected a name such as "sensor_msgs/msg/Image"'
            )
        return type_name


def message_folder() -> Path:
    """Folder of our .msg files."""
    candidates = places("msg")
    for folder in candidates:
        if any(folder.glob("*.msg")):  # a ROS install has generated Python in the first of them
            return folder
    looked = " or ".join(str(folder) for folder in candidates)
    raise TypestoreError(f"no .msg files in {looked}: install {PACKAGE} again")


@cache
def _load(distro: str) -> RosbagsTypestore:
    store = get_typestore(DISTROS[distro])
    ours: dict[str, Any] = {}
    for path in sorted(message_folder().glob("*.msg")):
        ours.update(get_types_from_msg(path.read_text("utf-8"), f"{PACKAGE}/msg/{path.stem}"))
    store.register(ours)
    return store
