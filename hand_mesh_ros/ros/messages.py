"""Messages as pure functions of data, stamp and frame; `Typestore.encode` makes them bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from hand_mesh_ros.conventions import (
    JOINT_NAMES,
    JOINT_PARENTS,
    KEYPOINT_NAMES,
    R_model_root,
    Side,
)
from hand_mesh_ros.grasp import T_camera_grasp
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.joint_angles import JointAngles
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.types import Detection, Hand, Result

_NS = 1_000_000_000


def header(store: Typestore, stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    seconds, nanoseconds = divmod(stamp_ns, _NS)
    stamp = store.type("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)
    return store.type("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


def hand_mesh(store: Typestore, hand: Hand, stamp_ns: int, frame_id: str) -> Any:
    """hand_mesh_ros/HandMesh of one hand."""
    pose_with_covariance = store.type("geometry_msgs/msg/PoseWithCovariance")(
        pose=_pose(store, T_camera_root(hand)),
        covariance=np.ascontiguousarray(hand.root_covariance, np.float64).reshape(36),
    )
    stddev = np.zeros(21) if hand.keypoint_stddev_m is None else hand.keypoint_stddev_m
    colors = np.zeros(0) if hand.vertex_colors is None else hand.vertex_colors
    return store.type("hand_mesh_ros/msg/HandMesh")(
        header=header(store, stamp_ns, frame_id),
        side=int(hand.side),
        side_score=float(hand.side_score),
        track_id=int(hand.track_id),
        score=float(hand.score),
        root=pose_with_covariance,
        root_source=int(hand.root_source),
        keypoints=_float32(hand.keypoints_m),
        keypoint_stddev=_float32(stddev),
        keypoints_2d=_float32(hand.keypoints_px),
        vertices=_float32(hand.vertices_m),
        vertex_stddev=_float32(hand.vertex_stddev_m),
        vertex_colors=np.ascontiguousarray(colors, np.uint8).reshape(-1),
        pose=_float32(hand.pose),
        shape=_float32(hand.shape),
        roi=_region(store, hand.box_px),
        grasp_aperture=float(hand.grasp_aperture_m),
        model=hand.model,
        hand_model=hand.hand_model,
    )


def hand_mesh_array(store: Typestore, result: Result, latency_s: float) -> Any:
    """hand_mesh_ros/HandMeshArray of all hands of one frame, none included."""
    seconds, nanoseconds = divmod(round(latency_s * _NS), _NS)
    return store.type("hand_mesh_ros/msg/HandMeshArray")(
        header=header(store, result.stamp_ns, result.frame_id),
        hands=[hand_mesh(store, h, result.stamp_ns, result.frame_id) for h in result.hands],
        latency=store.type("builtin_interfaces/msg/Duration")(sec=seconds, nanosec=nanoseconds),
    )


def hand_topology(store: Typestore, model: HandModel) -> Any:
    """hand_mesh_ros/HandTopology: what never changes from frame to frame."""
    return store.type("hand_mesh_ros/msg/HandTopology")(
        hand_model=model.name,
        faces=np.ascontiguousarray(faces_of(model, Side.RIGHT), np.uint32).reshape(-1),
        keypoint_names=list(KEYPOINT_NAMES),
        joint_names=list(JOINT_NAMES),
        joint_parents=np.array(JOINT_PARENTS, np.int32),
        vertex_region=np.ascontiguousarray(model.vertex_region, np.uint8),
    )


def tf_message(
    store: Typestore, hands: Iterable[Hand], stamp_ns: int, frame_id: str, prefix: str = ""
) -> Any:
    """tf2_msgs/TFMessage with root and grasp frame of each hand; at most one hand of each side."""
    frames: dict[str, np.ndarray] = {}
    for hand in hands:
        name = f"{prefix}{hand.side.name.lower()}_hand"
        frames[f"{name}_root"] = T_camera_root(hand)
        T_grasp = T_camera_grasp(hand.keypoints_m)
        if T_grasp is not None:
            frames[f"{name}_grasp"] = T_grasp
    vector = store.type("geometry_msgs/msg/Vector3")
    quaternion = store.type("geometry_msgs/msg/Quaternion")
    transform = store.type("geometry_msgs/msg/Transform")
    stamped = store.type("geometry_msgs/msg/TransformStamped")
    parent = header(store, stamp_ns, frame_id)
    return store.type("tf2_msgs/msg/TFMessage")(
        transforms=[
            stamped(
                parent,
                name,
                transform(vector(*T[:3, 3].tolist()), quaternion(*quaternion_xyzw(T[:3, :3]))),
            )
            for name, T in frames.items()
        ]
    )


def joint_states(
    store: Typestore,
    joint_angles: JointAngles,
    hands: Iterable[Hand],
    stamp_ns: int,
    frame_id: str,
) -> Any:
    """sensor_msgs/JointState, rad, of hands that have a pose; at most one hand of each side.

    Names are those of the anatomy with the side before them, e.g. "left_index_pip_flexion".
    """
    poses = [(hand.pose, hand.side) for hand in hands if hand.pose is not None]
    nothing = np.zeros(0)
    return store.type("sensor_msgs/msg/JointState")(
        header=header(store, stamp_ns, frame_id),
        name=[f"{side.name.lower()}_{name}" for _, side in poses for name in joint_angles.names],
        position=joint_angles.of_many(poses).reshape(-1) if poses else nothing,
        velocity=nothing,
        effort=nothing,
    )


def detection_cloud(
    store: Typestore, detections: Sequence[Detection], stamp_ns: int, frame_id: str
) -> Any:
    """sensor_msgs/PointCloud2 of raw keypoints, 21 a detection: hand, side, score, x y z, u v.

    x, y, z is the detector's own guess about the hand's centre (m), u, v are pixels. The fields
    x, y, z are left out where a detection has no such guess.
    """
    has_depth = all(d.keypoints_rel_m is not None for d in detections)
    names = ("hand", "side", "score", *(("x", "y", "z") if has_depth else ()), "u", "v")
    points = np.zeros((21 * len(detections), len(names)), np.float32)
    for i, detection in enumerate(detections):
        rows = points[21 * i : 21 * i + 21]
        rows[:, :3] = i, detection.side, detection.score
        if has_depth:
            rows[:, 3:6] = detection.keypoints_rel_m
        rows[:, -2:] = detection.keypoints_px
    field = store.type("sensor_msgs/msg/PointField")
    return store.type("sensor_msgs/msg/PointCloud2")(
        header=header(store, stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=[
            field(name=name, offset=4 * i, datatype=field.FLOAT32, count=1)
            for i, name in enumerate(names)
        ],
        is_bigendian=False,
        point_step=4 * len(names),
        row_step=points.nbytes,
        data=points.view(np.uint8).reshape(-1),
        is_dense=True,
    )


def image_message(store: Typestore, image: np.ndarray, stamp_ns: int, frame_id: str) -> Any:
    """sensor_msgs/Image, rgb8, of an (H, W, 3) uint8 RGB image."""
    height, width, _ = image.shape
    return store.type("sensor_msgs/msg/Image")(
        header=header(store, stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(image).reshape(-1),
    )


def jpeg_message(
    store: Typestore, image: np.ndarray, stamp_ns: int, frame_id: str, *, quality: int
) -> Any:
    """sensor_msgs/CompressedImage of an (H, W, 3) uint8 RGB image; quality from 0 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return store.type("sensor_msgs/msg/CompressedImage")(
        header=header(store, stamp_ns, frame_id), format="jpeg", data=data.ravel()
    )


def faces_of(model: HandModel, side: Side) -> np.ndarray:
    """(F, 3) faces of a hand of that side, counter-clockwise seen from outside."""
    return model.faces if side is model.side else model.faces[:, ::-1]


def T_camera_root(hand: Hand) -> np.ndarray:
    """(4, 4) published root frame: at the wrist, x out of the palm, z wrist to fingertips."""
    T = hand.T_camera_wrist.copy()
    T[:3, :3] = T[:3, :3] @ R_model_root(hand.side)
    return T


def quaternion_xyzw(R: np.ndarray) -> tuple[float, float, float, float]:
    """Unit quaternion x y z w of a (3, 3) rotation, w >= 0.

    A rotation matrix holds the products of its quaternion's elements: 4 q q^T, of which the row
    with the largest diagonal is q but for its length (Shepperd 1978). Plain numbers: arrays this
    small cost ten times as much.
    """
    (a, b, c), (d, e, f), (g, h, i) = R.tolist()
    products = (
        (1.0 + a - e - i, b + d, c + g, h - f),
        (b + d, 1.0 - a + e - i, f + h, c - g),
        (c + g, f + h, 1.0 - a - e + i, d - b),
        (h - f, c - g, d - b, 1.0 + a + e + i),
    )
    x, y, z, w = products[max(range(4), key=lambda k: products[k][k])]
    scale = math.copysign(1.0 / math.sqrt(x * x + y * y + z * z + w * w), w)
    return x * scale, y * scale, z * scale, w * scale


def _pose(store: Typestore, T: np.ndarray) -> Any:
    x, y, z, w = quaternion_xyzw(T[:3, :3])
    px, py, pz = map(float, T[:3, 3])
    return store.type("geometry_msgs/msg/Pose")(
        position=store.type("geometry_msgs/msg/Point")(x=px, y=py, z=pz),
        orientation=store.type("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w),
    )


def _region(store: Typestore, box_px: np.ndarray) -> Any:
    """sensor_msgs/RegionOfInterest: the whole pixels that the box touches."""
    x0, y0 = np.maximum(np.floor(box_px[:2]), 0).astype(int)
    x1, y1 = np.maximum(np.ceil(box_px[2:]), 0).astype(int)
    return store.type("sensor_msgs/msg/RegionOfInterest")(
        x_offset=int(x0),
        y_offset=int(y0),
        height=int(max(y1 - y0, 0)),
        width=int(max(x1 - x0, 0)),
        do_rectify=False,
    )


def _float32(values: np.ndarray | None) -> np.ndarray:
    """Flat float32, empty for None."""
    return np.zeros(0, np.float32) if values is None else np.asarray(values, np.float32).reshape(-1)
