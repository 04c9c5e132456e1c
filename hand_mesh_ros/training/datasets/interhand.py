"""InterHand2.6M (Moon et al., ECCV 2020): one or two hands seen by many cameras.

Joints are in world axes, millimetres: X_camera = camrot (X_world - campos). The first 21 are the
right hand's. MANO fits ("NeuralAnnot") are in world axes too, but in metres.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, idx_interhand_to_keypoints
from hand_mesh_ros.training.datasets.base import (
    MIN_LABELLED,
    HandDataset,
    HandSample,
    box_around,
    pinhole,
)
from hand_mesh_ros.training.datasets.image_file import ImageFile
from hand_mesh_ros.training.datasets.label_files import (
    existing_folder,
    optional_file,
    read_json,
    require,
    require_array,
    require_choice,
)
from hand_mesh_ros.training.datasets.mano_labels import (
    ManoLabels,
    about_mean_labels,
    mano_files,
    turned,
)
from hand_mesh_ros.training.datasets.registry import register_dataset

SPLITS = ("train", "val", "test")
_M_PER_MM = 1e-3
_JOINTS_OF = {Side.RIGHT: slice(0, 21), Side.LEFT: slice(21, 42)}


class _Hand(NamedTuple):
    image: dict[str, Any]
    side: Side
    valid: np.ndarray
    box_px: np.ndarray | None


class _View(NamedTuple):
    """A camera of one capture and where it stands."""

    camera: Camera
    R_camera_world: np.ndarray
    t_world_camera_mm: np.ndarray


@register_dataset("interhand")
class InterHand(HandDataset):
    """`images/SPLIT`, `annotations/SPLIT/InterHand2.6M_SPLIT_{data,camera,joint_3d,...}.json`."""

    def __init__(self, root: Path | str, *, split: str = "train", mano: Path | None = None) -> None:
        """Choose what to read; nothing is read yet.

        A picture of two hands gives two samples. Hands with fewer than `MIN_LABELLED` valid joints
        are left out.

        Args:
            root: the folder with `images` and `annotations`.
            split: "train", "val" or "test".
            mano: folder of MANO's files, to make poses absolute and meshes of them.
        """
        self.root = existing_folder(root, "InterHand2.6M: images and annotations")
        self.split = require_choice("split", split, SPLITS)
        self._mano = mano_files(mano)

    def __len__(self) -> int:
        return len(self._hands)

    def _sample(self, index: int) -> HandSample:
        hand = self._hands[index]
        capture, frame = str(hand.image["capture"]), str(hand.image["frame_idx"])
        view = self._view(hand.image)
        joints_mm = self._joints_world_mm(capture, frame)[_JOINTS_OF[hand.side]]
        in_camera_m = _M_PER_MM * (joints_mm - view.t_world_camera_mm) @ view.R_camera_world.T
        # What is not valid was not seen by enough cameras; its numbers mean nothing.
        in_camera_m = np.where(hand.valid[:, None], in_camera_m, np.nan)
        keypoints_m = in_camera_m[idx_interhand_to_keypoints]
        valid = hand.valid[idx_interhand_to_keypoints]
        keypoints_px = view.camera.project(keypoints_m)
        mano = self._mano_labels(capture, frame, hand.side, view)
        name = hand.image["file_name"]
        return HandSample(
            sample_id=f"{self.split}/{Path(name).with_suffix('')}/{hand.side.name.lower()}",
            load_image=ImageFile(
                self.root / "images" / self.split / name, view.camera.width, view.camera.height
            ),
            camera=view.camera,
            side=hand.side,
            box_px=box_around(keypoints_px[valid]) if hand.box_px is None else hand.box_px,
            keypoints_px=keypoints_px,
            keypoints_valid=valid,
            keypoints_m=keypoints_m,
            root_m=keypoints_m[0] if valid[0] else None,
            vertices_m=mano.vertices_m,
            pose=mano.pose,
            pose_is_about_mean=mano.pose_is_about_mean,
            shape=mano.shape,
        )

    def _mano_labels(self, capture: str, frame: str, side: Side, view: _View) -> ManoLabels:
        fit = self._mano_fits.get(capture, {}).get(frame, {}).get(side.name.lower())
        if fit is None:  # one hand in a few has no fit
            return ManoLabels()
        path = self._file("MANO_NeuralAnnot")
        pose = turned(require_array(fit, "pose", (48,), path), view.R_camera_world)
        shape = require_array(fit, "shape", (10,), path)
        wrist_m = None
        if self._mano is not None:
            # MANO turns about its wrist joint, which is not the origin: trans alone is no place.
            wrist_world_m = self._mano.wrist_at_rest_m(side, shape) + require_array(
                fit, "trans", (3,), path
            )
            from_camera_m = wrist_world_m - _M_PER_MM * view.t_world_camera_mm
            wrist_m = view.R_camera_world @ from_camera_m
        return about_mean_labels(self._mano, side, pose, shape, wrist_m)

    def _joints_world_mm(self, capture: str, frame: str) -> np.ndarray:
        path = self._file("joint_3d")
        entry = require(require(self._joints, capture, path), frame, path)
        return require_array(entry, "world_coord", (42, 3), path)

    def _view(self, image: dict[str, Any]) -> _View:
        path = self._file("camera")
        capture = require(self._cameras, str(image["capture"]), path)

        def of_camera(key: str, shape: tuple[int, ...]) -> np.ndarray:
            return require_array(require(capture, key, path), str(image["camera"]), shape, path)

        size = int(image["width"]), int(image["height"])
        camera = pinhole(*size, *of_camera("focal", (2,)), *of_camera("princpt", (2,)))
        return _View(camera, of_camera("camrot", (3, 3)), of_camera("campos", (3,)))

    @cached_property
    def _hands(self) -> list[_Hand]:
        path = self._file("data")
        data = read_json(path, "images and annotations")
        images = {require(image, "id", path): image for image in require(data, "images", path)}
        found = []
        for annotation in require(data, "annotations", path):
            image = require(images, require(annotation, "image_id", path), path)
            for key in ("capture", "frame_idx", "camera", "width", "height", "file_name"):
                require(image, key, path)
            all_valid = require_array(annotation, "joint_valid", (42,), path) > 0.0
            hand_type = require_choice(
                f"{path}: hand_type",
                str(require(annotation, "hand_type", path)),
                ("right", "left", "interacting"),
            )
            sides = Side if hand_type == "interacting" else (Side[hand_type.upper()],)
            x, y, width, height = require_array(annotation, "bbox", (4,), path)
            # The box of two hands is around both.
            box_px = None if len(sides) == 2 else np.array([x, y, x + width, y + height])
            for side in sides:
                valid = all_valid[_JOINTS_OF[side]]
                if valid.sum() >= MIN_LABELLED:
                    found.append(_Hand(image, side, valid, box_px))
        return found

    @cached_property
    def _cameras(self) -> dict[str, Any]:
        return read_json(self._file("camera"), "the cameras of each capture")

    @cached_property
    def _joints(self) -> dict[str, Any]:
        return read_json(self._file("joint_3d"), "the joints of each capture and frame")

    @cached_property
    def _mano_fits(self) -> dict[str, Any]:
        path = optional_file(self._file("MANO_NeuralAnnot"), "MANO poses")
        return {} if path is None else read_json(path, "MANO poses by capture, frame and side")

    def _file(self, name: str) -> Path:
        return self.root / "annotations" / self.split / f"InterHand2.6M_{self.split}_{name}.json"
