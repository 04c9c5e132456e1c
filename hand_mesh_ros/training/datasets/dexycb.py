"""DexYCB (Chao et al., CVPR 2021): one hand grasping, eight cameras, 640 x 480 px.

Labels are in OpenCV axes, metres, in MediaPipe's keypoint order; a missing hand is -1 throughout.
"""

from __future__ import annotations

import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.training.datasets.base import (
    DatasetError,
    HandDataset,
    HandSample,
    NoHandError,
    box_around,
    pinhole,
)
from hand_mesh_ros.training.datasets.image_file import ImageFile
from hand_mesh_ros.training.datasets.label_files import (
    existing_file,
    existing_folder,
    require,
    require_array,
    require_choice,
)
from hand_mesh_ros.training.datasets.mano_labels import ManoLabels, about_mean_labels, mano_files
from hand_mesh_ros.training.datasets.registry import register_dataset

WIDTH, HEIGHT = 640, 480
SETUPS = ("s0", "s1", "s2", "s3")
SPLITS = ("train", "val", "test")
NUM_SUBJECTS, NUM_SEQUENCES, NUM_CAMERAS = 10, 100, 8
# The labels come from manopth, which has tips of its own: by side, thumb to little.
TIP_VERTICES = {Side.RIGHT: (745, 317, 444, 556, 673), Side.LEFT: (745, 317, 445, 556, 673)}


class Parts(NamedTuple):
    """Which subjects, sequences of each subject, and cameras a split has (sorted by name)."""

    subjects: tuple[int, ...]
    sequences: tuple[int, ...]
    cameras: tuple[int, ...]


def parts_of(setup: str, split: str) -> Parts:
    """The official splits: s0 unseen sequences, s1 subjects, s2 cameras, s3 grasped objects."""
    require_choice("setup", setup, SETUPS)
    require_choice("split", split, SPLITS)
    which = SPLITS.index(split)
    everyone, sequences = tuple(range(NUM_SUBJECTS)), tuple(range(NUM_SEQUENCES))
    cameras = tuple(range(NUM_CAMERAS))
    if setup == "s0":
        seen = tuple(i for i in sequences if (i % 5 == 4) != (split == "train"))
        return Parts((everyone, everyone[:2], everyone[2:])[which], seen, cameras)
    if setup == "s1":
        return Parts(((0, 1, 2, 3, 4, 5, 9), (6,), (7, 8))[which], sequences, cameras)
    if setup == "s2":
        return Parts(everyone, sequences, (cameras[:6], (6,), (7,))[which])
    # Five sequences in a row grasp the same object.
    objects = (frozenset(range(20)) - {3, 7, 11, 15, 19}, {3, 19}, {7, 11, 15})[which]
    return Parts(everyone, tuple(i for i in sequences if i // 5 in objects), cameras)


class _Sequence(NamedTuple):
    folder: Path
    num_frames: int
    side: Side
    shape: np.ndarray


@register_dataset("dexycb")
class DexYcb(HandDataset):
    """`SUBJECT/SEQUENCE/{meta.yml, CAMERA/{color_*.jpg, labels_*.npz}}`, `calibration/`."""

    def __init__(
        self,
        root: Path | str,
        *,
        setup: str = "s0",
        split: str = "train",
        mano: Path | None = None,
    ) -> None:
        """Choose what to read; nothing is read yet.

        Args:
            root: the folder with the ten subjects and `calibration`.
            setup: "s0" (what papers use) to "s3".
            split: "train", "val" or "test".
            mano: folder of MANO's files. Poses are stored as principal components, which only
                they can turn into angles: without them there are no poses and no meshes.
        """
        self.root = existing_folder(root, "DexYCB: ten subjects' folders and calibration")
        self.parts = parts_of(setup, split)
        self._mano = mano_files(mano)

    def __len__(self) -> int:
        return int(self._first_of_block[-1])

    def _sample(self, index: int) -> HandSample:
        # A block is one sequence seen by one camera.
        block = int(np.searchsorted(self._first_of_block, index, side="right")) - 1
        number, which = divmod(block, len(self._serials))
        sequence, serial = self._sequences[number], self._serials[which]
        frame = index - int(self._first_of_block[block])
        folder = sequence.folder / serial
        path = folder / f"labels_{frame:06d}.npz"
        labels = _read_labels(path)
        keypoints_m = require_array(labels, "joint_3d", (21, 3), path)
        if (keypoints_m == -1.0).all():
            raise NoHandError(f"{path}: no hand in this frame (all of joint_3d is -1)")
        keypoints_px = require_array(labels, "joint_2d", (21, 2), path)
        pose_m = require_array(labels, "pose_m", (51,), path)
        mano = self._mano_labels(sequence, pose_m, keypoints_m[0])
        return HandSample(
            sample_id=str((folder / f"{frame:06d}").relative_to(self.root)),
            load_image=ImageFile(folder / f"color_{frame:06d}.jpg", WIDTH, HEIGHT),
            camera=self._camera(serial),
            side=sequence.side,
            box_px=box_around(keypoints_px),
            keypoints_px=keypoints_px,
            keypoints_valid=np.ones(21, bool),
            keypoints_m=keypoints_m,
            root_m=keypoints_m[0],
            vertices_m=mano.vertices_m,
            pose=mano.pose,
            pose_is_about_mean=mano.pose_is_about_mean,
            shape=mano.shape,
            tip_vertices=TIP_VERTICES[sequence.side],
        )

    def _mano_labels(
        self, sequence: _Sequence, pose_m: np.ndarray, wrist_m: np.ndarray
    ) -> ManoLabels:
        if self._mano is None:
            return ManoLabels(shape=sequence.shape)
        fingers = self._mano.from_components(sequence.side, pose_m[3:48])
        pose = np.concatenate([pose_m[:3], fingers])
        return about_mean_labels(self._mano, sequence.side, pose, sequence.shape, wrist_m)

    @cached_property
    def _first_of_block(self) -> np.ndarray:
        lengths = [s.num_frames for s in self._sequences for _ in self._serials]
        return np.concatenate([[0], np.cumsum(lengths)])

    @cached_property
    def _sequences(self) -> list[_Sequence]:
        subjects = sorted(p for p in self.root.glob("[0-9]*-*") if p.is_dir())
        _check_count(self.root, "subjects", subjects, NUM_SUBJECTS)
        found = []
        for subject in (subjects[i] for i in self.parts.subjects):
            folders = sorted(p for p in subject.iterdir() if p.is_dir())
            _check_count(subject, "sequences", folders, NUM_SEQUENCES)
            found += [self._sequence(folders[i]) for i in self.parts.sequences]
        return found

    def _sequence(self, folder: Path) -> _Sequence:
        path = folder / "meta.yml"
        meta = _read_yaml(path, "the description of one sequence")
        side = require_choice(
            f"{path}: side", str(require(meta, "mano_sides", path)[0]), ("left", "right")
        )
        calibration = f"mano_{require(meta, 'mano_calib', path)[0]}"
        path_of_shape = self.root / "calibration" / calibration / "mano.yml"
        return _Sequence(
            folder=folder,
            num_frames=int(require(meta, "num_frames", path)),
            side=Side[side.upper()],
            shape=self._shape(path_of_shape),
        )

    def _shape(self, path: Path) -> np.ndarray:
        if path not in self._shapes:
            content = _read_yaml(path, "the hand shape of one subject")
            self._shapes[path] = require_array(content, "betas", (10,), path)
        return self._shapes[path]

    @cached_property
    def _shapes(self) -> dict[Path, np.ndarray]:
        return {}

    @cached_property
    def _serials(self) -> list[str]:
        folder = existing_folder(
            self.root / "calibration" / "intrinsics", f"SERIAL_{WIDTH}x{HEIGHT}.yml of 8 cameras"
        )
        ending = f"_{WIDTH}x{HEIGHT}.yml"
        serials = sorted(p.name.removesuffix(ending) for p in folder.glob(f"*{ending}"))
        _check_count(folder, "cameras", serials, NUM_CAMERAS)
        return [serials[i] for i in self.parts.cameras]

    def _camera(self, serial: str) -> Camera:
        if serial not in self._cameras:
            path = self.root / "calibration" / "intrinsics" / f"{serial}_{WIDTH}x{HEIGHT}.yml"
            color = require(_read_yaml(path, "the matrix of one camera"), "color", path)
            fx, fy, cx, cy = (
                float(require(color, key, path)) for key in ("fx", "fy", "ppx", "ppy")
            )
            self._cameras[serial] = pinhole(WIDTH, HEIGHT, fx, fy, cx, cy)
        return self._cameras[serial]

    @cached_property
    def _cameras(self) -> dict[str, Camera]:
        return {}


def _check_count(folder: Path, what: str, found: list, expected: int) -> None:
    """The splits count in sorted names, so one folder too few would shift all behind it."""
    if len(found) != expected:
        raise DatasetError(f"{folder}: {len(found)} {what}, expected all {expected} of DexYCB")


def _read_yaml(path: Path, content: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(existing_file(path, content).read_text(), Loader=loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"{path}: not readable as YAML ({reason})") from error


def _read_labels(path: Path) -> dict[str, np.ndarray]:
    existing_file(path, "the labels of one image")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = ("joint_3d", "joint_2d", "pose_m")
            return {name: archive[name] for name in names if name in archive}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"{path}: not a readable .npz of plain arrays ({reason})") from error
