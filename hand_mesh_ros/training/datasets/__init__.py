"""Public hand datasets as they lie on disk, read into this package's own conventions (no torch)."""

from hand_mesh_ros.training.datasets.base import (
    DatasetError,
    HandDataset,
    HandSample,
    ImageError,
    NoHandError,
)
from hand_mesh_ros.training.datasets.coco_wholebody import CocoWholeBody
from hand_mesh_ros.training.datasets.dexycb import DexYcb
from hand_mesh_ros.training.datasets.freihand import FreiHand
from hand_mesh_ros.training.datasets.hint import HInt
from hand_mesh_ros.training.datasets.ho3d import Ho3d
from hand_mesh_ros.training.datasets.image_folder import ImageFolder
from hand_mesh_ros.training.datasets.interhand import InterHand
from hand_mesh_ros.training.datasets.mixing import MixedDataset
from hand_mesh_ros.training.datasets.registry import dataset_names, open_dataset, register_dataset
from hand_mesh_ros.training.datasets.rhd import Rhd

__all__ = [
    "CocoWholeBody",
    "DatasetError",
    "DexYcb",
    "FreiHand",
    "HInt",
    "HandDataset",
    "HandSample",
    "Ho3d",
    "ImageError",
    "ImageFolder",
    "InterHand",
    "MixedDataset",
    "NoHandError",
    "Rhd",
    "dataset_names",
    "open_dataset",
    "register_dataset",
]
