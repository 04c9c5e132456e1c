"""Crops of data sets' images as batches for image networks, beside the engine's.

The keys are those of `engine_crops.py`. Crops are cut by `cropping.py`, as in live use, with the
engine's jitter; keypoints are those of the labelled mesh, so all data sets mean the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from hand_mesh_ros.conventions import Side, mirror_axis_angle, mirror_rotation
from hand_mesh_ros.cropping import CropView, aim_crop, crop_image
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.rotations import rotation_from_axis_angle, rotations_to_directions
from hand_mesh_ros.training.datasets import DatasetError, MixedDataset, NoHandError, open_dataset
from hand_mesh_ros.training.datasets.base import HandSample
from hand_mesh_ros.training.engine_crops import KEYPOINTS, HandSizes
from hand_mesh_ros.training.landmark_cue import noisy_landmark_cue
from hand_mesh_ros.training.landmark_noise import LandmarkNoise
from hand_mesh_ros.training.synthetic_camera import jitter_color
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.task import Batch

TOPOLOGY = "mano"
"""Of the meshes that the data sets have."""


class DatasetCrops:
    """Cuts batches out of a mixture of data sets."""

    def __init__(
        self,
        parts: Mapping[str, float],
        model: HandModel,
        config: SyntheticConfig,
        noise: LandmarkNoise,
        *,
        template_size: bool,
        seed: int,
    ) -> None:
        """Open the data sets.

        Args:
            parts: specs as `open_dataset` takes them, with their weights.
            model: the right hand that is trained for.
            config: whose size and jitter of the box and of colours crops get.
            noise: the detector's errors.
            template_size: as for the engine's crops.
            seed: of the order of the samples.

        Raises:
            DatasetError: their meshes have another topology than the hand model, or one of them
                cannot be opened.
        """
        if model.name != TOPOLOGY:
            raise DatasetError(
                f"the data sets' meshes are {TOPOLOGY}'s, this trains {model.name}: set "
                "hand.model=mano and hand.mano_dir, or leave task.datasets empty"
            )
        self._mixture = MixedDataset([(open_dataset(s), w) for s, w in parts.items()], seed=seed)
        self._model, self._config, self._noise = model, config, noise
        self._sizes = HandSizes(model, template_size=template_size)
        self._weights = {name: vertex_keypoint_weights(model, name) for name in KEYPOINTS}

    def batch(self, n: int, first: int, rng: np.random.Generator) -> Batch:
        """N crops on the CPU, from the `first` sample on in the order of all epochs."""
        crops, index = [], first
        while len(crops) < n:
            epoch, place = divmod(index, len(self._mixture))
            index += 1
            try:
                sample = self._mixture.for_epoch(epoch)[place]
            except NoHandError:
                continue
            if (crop := self._crop(sample, rng)) is not None:
                crops.append(crop)
        batch = {
            name: torch.from_numpy(np.stack([c[name] for c in crops]).astype(np.float32))
            for name in crops[0]
        }
        K, detector = batch["K_crop"].numpy(), batch["detector_m"] + batch["root_m"][:, None]
        cue = noisy_landmark_cue(
            self._noise,
            detector.numpy(),
            K,
            batch.pop("image_focal_px").numpy(),
            self._config.size_px,
            rng,
        )
        batch["landmark_cue"] = torch.from_numpy(cue)
        batch["size"], batch["shape"] = self._sizes.of(batch["shape"])
        for name in ("vertices_m", "root_m", *(f"{name}_m" for name in KEYPOINTS)):
            batch[name] /= batch["size"].view(-1, *[1] * (batch[name].ndim - 1))
        if self._config.color_jitter > 0:
            dice = Dice(int(rng.integers(2**62)), n, torch.device("cpu"))
            jittered = jitter_color(batch["image"], self._config.color_jitter, dice)
            batch["image"] = jittered.clamp(0.0, 1.0)
        return batch

    def _crop(self, sample: HandSample, rng: np.random.Generator) -> dict[str, np.ndarray] | None:
        """One sample's arrays; None where so little of the hand is before the lens."""
        vertices, pose, shape = sample.vertices_m, sample.pose, sample.shape
        if vertices is None or pose is None or shape is None:
            raise DatasetError(
                f"{sample.sample_id} has no mesh, pose or shape, which training needs; name the "
                "folder of MANO's files in its spec (?mano=...), or leave the data set out"
            )
        side = Side.RIGHT if sample.side is None else sample.side
        detector = self._weights["detector"] @ vertices
        rays = sample.camera.rays(sample.camera.project(detector))
        view = aim_crop(rays, side, size_px=self._config.size_px)
        if view is None:
            return None
        view = self._jittered(view, rays, rng)
        points = view.from_camera(vertices)
        keypoints = {name: self._weights[name] @ points for name in KEYPOINTS}
        root = keypoints["anatomical"][0]
        if sample.root_m is not None:
            root = view.from_camera(sample.root_m)
        image = crop_image(sample.load_image(), sample.camera, view)
        return {
            "image": image.transpose(2, 0, 1) / 255.0,
            "vertices_m": points - root,
            "root_m": root,
            **{f"{name}_m": k - root for name, k in keypoints.items()},
            **{f"{name}_uv": self._uv(view, k) for name, k in keypoints.items()},
            "K_crop": view.K_crop,
            "rotations": self._rotations(sample, pose, view),
            "shape": shape,
            "image_focal_px": sample.camera.K[0, 0],
        }

    def _jittered(self, view: CropView, rays: np.ndarray, rng: np.random.Generator) -> CropView:
        """The crop as a detector might have cut it, with the engine's ranges."""
        config = self._config
        px = view.from_rays(rays)
        extent = float(np.nanmax(np.nanmax(px, 0) - np.nanmin(px, 0))) / view.focal_px
        side = extent * rng.uniform(*config.box_scale)
        shift = config.box_shift * side * rng.uniform(-1.0, 1.0, 2)
        limit = np.radians(config.box_rotation_deg)
        turn = rotation_from_axis_angle(np.array([0.0, 0.0, rng.uniform(-limit, limit)]))
        R = view.R_camera_view @ rotations_to_directions(np.append(shift, 1.0)[None])[0] @ turn
        return CropView(config.size_px, config.size_px / side, R, view.mirrored)

    def _uv(self, view: CropView, points: np.ndarray) -> np.ndarray:
        px = points[:, :2] / points[:, 2:] * view.focal_px + 0.5 * (view.size_px - 1)
        return (px + 0.5) / view.size_px

    def _rotations(self, sample: HandSample, pose: np.ndarray, view: CropView) -> np.ndarray:
        """(16, 3, 3) of the right hand that the crop shows; the first into the crop's camera."""
        right = mirror_axis_angle(pose) if view.mirrored else pose
        if sample.pose_is_about_mean:
            right = self._model.full_pose(right)
        local = rotation_from_axis_angle(right.reshape(16, 3))
        to_view = view.R_camera_view.T
        local[0] = (mirror_rotation(to_view) if view.mirrored else to_view) @ local[0]
        return local
