"""Which camera took an image file: from a calibration beside it, from a YAML file, or assumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.plain_yaml import PlainYamlError, read_yaml
from hand_mesh_ros.sources.base import SourceError


def camera_for_file(path: Path, width: int, height: int, fov_deg: float) -> Camera:
    """Camera of an image or video by the matrix beside it, else an assumed one.

    Looked for in this order, for `NAME.jpg`: `NAME_K.npy`; `PREFIX_K.npy` where NAME is
    `PREFIX_img`; `K.npy` (3 x 3, px, no lens distortion).

    Raises:
        SourceError: there is a matrix, but not one that a camera can have.
    """
    names = [f"{path.stem}_K.npy", "K.npy"]
    if path.stem.endswith("_img"):
        names.insert(1, f"{path.stem.removesuffix('_img')}_K.npy")
    for candidate in (path.with_name(name) for name in names):
        if candidate.is_file():
            return _camera_from_matrix(candidate, width, height)
    return Camera.from_fov(width, height, fov_deg)


def camera_from_yaml(path: Path) -> Camera:
    """Camera of a ROS camera_info file, as `camera_calibration` writes it.

    Raises:
        SourceError: no such file, or not such a file.
    """
    try:
        info = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, PlainYamlError) as error:
        raise SourceError(f"cannot read the camera calibration {path}: {error}") from error
    try:
        return Camera(
            width=int(info["image_width"]),
            height=int(info["image_height"]),
            K=np.array(info["camera_matrix"]["data"], float).reshape(3, 3),
            distortion_model=str(info.get("distortion_model") or "plumb_bob"),
            D=np.array(info["distortion_coefficients"]["data"], float),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path} is no ROS camera_info file ({type(error).__name__}: {error}); expected "
            "image_width, image_height, camera_matrix.data, distortion_model, "
            "distortion_coefficients.data"
        ) from error
    except (ValueError, OverflowError) as error:
        raise SourceError(f"the camera calibration {path} is not usable: {error}") from error


def fitted(camera: Camera, width: int, height: int, name: str) -> Camera:
    """A calibration for images of this size: itself, or scaled where the images were scaled.

    Raises:
        SourceError: the image has another shape than the calibration's.
    """
    if (camera.width, camera.height) == (width, height):
        return camera
    sx, sy = width / camera.width, height / camera.height
    if abs(sx / sy - 1.0) > 0.01:
        raise SourceError(
            f"{name} is {width} x {height} px, but the calibration is for {camera.width} x "
            f"{camera.height} px; calibrate at the image's size, or leave the calibration out"
        )
    K = camera.K.copy()
    K[0] *= sx
    K[1] *= sy
    # The centre of the first pixel is 0, so the image's corner, which stays, is at -0.5.
    K[0, 2] += 0.5 * (sx - 1.0)
    K[1, 2] += 0.5 * (sy - 1.0)
    return Camera(width, height, K, camera.distortion_model, camera.D, camera.assumed)


def _camera_from_matrix(path: Path, width: int, height: int) -> Camera:
    try:
        return Camera(width=width, height=height, K=np.load(path, allow_pickle=False))
    except Exception as error:  # a damaged file breaks NumPy's reader in many ways
        raise SourceError(
            f"{path} is no camera matrix ({error}); expected a 3 x 3 array saved by numpy"
        ) from error
