"""FreiHAND (Zimmermann et al., ICCV 2019): right hands, 224 x 224 px.

32,560 unique training frames, each with four backgrounds: image number = frame + 32,560 x
background. Labels are in OpenCV axes, metres, absolute, in MediaPipe's keypoint order.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, idx_freihand_to_keypoints
from hand_mesh_ros.hand_models.mano import TIP_VERTICES
from hand_mesh_ros.training.datasets.base import (
    DatasetError,
    HandDataset,
    HandSample,
    box_around,
    box_of_image,
)
from hand_mesh_ros.training.datasets.image_file import ImageFile
from hand_mesh_ros.training.datasets.label_files import (
    existing_folder,
    optional_file,
    read_number_rows,
    require_choice,
)
from hand_mesh_ros.training.datasets.mano_labels import (
    ManoLabels,
    about_mean_labels,
    mano_files,
)
from hand_mesh_ros.training.datasets.registry import register_dataset

SIZE_PX = 224
SPLITS = ("training", "evaluation")
BACKGROUNDS = ("gs", "hom", "sample", "auto")
"""Green screen, homogenised, two automatic colourings; in the order of the image numbers."""


class _Labels(NamedTuple):
    K: np.ndarray
    xyz_m: np.ndarray | None
    vertices_m: np.ndarray | None
    mano: np.ndarray | None


@register_dataset("freihand")
class FreiHand(HandDataset):
    """`training/rgb`, `training_K.json`, `training_xyz.json`, ... and the same for evaluation."""

    def __init__(
        self,
        root: Path | str,
        *,
        split: str = "training",
        background: str = "all",
        mano: Path | None = None,
    ) -> None:
        """Choose what to read; nothing is read yet.

        Args:
            root: the unpacked FreiHAND_pub_v2 (and FreiHAND_pub_v2_eval into the same folder).
            split: "training" or "evaluation".
            background: "all", or one of gs, hom, sample, auto. Evaluation has one of its own.
            mano: folder of MANO's files, to make poses absolute.
        """
        self.root = existing_folder(root, "FreiHAND: training/rgb, training_K.json, ...")
        self.split = require_choice("split", split, SPLITS)
        require_choice("background", background, ("all", *BACKGROUNDS))
        self._mano = mano_files(mano)
        if split == "evaluation":
            self._backgrounds: tuple[int, ...] = (0,)
        elif background == "all":
            self._backgrounds = tuple(range(len(BACKGROUNDS)))
        else:
            self._backgrounds = (BACKGROUNDS.index(background),)

    def __len__(self) -> int:
        return len(self._labels.K) * len(self._backgrounds)

    def _sample(self, index: int) -> HandSample:
        labels = self._labels
        background, frame = divmod(index, len(labels.K))
        number = frame + len(labels.K) * self._backgrounds[background]
        camera = Camera(SIZE_PX, SIZE_PX, labels.K[frame])
        keypoints_m, vertices_m = None, None
        keypoints_px, box_px = np.full((21, 2), np.nan), box_of_image(camera)
        if labels.xyz_m is not None:
            keypoints_m = labels.xyz_m[frame][idx_freihand_to_keypoints]
            keypoints_px = camera.project(keypoints_m)
            box_px = box_around(keypoints_px)
        if labels.vertices_m is not None:
            vertices_m = labels.vertices_m[frame].astype(np.float64)
        mano = self._mano_of(frame)
        path = self.root / self.split / "rgb" / f"{number:08d}.jpg"
        return HandSample(
            sample_id=f"{self.split}/{number:08d}",
            load_image=ImageFile(path, SIZE_PX, SIZE_PX),
            camera=camera,
            side=Side.RIGHT,
            box_px=box_px,
            keypoints_px=keypoints_px,
            keypoints_valid=np.full(21, keypoints_m is not None),
            keypoints_m=keypoints_m,
            root_m=None if keypoints_m is None else keypoints_m[0],
            vertices_m=vertices_m,
            pose=mano.pose,
            pose_is_about_mean=mano.pose_is_about_mean,
            shape=mano.shape,
            tip_vertices=TIP_VERTICES,
        )

    def _mano_of(self, frame: int) -> ManoLabels:
        if self._labels.mano is None:
            return ManoLabels()
        # 48 pose, 10 shape; then the root's place in the image and a scale, which xyz says better.
        row = self._labels.mano[frame]
        return about_mean_labels(self._mano, Side.RIGHT, row[:48].copy(), row[48:58].copy())

    @cached_property
    def _labels(self) -> _Labels:
        K = read_number_rows(self._file("K"), (3, 3), "a 3 x 3 camera matrix a frame")

        def rows(name: str, shape: tuple[int, ...], what: str, dtype: type) -> np.ndarray | None:
            path = self._file(name)
            # The evaluation labels were withheld until 2024; training without labels is a mistake.
            if self.split == "evaluation" and optional_file(path, what) is None:
                return None
            values = read_number_rows(path, shape, what, dtype)
            if len(values) != len(K):
                raise DatasetError(
                    f"{path}: {len(values)} frames, {self._file('K')} has {len(K)}; "
                    "the files must be of the same release"
                )
            return values

        return _Labels(
            K=K,
            xyz_m=rows("xyz", (21, 3), "21 keypoints a frame", np.float64),
            vertices_m=rows("verts", (778, 3), "778 vertices a frame", np.float32),
            mano=rows("mano", (61,), "61 MANO numbers a frame", np.float64),
        )

    def _file(self, name: str) -> Path:
        return self.root / f"{self.split}_{name}.json"
