"""Cameras: their topics, rates and QoS, their calibration, and their clocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.doctor.finding import Finding, failure, ok, warning
from hand_mesh_ros.doctor.listening import CAMERA_INFO, COMPRESSED_IMAGE, HeardTopic
from hand_mesh_ros.ros.camera_info import CameraInfoError, camera_from_info
from hand_mesh_ros.ros.images import ImageError, image_from_compressed, image_from_message

SLOW_HZ = 5.0
"""Hands move; below this smoothing and tracking have little to hold on to."""
LOST_SHARE = 0.2
"""Of a camera's images that may be missing, by its calibrations, which come with each image."""
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")
NARROWEST_DEG, WIDEST_DEG = 15.0, 150.0
"""Horizontal fields of view that cameras for hands have."""
MOST_FOCAL_RATIO = 1.1
LATE_S, UNRELATED_S = 0.5, 60.0
_NO_CAMERA = "start the camera, or `hand-mesh camera`; the same ROS_DOMAIN_ID on both sides?"
_NOTHING_CAME = (
    "raise net.core.rmem_max, or -p image_reliability:=reliable; else a firewall: UDP 7400 and up"
)


def images(heard: Sequence[HeardTopic]) -> list[Finding]:
    """A line for each topic of images."""
    found = [topic for topic in heard if topic.publication.type_name != CAMERA_INFO]
    if not found:
        return [warning("images", "nobody publishes images here", _NO_CAMERA)]
    infos = {_camera_of(t.publication.topic): t for t in heard if t not in found}
    return [_image(topic, infos.get(_camera_of(topic.publication.topic))) for topic in found]


def calibrations(heard: Sequence[HeardTopic]) -> list[Finding]:
    """A line for each camera_info, compared with its images; and for images that have none."""
    found = [topic for topic in heard if topic.publication.type_name == CAMERA_INFO]
    sizes = dict(_sizes(heard))
    rows = [_calibration(topic, sizes.get(_camera_of(topic.publication.topic))) for topic in found]
    calibrated = {_camera_of(topic.publication.topic) for topic in found}
    for camera in sorted(set(sizes) - calibrated):
        rows.append(
            warning(
                f"calibration {camera}",
                "there is no camera_info: distances will be guessed from a field of view",
                "calibrate the camera, or -p assumed_fov_deg:= its horizontal field of view",
            )
        )
    return rows


def clocks(heard: Sequence[HeardTopic], max_future_s: float) -> list[Finding]:
    """How old images are when they come, by their stamps and this machine's clock.

    Args:
        heard: what was listened to.
        max_future_s: parameter of the node; images from later are refused.
    """
    return [
        _clock(topic, max_future_s)
        for topic in heard
        if topic.publication.type_name != CAMERA_INFO and topic.ages_s
    ]


def _image(topic: HeardTopic, info: HeardTopic | None) -> Finding:
    about, check = topic.publication, f"images {topic.publication.topic}"
    quality = about.reliability.replace("_", " ")
    if topic.num_publishers > 1:
        text = f"{topic.num_publishers} publishers take turns on one topic"
        return warning(check, text, "give each camera a namespace, and a node of its own")
    if not topic.arrivals_s:
        text = f"{quality}, but nothing came in {topic.listened_s:g} s"
        return failure(check, text, _NOTHING_CAME)
    if topic.error:
        return failure(check, topic.error, "build both sides from the same ROS distribution")
    try:
        shown = _described(topic)
    except ImageError as error:
        return failure(check, str(error), "set the camera's driver to rgb8, bgr8 or JPEG")
    text = f"{quality}, {topic.rate_hz:.1f} Hz, {shown}"
    if info is not None and topic.rate_hz < (1.0 - LOST_SHARE) * info.rate_hz:
        text += f", but its camera_info comes at {info.rate_hz:.1f} Hz: images get lost"
        return warning(check, text, _NOTHING_CAME)
    if topic.rate_hz < SLOW_HZ:
        return warning(check, text, f"{SLOW_HZ:g} Hz or more: a smaller image, or more light")
    return ok(check, text)


def _described(topic: HeardTopic) -> str:
    """Size and encoding; raises ImageError where the node could not use it."""
    message = topic.last
    if topic.publication.type_name == COMPRESSED_IMAGE:
        height, width = image_from_compressed(message).shape[:2]
        return f"{width} x {height} {message.format}".strip()
    if message.encoding in DEPTH_ENCODINGS:
        return f"{message.width} x {message.height} {message.encoding} (depth)"
    image_from_message(message)
    return f"{message.width} x {message.height} {message.encoding}"


def _sizes(heard: Iterable[HeardTopic]) -> Iterable[tuple[str, tuple[int, int]]]:
    """Camera, and width and height of its images, px."""
    for topic in heard:
        if topic.publication.type_name == CAMERA_INFO or topic.last is None:
            continue
        name = _camera_of(topic.publication.topic)
        if topic.publication.type_name == COMPRESSED_IMAGE:
            try:
                height, width = image_from_compressed(topic.last).shape[:2]
            except ImageError:
                continue
            yield name, (width, height)
        else:
            yield name, (topic.last.width, topic.last.height)


def _calibration(topic: HeardTopic, size: tuple[int, int] | None) -> Finding:
    check = f"calibration {topic.publication.topic}"
    if topic.last is None:
        text = topic.error or f"nothing came in {topic.listened_s:g} s"
        return warning(check, text, "the camera's driver has to send it with every image")
    width, height = size or (topic.last.width, topic.last.height)
    try:
        camera = camera_from_info(topic.last, image_width=width, image_height=height)
    except CameraInfoError as error:
        return failure(check, str(error), "let images and camera_info come from one stream")
    if camera is None:
        return warning(
            check,
            "k is zero, so the camera is not calibrated: distances will be guessed",
            "calibrate it (ros2 run camera_calibration cameracalibrator)",
        )
    return _sane(check, camera)


def _sane(check: str, camera: Camera) -> Finding:
    """Whether numbers that contradict nothing are those of a camera."""
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    fov_deg = math.degrees(2.0 * math.atan(0.5 * camera.width / fx))
    text = f"{camera.width} x {camera.height}, focal length {fx:.0f} px, {fov_deg:.0f} deg wide"
    mend = "calibrate the camera at the resolution that it streams"
    if camera.distortion_model != "equidistant" and not NARROWEST_DEG <= fov_deg <= WIDEST_DEG:
        return warning(check, f"{text}: hardly a camera's", mend)
    if max(fx / fy, fy / fx) > MOST_FOCAL_RATIO:
        return warning(check, f"{text}, but {fy:.0f} px down: pixels are not square", mend)
    off_x, off_y = abs(cx / camera.width - 0.5), abs(cy / camera.height - 0.5)
    if max(off_x, off_y) > 0.25:
        return warning(check, f"{text}, principal point at ({cx:.0f}, {cy:.0f}): off centre", mend)
    right, bottom = camera.width - 1.0, camera.height - 1.0
    corners = np.array([[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]])
    if not np.isfinite(camera.rays(corners)).all():
        return warning(check, f"{text}: its distortion folds the image's corners over", mend)
    return ok(check, f"{text}, {camera.distortion_model}")


def _clock(topic: HeardTopic, max_future_s: float) -> Finding:
    check, age_s = f"clock {topic.publication.topic}", topic.age_s
    mend = "synchronise both machines (chrony), or use_sim_time where time is simulated"
    if -age_s > max_future_s:
        text = f"stamps are {-age_s:.1f} s ahead of this machine: the node refuses such images"
        return failure(check, text, mend)
    if age_s < -0.005:
        return warning(check, f"stamps are {-1e3 * age_s:.0f} ms ahead of this machine", mend)
    if age_s > UNRELATED_S:
        text = f"stamps are {age_s:.0f} s old: a recording, or another clock"
        return warning(check, text, f"{mend}; tf listeners look for the image's time")
    if age_s > LATE_S:
        return warning(check, f"images come {age_s:.2f} s late", "a smaller image, or a wire")
    return ok(check, f"images come {1e3 * age_s:.0f} ms after their stamps")


def _camera_of(topic: str) -> str:
    """Namespace that images and camera_info of one camera share."""
    parts = topic.split("/")
    if parts[-1] == "compressed":
        parts = parts[:-1]
    return "/".join(parts[:-1]) or "/"
