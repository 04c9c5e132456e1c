"""Recordings with known hands: bags, videos and pictures of the synthetic camera."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from camera_samples import STORE
from hand_samples import sample_hand
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.processing import recording
from hand_mesh_ros.processing.jobs import find_jobs
from hand_mesh_ros.processing.output_folder import locked
from hand_mesh_ros.processing.settings import DEFAULT_OUTPUTS, Settings
from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.camera_node import depth_message
from hand_mesh_ros.ros.messages import header, image_message
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.sources.synthetic import SyntheticCamera
from hand_mesh_ros.types import Result

OPEN_HAND = load_open_hand()
START_NS = 1_700_000_000_123_456_789
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


def synthetic_frames(count, *, seed=7, **options):
    """Frames that the caller may change."""
    frames = [_rendered(i, seed, **options) for i in range(count)]
    return [replace(frame, image=frame.image.copy()) for frame in frames]


@cache
def _rendered(index, seed, **options):
    return _synthetic_camera(seed, **options).frame_at(index).frame


@cache
def _synthetic_camera(seed, **options):
    return SyntheticCamera(seed=seed, start_ns=START_NS, frame_id="cam", **options)


def info_of(frame, *, uncalibrated=False):
    region = STORE.type("sensor_msgs/msg/RegionOfInterest")
    K = np.zeros((3, 3)) if uncalibrated else frame.camera.K
    return STORE.type(CAMERA_INFO)(
        header=header(STORE, frame.stamp_ns, frame.frame_id),
        height=frame.camera.height,
        width=frame.camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.asarray(K, float).reshape(9),
        r=np.eye(3).reshape(9),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def raw_image(frame):
    return image_message(STORE, frame.image, frame.stamp_ns, frame.frame_id)


def compressed_image(frame):
    data = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1].reshape(-1)
    stamped = header(STORE, frame.stamp_ns, frame.frame_id)
    return STORE.type(COMPRESSED)(header=stamped, format="rgb8; png compressed", data=data)


def depth_image(frame):
    return depth_message(STORE, frame.depth_m, frame.stamp_ns, frame.frame_id, "16UC1")


def write_bag(path: Path, messages, *, storage="mcap"):
    """A bag of (topic, stamp_ns, message) triples."""
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer(path, version=8, storage_plugin=plugin) as writer:
        connections = {}
        for topic, stamp_ns, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE._store)
            writer.write(connections[topic], stamp_ns, STORE.encode(message, kind))
    return path


def camera_messages(frames, namespace="/camera", *, info=True, image=raw_image, late_ns=3_000_000):
    """Images and calibrations; recorded `late_ns` after their stamps."""
    for frame in frames:
        when = frame.stamp_ns + late_ns
        suffix = "/compressed" if image is compressed_image else ""
        yield f"{namespace}/image_raw{suffix}", when, image(frame)
        if info:
            yield f"{namespace}/camera_info", when, info_of(frame)


def synthetic_bag(path: Path, count, *, storage="mcap", **options):
    frames = synthetic_frames(count, **options)
    return write_bag(path, camera_messages(frames), storage=storage), frames


def write_video(path: Path, frames, rate_hz=30.0):
    height, width = frames[0].image.shape[:2]
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), codec, rate_hz, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_pictures(folder: Path, frames):
    folder.mkdir()
    for i, frame in enumerate(frames):
        data = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1]
        (folder / f"{i}.png").write_bytes(data.tobytes())
    return folder


def restamped(frames, shift_ns):
    return [replace(frame, stamp_ns=frame.stamp_ns + shift_ns) for frame in frames]


def posed_hand(frame, *, side=Side.RIGHT, track_id=1, **changes):
    """A hand of the open hand model that differs from frame to frame, seen exactly."""
    model = OPEN_HAND if side is Side.RIGHT else OPEN_HAND.mirrored()
    rng = np.random.default_rng(frame.stamp_ns % 2**32)
    pose, shape = 0.2 * rng.normal(size=48), rng.normal(size=10)
    posed = model.pose_hand(pose, shape)
    T = np.eye(4)
    T[:3, :3] = rotation_from_axis_angle(pose[:3])
    T[:3, 3] = 0.01, -0.02, 0.5 + 0.01 * rng.random()
    keypoints_m = model.keypoints(posed, shape, "detector") + T[:3, 3]
    hand = sample_hand(
        side,
        track_id=track_id,
        T_camera_wrist=T,
        keypoints_m=keypoints_m,
        keypoints_px=frame.camera.project(keypoints_m),
        vertices_m=posed.vertices_m + T[:3, 3],
        pose=pose,
        shape=shape,
        hand_model=model.name,
    )
    return replace(hand, **changes)


class ScriptedPipeline:
    """Sees in the n-th frame what the n-th function makes of it."""

    hand_model = OPEN_HAND
    back_end = "scripted"

    def __init__(self, script=()):
        self.script, self.frames, self.tracker = list(script), [], None
        self.resets, self.forgotten, self.detector = 0, 0, ScriptedDetector()

    def detect(self, frame):
        self.detector.saw.append(frame.stamp_ns)
        return []

    def reconstruct(self, frame, detected):
        index = len(self.frames)
        self.frames.append(frame)
        hands = self.script[index](frame) if index < len(self.script) else (posed_hand(frame),)
        return Result(frame.stamp_ns, frame.frame_id, tuple(hands))

    def use_calibrations(self, calibrations):
        pass

    def reset(self):
        self.resets += 1

    def forget(self):
        self.forgotten += 1

    def close(self):
        pass


class ScriptedDetector:
    """Remembers what it was shown since it was reset."""

    def __init__(self):
        self.saw, self.resets = [], 0

    def reset(self):
        self.saw, self.resets = [], self.resets + 1


def settings(*outputs, arguments=(), **changes):
    return Settings(
        outputs=outputs or DEFAULT_OUTPUTS,
        parameters=changes.pop("parameters", NodeParameters()),
        ros_arguments=parse_ros_arguments(list(arguments), "hand_mesh"),
        **changes,
    )


def process(monkeypatch, out, path, chosen, script=()):
    """Process one recording with a scripted pipeline: its report, and the pipeline."""
    pipeline = ScriptedPipeline(script)
    monkeypatch.setattr(recording, "build_pipeline", lambda _: pipeline)
    jobs, failures = find_jobs([str(path)], chosen)
    assert not failures, failures
    with locked(out):
        processor = recording.RecordingProcessor(chosen, out)
        reports = [processor.process(job, lambda _: None) for job in jobs]
    return reports, pipeline


def read_bag(path):
    """All messages of a bag: (topic, log time, bytes)."""
    with Reader(path) as reader:
        return [(c.topic, when, bytes(cdr)) for c, when, cdr in reader.messages()]


def files_of(folder: Path):
    """Bytes of every file below a folder, by relative path."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ".hand-mesh-process.lock"
    }
