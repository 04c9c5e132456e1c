"""Opens rosbag2 recordings, and finds the cameras in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from hand_mesh_ros.processing.settings import ProcessingError
from hand_mesh_ros.ros.typestore import Typestore

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_BAG_SUFFIXES = (".mcap", ".db3")
_DEPTH_ENCODINGS = ("16UC1", "32FC1", "mono16")
# One camera's images under several names: the unprocessed one is what CameraInfo's D belongs to.
_PREFERRED_NAMES = ("image_raw", "image_color", "image", "image_mono")


@dataclass(frozen=True)
class BagCamera:
    """An image topic of a bag, and the topic of its calibration, which may be absent."""

    image_topic: str
    camera_info_topic: str
    num_images: int


def is_bag(path: Path) -> bool:
    """Whether a path looks like a rosbag2: its folder, or one of its files."""
    if path.is_dir():
        has_storage = any(p.suffix in _BAG_SUFFIXES for p in path.iterdir())
        return has_storage or (path / "metadata.yaml").exists()
    return path.suffix.lower() in (*_BAG_SUFFIXES, ".bag")


@contextmanager
def opened_bag(path: Path) -> Iterator[Reader]:
    """A bag opened for reading; raises ProcessingError."""
    if path.suffix.lower() == ".bag" and path.is_file():
        raise ProcessingError(
            f"{path} is a ROS 1 bag; convert it: rosbags-convert --src {path} --dst {path.stem}"
        )
    if path.is_dir() and not (path / "metadata.yaml").exists():
        raise ProcessingError(
            f"the bag {path} has no metadata.yaml (was its recording cut off?); "
            f"make it with: ros2 bag reindex {path}"
        )
    try:
        reader = Reader(path)
        reader.open()
        _check_metadata(reader)
    except Exception as error:  # damaged bytes break in many ways
        raise damaged(path, error) from error
    try:
        yield reader
    finally:
        reader.close()


def _check_metadata(reader: Reader) -> None:
    """Raise ValueError where metadata.yaml has something else in the place of a name or number."""
    for connection in reader.connections:
        for name, kind in (("topic", str), ("msgtype", str), ("msgcount", int)):
            value = getattr(connection, name)
            if not isinstance(value, kind):
                raise ValueError(f"{name} of a topic is {value!r}, expected a {kind.__name__}")


def read_messages(
    reader: Reader, path: Path, connections: Collection[Connection]
) -> Iterator[tuple[Connection, bytes]]:
    """Messages in the order of their recording; raises ProcessingError where bytes are damaged."""
    messages = reader.messages(connections)
    while True:
        try:
            connection, _, cdr = next(messages)
        except StopIteration:
            return
        except Exception as error:
            raise damaged(path, error) from error
        yield connection, cdr


def damaged(path: Path, error: Exception) -> ProcessingError:
    """What a user is told about a bag that cannot be read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ProcessingError(
        f"the bag {path} cannot be read: {reason} "
        "(damaged or cut off? try: ros2 bag reindex, or mcap recover)"
    )


def connections_of(reader: Reader, *topics: str) -> list[Connection]:
    """Connections of these topics."""
    return [c for c in reader.connections if c.topic in topics]


def find_cameras(
    reader: Reader, path: Path, store: Typestore, *, topics: Collection[str], camera_info: str
) -> list[BagCamera]:
    """Cameras of a bag, by the names given or by the types of its topics.

    Args:
        reader: an open bag.
        path: of the bag, for errors.
        store: decodes images to tell depth from colour.
        topics: image topics; empty: one for each camera that is found.
        camera_info: topic of the calibration; empty: `camera_info` beside the images.

    Raises:
        ProcessingError: a named topic is absent or has no images, or there is no image at all.
    """
    by_topic = {c.topic: c for c in reader.connections if c.msgtype in (IMAGE, COMPRESSED)}
    for topic in topics:
        if topic not in by_topic:
            raise ProcessingError(f"the bag {path} has no images on {topic}; {_known(by_topic)}")
    chosen = sorted(topics or _one_a_camera(reader, path, store, by_topic))
    cameras = [_camera(by_topic[topic], camera_info) for topic in chosen]
    cameras = [c for c in cameras if c.num_images]
    if not cameras:
        raise ProcessingError(f"the bag {path} has no camera images; {_known(by_topic)}")
    if camera_info and not any(
        c.topic == camera_info and c.msgtype == CAMERA_INFO for c in reader.connections
    ):
        infos = ", ".join(c.topic for c in reader.connections if c.msgtype == CAMERA_INFO)
        raise ProcessingError(
            f"the bag {path} has no CameraInfo on {camera_info}; it has {infos or 'none'}"
        )
    return cameras


def _camera(connection: Connection, camera_info: str) -> BagCamera:
    topic = connection.topic
    beside = f"{_namespace(topic)}/camera_info"
    return BagCamera(topic, camera_info or beside, connection.msgcount)


def _one_a_camera(
    reader: Reader, path: Path, store: Typestore, by_topic: dict[str, Connection]
) -> list[str]:
    """The best image topic of each namespace."""
    chosen: dict[str, str] = {}
    for topic in sorted(by_topic, key=lambda t: _rank(by_topic[t])):
        namespace = _namespace(topic)
        if namespace not in chosen and _has_pictures(reader, path, store, by_topic[topic]):
            chosen[namespace] = topic
    return list(chosen.values())


def _rank(connection: Connection) -> tuple[bool, int, str]:
    """Raw before compressed, then usual names before others."""
    name = _base(connection.topic).rpartition("/")[2]
    known = name in _PREFERRED_NAMES
    place = _PREFERRED_NAMES.index(name) if known else len(_PREFERRED_NAMES)
    return connection.msgtype == COMPRESSED, place, connection.topic


def _has_pictures(reader: Reader, path: Path, store: Typestore, connection: Connection) -> bool:
    """Whether there are images in a topic, and not those of depth."""
    if connection.topic.endswith("/compressedDepth"):
        return False
    message: Any = first_message(reader, path, store, connection)
    if message is None:
        return False
    return connection.msgtype == COMPRESSED or message.encoding not in _DEPTH_ENCODINGS


def first_message(reader: Reader, path: Path, store: Typestore, connection: Connection) -> Any:
    """The first message of a topic, decoded; None where it has none."""
    for _, cdr in read_messages(reader, path, [connection]):
        try:
            return store.decode(cdr, connection.msgtype)
        except ValueError as error:
            raise damaged(path, error) from error
    return None


def _base(topic: str) -> str:
    """An image topic without the suffix of its transport."""
    return topic.removesuffix("/compressed")


def _namespace(topic: str) -> str:
    return _base(topic).rpartition("/")[0]


def _known(by_topic: dict[str, Connection]) -> str:
    names = ", ".join(f"{c.topic} ({c.msgcount} images)" for c in by_topic.values())
    return f"its image topics: {names}" if names else "it has no topic of images"
