"""Rendered hands of the pose prior with exact truth: an evaluation that needs no data set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, mirror_axis_angle, mirror_points, mirror_rotation
from hand_mesh_ros.evaluation.landmarks import Landmarks, LandmarkSource, exact_landmarks
from hand_mesh_ros.evaluation.samples import EvaluationSample
from hand_mesh_ros.evaluation.skin_tones import individual_typology_angle_deg
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.sources.background import Background, ImageNoise
from hand_mesh_ros.sources.hand_look import HandLook, Light
from hand_mesh_ros.sources.rendering import draw, rasterize
from hand_mesh_ros.sources.skin import drawn_skin_rgb
from hand_mesh_ros.training.datasets.base import HandSample, box_around

# Each hand has its own streams of random numbers, apart from those that training draws from.
_STREAM = 0xE7A1
_POSE, _ELBOW, _LOOK, _LANDMARKS = range(4)
_IMAGE_NOISE_STDDEV = 2.0
"""Grey levels, as the synthetic camera's."""
_ELBOW_STD_RAD = (0.1, 0.35, 0.35)
"""How far the forearm turns from the hand's axis, about the hand's x (along it), y and z."""


class SyntheticHands:
    """N hands of the pose prior, about half of them left; hand i is a function of seed and i."""

    def __init__(
        self,
        model: HandModel,
        n: int,
        seed: int,
        *,
        landmarks: LandmarkSource = exact_landmarks,
    ) -> None:
        """Prepare to draw hands.

        Args:
            model: a right hand.
            n: how many.
            seed: of everything.
            landmarks: what a detector would say of them, for models that see no image.

        Raises:
            ValueError: n is not above 0 or the seed is negative.
        """
        if n < 1:
            raise ValueError(f"a synthetic set needs at least 1 hand, got {n}")
        if seed < 0:
            raise ValueError(f"the seed of a synthetic set is {seed}; expected 0 or more")
        self._model, self._left_model = model, model.mirrored()
        self._prior = PosePrior(model)
        self._n, self._seed, self._landmarks = n, seed, landmarks

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> EvaluationSample:
        if not 0 <= index < self._n:
            raise IndexError(f"hand {index} of a synthetic set of {self._n}")
        rng = _rng(self._seed, index, _POSE)
        drawn = self._prior.sample(1, rng)
        side = Side.LEFT if rng.uniform() < 0.5 else Side.RIGHT
        camera, t = drawn.camera(0), drawn.t_camera_wrist[0]
        local, shape = drawn.rotations(self._prior.anatomy)[0], drawn.shape[0]
        elbow = _elbow(local[0], _rng(self._seed, index, _ELBOW))

        posed = self._model.pose_rotations(local, shape)
        keypoints_m, detector_m = (
            self._model.keypoints(posed, shape, name) + t for name in ("anatomical", "detector")
        )
        landmarks = _Landmarks(self._landmarks, detector_m, camera, side, self._seed, index)
        vertices_m, pose = posed.vertices_m + t, self._model.pose_of(local)
        R, model = local[0], self._model
        if side is Side.LEFT:  # the whole scene in a mirror, camera included
            keypoints_m, detector_m, vertices_m, elbow = (
                mirror_points(p) for p in (keypoints_m, detector_m, vertices_m, elbow)
            )
            pose, R, camera = mirror_axis_angle(pose), mirror_rotation(R), _mirrored(camera)
            model = self._left_model
        keypoints_px = camera.project(keypoints_m)
        rendering = _Rendering(model, vertices_m, R, elbow, camera, self._seed, index)
        labels = HandSample(
            sample_id=f"synthetic/{self._seed}/{index}",
            load_image=rendering,
            camera=camera,
            side=side,
            box_px=box_around(keypoints_px),
            keypoints_px=keypoints_px,
            keypoints_valid=np.ones(21, bool),
            keypoints_m=keypoints_m,
            root_m=keypoints_m[0],
            vertices_m=vertices_m,
            pose=pose,
            shape=shape,
        )
        ita_deg = individual_typology_angle_deg(rendering.skin_rgb)
        return EvaluationSample(
            labels, self._model.name, detector_m, landmarks, skin_ita_deg=ita_deg
        )


def _rng(seed: int, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((_STREAM, seed, index, purpose))


def _elbow(R_camera_hand: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) unit, camera frame: where a right hand's forearm bends to."""
    bend = rotation_from_axis_angle(rng.normal(0.0, _ELBOW_STD_RAD))
    return R_camera_hand @ bend @ np.array([1.0, 0.0, 0.0])


def _mirrored(camera: Camera) -> Camera:
    """The ideal pinhole that takes the mirror image."""
    K = camera.K.copy()
    K[0, 2] = camera.width - 1 - K[0, 2]
    return replace(camera, K=K)


@dataclass(frozen=True, eq=False)
class _Landmarks:
    """Draws one hand's landmarks when they are asked for."""

    source: LandmarkSource
    right_keypoints_m: np.ndarray
    camera: Camera
    side: Side
    seed: int
    index: int

    def __call__(self) -> Landmarks:
        """As a detector sees a right hand, in the mirror for a left one."""
        rng = _rng(self.seed, self.index, _LANDMARKS)
        seen = self.source(self.right_keypoints_m, float(self.camera.K[0, 0]), rng)
        flip = np.array([-1.0 if self.side is Side.LEFT else 1.0, 1.0])
        return replace(seen, rays=seen.rays * flip)


@dataclass(frozen=True, eq=False)
class _Rendering:
    """Draws one hand's image when it is asked for."""

    model: HandModel
    """Of the hand's own side."""
    vertices_m: np.ndarray
    R_camera_hand: np.ndarray
    elbow: np.ndarray
    camera: Camera
    seed: int
    index: int

    @property
    def skin_rgb(self) -> np.ndarray:
        """(3,) of the back of the hand, before any light falls on it."""
        return drawn_skin_rgb(self._rng())

    def __call__(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        rng = self._rng()
        width, height = self.camera.width, self.camera.height
        look, light = HandLook(self.model, drawn_skin_rgb(rng)), Light.drawn(rng)
        image = Background(width, height, rng).at(rng.uniform(0.0, 30.0))
        mesh = look.dress(self.vertices_m, self.R_camera_hand, self.elbow, light)
        visible = rasterize(mesh, self.camera)
        if visible is not None:
            draw(image, visible, float(self.camera.K[0, 0]))
        ImageNoise(width, height, _IMAGE_NOISE_STDDEV, rng).add(image, 0)
        return image

    def _rng(self) -> np.random.Generator:
        return _rng(self.seed, self.index, _LOOK)
