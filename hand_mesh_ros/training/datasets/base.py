"""One labelled hand in our conventions, and what every dataset of such hands promises."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side

MIN_LABELLED = 6
"""A hand with fewer labelled keypoints says nothing about a pose and is left out of the index."""


class DatasetError(ValueError):
    """A dataset cannot be read; its text is one line: the path, what came, what was expected."""


class ImageError(DatasetError):
    """One image is missing, damaged or of another size than its labels; the others may be fine."""


class NoHandError(DatasetError):
    """The frame belongs to the dataset, but shows no labelled hand; the others may do."""


@dataclass(frozen=True, slots=True, eq=False)
class HandSample:
    """One hand in one image: camera axes (x right, y down, z forward), m, pixel centres whole.

    What is not labelled is None, or NaN in rows where `keypoints_valid` is False: never a zero.
    """

    sample_id: str
    """Unique within its dataset, made of the dataset's own names."""
    load_image: Callable[[], np.ndarray]
    """Gives (H, W, 3) uint8 RGB of `camera`'s size, or raises ImageError naming the file."""
    camera: Camera
    """`camera.assumed` where the dataset has no calibration."""
    side: Side | None
    """None where nobody said (plain images)."""
    box_px: np.ndarray
    """(4,) float64, x0 y0 x1 y1: the dataset's own box, else that of the keypoints, else all."""
    keypoints_px: np.ndarray
    """(21, 2) float64, raw image."""
    keypoints_valid: np.ndarray
    """(21,) bool, labelled (in 2D, and in 3D where `keypoints_m` is given)."""
    keypoints_visible: np.ndarray | None = None
    """(21,) bool, labelled and not occluded; None where the dataset does not say."""
    keypoints_m: np.ndarray | None = None
    """(21, 3) float64."""
    root_m: np.ndarray | None = None
    """(3,) float64, the wrist; HO3D gives it where it withholds the rest."""
    vertices_m: np.ndarray | None = None
    """(778, 3) float64, MANO's mesh."""
    pose: np.ndarray | None = None
    """(48,) float64, MANO axis-angle, rad; the first three turn the hand into the camera frame."""
    pose_is_about_mean: bool = False
    """False: `pose` is absolute, for a model without mean pose (`load_mano(flat_hand_mean=True)`).
    True: MANO's mean finger pose still has to be added, as a model with `pose_mean` does."""
    shape: np.ndarray | None = None
    """(10,) float64, MANO."""
    tip_vertices: tuple[int, ...] | None = None
    """MANO vertices that this dataset calls fingertips, thumb to little: they differ by up to 10 mm
    between datasets. None: its tips are no MANO vertices."""

    def __post_init__(self) -> None:
        shapes = {
            "box_px": (4,),
            "keypoints_px": (21, 2),
            "keypoints_valid": (21,),
            "keypoints_visible": (21,),
            "keypoints_m": (21, 3),
            "root_m": (3,),
            "vertices_m": (778, 3),
            "pose": (48,),
            "shape": (10,),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape != shape:
                raise DatasetError(f"{self.sample_id}: {name} is {value.shape}, expected {shape}")
            labelled = value[self.keypoints_valid] if name in _BY_KEYPOINT else value
            if not np.isfinite(labelled).all():
                raise DatasetError(f"{self.sample_id}: {name} has labels that are not finite")


_BY_KEYPOINT = ("keypoints_px", "keypoints_m")


class HandDataset(ABC):
    """A sequence of samples; its index is read at the first use and kept, images never are."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _sample(self, index: int) -> HandSample:
        """The sample of that index, from 0 to the length."""

    def __getitem__(self, index: int) -> HandSample:
        position, length = operator.index(index), len(self)
        if not -length <= position < length:
            raise IndexError(f"sample {position} of a dataset of {length}")
        return self._sample(position % length)

    def __iter__(self) -> Iterator[HandSample]:
        return (self._sample(index) for index in range(len(self)))

    def with_hands(self) -> Iterator[HandSample]:
        """All samples but the frames that turn out to show no labelled hand (DexYCB has many)."""
        for index in range(len(self)):
            try:
                yield self._sample(index)
            except NoHandError:
                continue


def box_around(points_px: np.ndarray) -> np.ndarray:
    """(4,) x0 y0 x1 y1 of the (N, 2) points."""
    return np.concatenate([points_px.min(axis=0), points_px.max(axis=0)])


def box_of_image(camera: Camera) -> np.ndarray:
    """(4,) x0 y0 x1 y1 of the whole image, from edge to edge."""
    return np.array([-0.5, -0.5, camera.width - 0.5, camera.height - 0.5])


def pinhole(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> Camera:
    """Camera without distortion, px."""
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return Camera(width=width, height=height, K=K)
