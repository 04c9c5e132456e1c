"""Rendered hands that things hide, with a count of what they hide: the training engine's crops.

The crops are small images of a camera that looks straight at the hand. Each is drawn twice, with
the things and without them, so that a keypoint which the hand itself hides does not count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, mirror_points
from hand_mesh_ros.evaluation.samples import EvaluationSample
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.training.datasets.base import HandSample, box_around
from hand_mesh_ros.training.synthetic import SyntheticBatch, SyntheticImages
from hand_mesh_ros.training.synthetic_config import SyntheticConfig

SIZE_PX = 256
THINGS: dict[str, Any] = {
    "held_object": 0.5,
    "pinched_object": 0.15,
    "passing_object": 0.7,
    "second_hand": 0.3,
}
"""Shares of images with such things; a third of the hands have nothing before them."""
_BOX_SCALE = (2.0, 3.0)
"""Of an image's side over the hand's, so that the crop which a model cuts out lies inside."""
_BANK_SIZE = 1000
_CHUNK = 8
# Poses and images come from streams of their own, apart from those of training.
_STREAM = 0x0CC1
_BANK, _IMAGES = range(2)


class OccludedHands:
    """N hands, every second a left one; hand i is a function of seed and i."""

    def __init__(self, model: HandModel, n: int, seed: int) -> None:
        """Draw the bank of poses (seconds).

        Raises:
            ValueError: n is not above 0 or the seed is negative.
        """
        if n < 1:
            raise ValueError(f"a set of occluded hands needs at least 1 hand, got {n}")
        if seed < 0:
            raise ValueError(f"the seed of a set of occluded hands is {seed}; expected 0 or more")
        config = SyntheticConfig(
            size_px=SIZE_PX,
            box_scale=_BOX_SCALE,
            truncation=0.0,
            bank_size=_BANK_SIZE,
            bank_seed=_number(seed, _BANK, 0),
            chunk=_CHUNK,
            **THINGS,
        )
        self._model, self._n, self._seed = model, n, seed
        self._images = SyntheticImages(model, config)
        self._bare_images = SyntheticImages(model, replace(config, **dict.fromkeys(THINGS, 0.0)))
        self._last: tuple[int, Chunk] | None = None

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> EvaluationSample:
        if not 0 <= index < self._n:
            raise IndexError(f"hand {index} of a set of {self._n} occluded hands")
        chunk, row = self.chunk(index // _CHUNK), index % _CHUNK
        batch, left = chunk.batch, index % 2 == 1

        def points_m(values: torch.Tensor) -> np.ndarray:
            points = values[row].double().numpy()
            return mirror_points(points) if left else points

        picture = batch.image[row].permute(1, 2, 0).numpy()  # (S, S, 3)
        image = np.round(255.0 * (picture[:, ::-1] if left else picture)).astype(np.uint8)
        # The principal point is the middle, so that a mirrored image has the same camera.
        camera = Camera(SIZE_PX, SIZE_PX, batch.K_crop[row].double().numpy())
        keypoints_m = points_m(batch.keypoints_m["anatomical"])
        keypoints_px = camera.project(keypoints_m)
        labels = HandSample(
            sample_id=f"occluded/{self._seed}/{index}",
            load_image=lambda: image,
            camera=camera,
            side=Side.LEFT if left else Side.RIGHT,
            box_px=box_around(keypoints_px),
            keypoints_px=keypoints_px,
            keypoints_valid=np.ones(21, bool),
            keypoints_visible=batch.keypoint_visible[row].numpy(),
            keypoints_m=keypoints_m,
            root_m=keypoints_m[0],
            vertices_m=points_m(batch.vertices_m),
        )
        return EvaluationSample(
            labels,
            self._model.name,
            detector_keypoints_m=points_m(batch.keypoints_m["detector"]),
            hidden_share=float(chunk.hidden_share[row]),
        )

    def chunk(self, number: int) -> Chunk:
        """So many hands that are drawn together; the last ones are kept."""
        if self._last is None or self._last[0] != number:
            seed = _number(self._seed, _IMAGES, number)
            batch = self._images.batch(_CHUNK, seed)
            bare = self._bare_images.batch(_CHUNK, seed)
            self._last = number, Chunk(batch, bare)
        return self._last[1]


class Chunk(NamedTuple):
    """The same hands twice."""

    batch: SyntheticBatch
    bare: SyntheticBatch
    """Without the things."""

    @property
    def hidden_share(self) -> np.ndarray:
        """(B,) of the keypoints that show without the things."""
        shows, still_shows = (b.keypoint_visible.numpy() for b in (self.bare, self.batch))
        return (shows & ~still_shows).sum(1) / np.maximum(shows.sum(1), 1)


def _number(seed: int, purpose: int, index: int) -> int:
    """A seed that no other purpose has."""
    return int(np.random.SeedSequence((_STREAM, seed, purpose, index)).generate_state(1)[0])
