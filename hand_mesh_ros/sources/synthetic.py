"""A camera that does not exist, looking at hands that are known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.sources.background import Background, ImageNoise
from hand_mesh_ros.sources.base import DEFAULT_FRAME_ID, SourceError, nominal_stamp_ns
from hand_mesh_ros.sources.hand_look import HandLook, Light
from hand_mesh_ros.sources.hand_motion import HandMotion
from hand_mesh_ros.sources.rendering import Mesh, Visible, draw, joined, rasterize
from hand_mesh_ros.sources.skin import drawn_skin_rgb
from hand_mesh_ros.types import Frame, Hand

WALL_M = 2.5
"""Depth of everything that is no hand: a wall across the line of sight, which the picture isn't."""


@dataclass(frozen=True, slots=True)
class SyntheticFrame:
    """A rendered image and what is in it."""

    frame: Frame
    hands: tuple[Hand, ...]
    """Exact: scores are 1, covariances 0."""
    index: int = 0
    """Number of the frame, for `SyntheticCamera.depth_at`."""

    def stamped(self, stamp_ns: int) -> SyntheticFrame:
        """The same, taken at another time (a live publisher's clock)."""
        return replace(self, frame=replace(self.frame, stamp_ns=stamp_ns))


class SyntheticCamera:
    """Frames of one or two moving hands with exact truth; endless unless `num_frames` is given.

    Frame i is a function of i and the constructor's arguments alone.
    """

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        *,
        fov_deg: float = 60.0,
        hands: int = 1,
        seed: int = 0,
        rate_hz: float = 30.0,
        start_ns: int = 0,
        num_frames: int | None = None,
        camera: Camera | None = None,
        frame_id: str = DEFAULT_FRAME_ID,
        noise: float = 2.0,
    ) -> None:
        """Draw hands, skin, light and background.

        Args:
            width: px, ignored when a camera is given.
            height: px, likewise.
            fov_deg: horizontal field of view, likewise.
            hands: 1 (a right one) or 2 (left and right).
            seed: decides everything that is drawn.
            rate_hz: nominal pace.
            start_ns: stamp of frame 0.
            num_frames: how many frames iteration gives; None for no end.
            camera: any lens model; None for an ideal pinhole.
            frame_id: TF frame of the images.
            noise: standard deviation of image noise, grey levels; 0 for none.

        Raises:
            SourceError: an impossible number of hands, rate or camera.
        """
        if hands not in (1, 2):
            raise SourceError(f"the synthetic camera shows 1 or 2 hands, not {hands}")
        if not rate_hz > 0.0:
            raise SourceError(f"the synthetic camera needs a rate above 0 Hz, got {rate_hz}")
        # Nothing about this camera is a guess.
        self.camera = camera or replace(Camera.from_fov(width, height, fov_deg), assumed=False)
        self.rate_hz, self.num_frames = rate_hz, num_frames
        self._start_ns, self._frame_id = start_ns, frame_id
        rng = np.random.default_rng(seed)
        prior = PosePrior(load_open_hand())
        sides = (Side.RIGHT,) if hands == 1 else (Side.RIGHT, Side.LEFT)
        self._light = Light.drawn(rng)
        self._background = Background(self.camera.width, self.camera.height, rng)
        self._noise = (
            ImageNoise(self.camera.width, self.camera.height, noise, rng) if noise else None
        )
        self._performers = tuple(
            _Performer(prior, side, self.camera, region, seed, np.random.default_rng([seed, 77]))
            for side, region in zip(sides, _regions(self.camera, hands), strict=True)
        )

    def __iter__(self) -> Iterator[SyntheticFrame]:
        index = 0
        while self.num_frames is None or index < self.num_frames:
            yield self.frame_at(index)
            index += 1

    def close(self) -> None:
        """Nothing to let go of."""

    def frame_at(self, index: int) -> SyntheticFrame:
        """Render frame `index`."""
        time_s = index / self.rate_hz
        hands = tuple(p.at(time_s, self.camera, i) for i, p in enumerate(self._performers))
        image = self._background.at(time_s)
        visible = self._see(hands)
        if visible is not None:
            draw(image, visible, float(self.camera.K[0, 0]))
        if self._noise is not None:
            self._noise.add(image, index)
        stamp_ns = nominal_stamp_ns(index, self.rate_hz, self._start_ns)
        return SyntheticFrame(Frame(image, self.camera, stamp_ns, self._frame_id), hands, index)

    def with_depth(self, index: int) -> Frame:
        """Frame `index` with its true depth."""
        return replace(self.frame_at(index).frame, depth_m=self.depth_at(index))

    def depth_at(self, index: int) -> np.ndarray:
        """(H, W) float32, m: true depth of frame `index`, aligned to its image."""
        depth_m = np.full((self.camera.height, self.camera.width), WALL_M, np.float32)
        visible = self._visible_at(index)
        if visible is not None:
            visible.paint_depth(depth_m)
        return depth_m

    def hand_length_m(self) -> float:
        """True length of the first hand, wrist joint to middle fingertip of the flat hand."""
        return self._performers[0].hand_length_m

    def mask_at(self, index: int) -> np.ndarray:
        """(H, W) bool: pixels of frame `index` that show a hand or a forearm."""
        visible = self._visible_at(index)
        mask = np.zeros((self.camera.height, self.camera.width), bool)
        if visible is not None:
            mask[visible.rows, visible.columns] = visible.mask()
        return mask

    def _visible_at(self, index: int) -> Visible | None:
        time_s = index / self.rate_hz
        return self._see(
            tuple(p.at(time_s, self.camera, i) for i, p in enumerate(self._performers))
        )

    def _see(self, hands: tuple[Hand, ...]) -> Visible | None:
        meshes = [
            p.mesh(hand, self._light) for p, hand in zip(self._performers, hands, strict=True)
        ]
        return rasterize(joined(meshes), self.camera)


class _Performer:
    """One hand: how it moves and how it looks."""

    def __init__(
        self,
        prior: PosePrior,
        side: Side,
        camera: Camera,
        region_px: np.ndarray,
        seed: int,
        rng: np.random.Generator,
    ) -> None:
        self._model = prior.model if side is Side.RIGHT else prior.model.mirrored()
        self._side = side
        self._motion = HandMotion(prior, side, camera, region_px, seed)
        self.hand_length_m = self._model.hand_length_m(self._motion.shape)
        # The same generator state for both hands of a person: the same skin.
        self._look = HandLook(self._model, drawn_skin_rgb(rng))

    def at(self, time_s: float, camera: Camera, track_id: int) -> Hand:
        """Truth at a time."""
        state, shape = self._motion.at(time_s), self._motion.shape
        posed = self._model.pose_hand(state.pose, shape)
        keypoints = self._model.keypoints(posed, shape, "detector") + state.t_camera_wrist
        keypoints_px = camera.project(keypoints)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = state.R_camera_wrist, state.t_camera_wrist
        corner = np.array([camera.width - 1, camera.height - 1])
        box = np.clip([keypoints_px.min(0), keypoints_px.max(0)], 0.0, corner)
        return Hand(
            track_id=track_id,
            side=self._side,
            side_score=1.0,
            score=1.0,
            T_camera_wrist=T,
            root_covariance=np.zeros((6, 6)),
            root_source=RootSource.REPROJECTION,
            keypoints_m=keypoints,
            keypoints_px=keypoints_px,
            vertices_m=posed.vertices_m + state.t_camera_wrist,
            pose=state.pose,
            shape=shape,
            box_px=box.reshape(4),
            grasp_aperture_m=float(np.linalg.norm(keypoints[4] - keypoints[8])),
            model="synthetic",
            hand_model=self._model.name,
        )

    def mesh(self, hand: Hand, light: Light) -> Mesh:
        """What the camera is to see of that truth."""
        R_camera_wrist = hand.T_camera_wrist[:3, :3]
        return self._look.dress(hand.vertices_m, R_camera_wrist, self._motion.elbow, light)


def _regions(camera: Camera, hands: int) -> list[np.ndarray]:
    """(4,) x0 y0 x1 y1 px for each hand: all of the image, or half of it."""
    right, bottom = camera.width - 1.0, camera.height - 1.0
    if hands == 1:
        return [np.array([0.0, 0.0, right, bottom])]
    # The right hand of a person who faces the camera is in the left half of the image.
    half = 0.5 * right
    return [np.array([0.0, 0.0, half, bottom]), np.array([half, 0.0, right, bottom])]
