"""HO-3D v2 and v3 (Hampali et al., CVPR 2020): right hands with objects, 640 x 480 px.

Labels are in OpenGL axes (y up, the hand at negative z) and in an order of joints of their own.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, idx_ho3d_to_keypoints
from hand_mesh_ros.hand_models.mano import TIP_VERTICES
from hand_mesh_ros.hand_models.safe_pickle import PickleReadError, load_plain_data
from hand_mesh_ros.training.datasets.base import (
    DatasetError,
    HandDataset,
    HandSample,
    NoHandError,
    box_around,
)
from hand_mesh_ros.training.datasets.image_file import ImageFile
from hand_mesh_ros.training.datasets.label_files import (
    existing_file,
    existing_folder,
    optional_file,
    read_number_rows,
    require,
    require_array,
    require_choice,
)
from hand_mesh_ros.training.datasets.mano_labels import (
    ManoLabels,
    absolute_labels,
    mano_files,
    turned,
)
from hand_mesh_ros.training.datasets.registry import register_dataset

WIDTH, HEIGHT = 640, 480
SPLITS = ("train", "evaluation")
_SUFFIX_OF_VERSION = {"v2": ".png", "v3": ".jpg"}
R_OPENCV_OPENGL = np.diag([1.0, -1.0, -1.0])
_SAME_ROOT_M = 0.05
"""A turned axis moves the wrist by twice its distance; two fits of one hand differ by far less."""


@register_dataset("ho3d")
class Ho3d(HandDataset):
    """`train/SEQ/{rgb,meta}/ID`, `train.txt`, and the same for evaluation."""

    def __init__(self, root: Path | str, *, split: str = "train", mano: Path | None = None) -> None:
        """Choose what to read; nothing is read yet.

        Args:
            root: the folder with train.txt and evaluation.txt; for labels of the evaluation split
                also evaluation_xyz.json and evaluation_verts.json.
            split: "train" or "evaluation".
            mano: folder of MANO's files, to make meshes of the training poses.
        """
        self.root = existing_folder(root, "HO-3D: train, evaluation, train.txt, evaluation.txt")
        self.split = require_choice("split", split, SPLITS)
        self._mano = mano_files(mano)

    def __len__(self) -> int:
        return len(self._frames)

    @cached_property
    def version(self) -> str:
        """Told by the format of the first image: "v2" or "v3"."""
        sequence, frame = self._frames[0]
        path = self.root / self.split / sequence / "rgb" / frame
        for version, suffix in _SUFFIX_OF_VERSION.items():
            if path.with_suffix(suffix).is_file():
                return version
        raise DatasetError(f"{path}: no such image; expected it with .png (v2) or .jpg (v3)")

    def _sample(self, index: int) -> HandSample:
        sequence, frame = self._frames[index]
        folder = self.root / self.split / sequence
        path = folder / "meta" / f"{frame}.pkl"
        meta = _read_meta(path)
        if require(meta, "handJoints3D", path) is None:
            raise NoHandError(f"{path}: this frame has no annotation (it is None)")
        camera = Camera(WIDTH, HEIGHT, require_array(meta, "camMat", (3, 3), path))
        keypoints_m, root_m = self._keypoints(index, meta, path)
        known = keypoints_m is not None
        keypoints_px = camera.project(keypoints_m) if known else np.full((21, 2), np.nan)
        if self.split == "evaluation":
            box_px = require_array(meta, "handBoundingBox", (4,), path)
            mano = ManoLabels(vertices_m=self._evaluation_vertices(index))
        else:
            box_px = box_around(keypoints_px)
            mano = absolute_labels(
                self._mano,
                Side.RIGHT,
                turned(require_array(meta, "handPose", (48,), path), R_OPENCV_OPENGL),
                require_array(meta, "handBeta", (10,), path),
                root_m,
            )
        return HandSample(
            sample_id=f"{sequence}/{frame}",
            load_image=ImageFile(
                folder / "rgb" / (frame + _SUFFIX_OF_VERSION[self.version]), WIDTH, HEIGHT
            ),
            camera=camera,
            side=Side.RIGHT,
            box_px=box_px,
            keypoints_px=keypoints_px,
            keypoints_valid=np.full(21, known),
            keypoints_m=keypoints_m,
            root_m=root_m,
            vertices_m=mano.vertices_m,
            pose=mano.pose,
            shape=mano.shape,
            tip_vertices=TIP_VERTICES,
        )

    def _keypoints(
        self, index: int, meta: dict[str, Any], path: Path
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Keypoints, where they are public, and the wrist."""
        if self.split == "train":
            keypoints_m = _from_ho3d(require_array(meta, "handJoints3D", (21, 3), path))
            return keypoints_m, keypoints_m[0]
        joints = require_array(meta, "handJoints3D", (-1, 3), path)  # the wrist alone
        root_m = joints[0] @ R_OPENCV_OPENGL
        if self._evaluation_xyz is None:
            return None, root_m
        keypoints_m = _from_ho3d(self._evaluation_xyz[index])
        gap_m = float(np.linalg.norm(keypoints_m[0] - root_m))
        if gap_m > _SAME_ROOT_M:
            raise DatasetError(
                f"{self._evaluation_file('xyz')}: wrist {index} is {gap_m:.3f} m from that in "
                f"{path}; expected the frames of evaluation.txt, HO-3D joint order, OpenGL axes"
            )
        return keypoints_m, root_m

    def _evaluation_vertices(self, index: int) -> np.ndarray | None:
        if self._evaluation_verts is None:
            return None
        return self._evaluation_verts[index].astype(np.float64) @ R_OPENCV_OPENGL

    @cached_property
    def _frames(self) -> list[tuple[str, str]]:
        path = existing_file(self.root / f"{self.split}.txt", "one line SEQUENCE/FRAME a frame")
        frames = []
        for line in path.read_text().split():
            sequence, slash, frame = line.partition("/")
            if not slash:
                raise DatasetError(f"{path}: line {line!r} is not SEQUENCE/FRAME")
            frames.append((sequence, frame))
        if not frames:
            raise DatasetError(f"{path}: lists no frames; expected one line SEQUENCE/FRAME a frame")
        return frames

    @cached_property
    def _evaluation_xyz(self) -> np.ndarray | None:
        return self._evaluation_rows("xyz", (21, 3), "keypoints")

    @cached_property
    def _evaluation_verts(self) -> np.ndarray | None:
        return self._evaluation_rows("verts", (778, 3), "vertices")

    def _evaluation_rows(self, name: str, shape: tuple[int, ...], what: str) -> np.ndarray | None:
        path = optional_file(self._evaluation_file(name), f"{what} of the evaluation split")
        if path is None:
            return None
        rows = read_number_rows(path, shape, f"{what} of every evaluation frame")
        if len(rows) != len(self):
            raise DatasetError(f"{path}: {len(rows)} frames, evaluation.txt has {len(self)}")
        return rows

    def _evaluation_file(self, name: str) -> Path:
        return self.root / f"evaluation_{name}.json"


def _from_ho3d(joints: np.ndarray) -> np.ndarray:
    return joints[idx_ho3d_to_keypoints] @ R_OPENCV_OPENGL


def _read_meta(path: Path) -> dict[str, Any]:
    existing_file(path, "the labels of one frame")
    try:
        meta = load_plain_data(path)
    except PickleReadError as error:
        raise DatasetError(str(error)) from error
    if not isinstance(meta, dict):
        raise DatasetError(
            f"{path}: holds a {type(meta).__name__}, expected a dictionary of labels"
        )
    return meta
