"""Meshes by an image network: crops of all hands of a frame in, in one batch, meshes out.

A network sees right hands; left ones are mirrored on the way in and out. How large a hand is hardly
shows in a crop, so a mesh is as large as the network's training made it (the template's length, as
a rule), unless the hand's length is known; `size_stddev` says how far that is from the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hand_mesh_ros.backends.base import EngineOptions
from hand_mesh_ros.backends.open import open_backend
from hand_mesh_ros.backends.progress import Log
from hand_mesh_ros.conventions import (
    FINGERS,
    Side,
    idx_keypoints_to_mano21,
    mirror_rotation,
)
from hand_mesh_ros.cropping import DEFAULT_BOX_FACTOR, CropView, aim_crop, crop_image
from hand_mesh_ros.hand_calibration import HandCalibration
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.hand_size import HandSize
from hand_mesh_ros.networks.checkpoint import LoadedNetwork, load_network
from hand_mesh_ros.networks.checkpoint_file import CheckpointError
from hand_mesh_ros.reconstruction.hypotheses import plausible_hands, scatter_m
from hand_mesh_ros.reconstruction.lifted_start import LIFTED_INPUTS, LiftedStart, LiftedStarts
from hand_mesh_ros.rotations import rotation_between
from hand_mesh_ros.types import Frame, Reconstruction, Track

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""A back-end: named inputs to named outputs, float32, batch first."""

_MIDDLE_CHAIN = [0, *(4 * FINGERS.index("middle") + k for k in (1, 2, 3, 4))]
_PALM_WEIGHT = 0.9
"""Vertices that follow the wrist joint by so much are the palm, which keeps its form."""


@dataclass(frozen=True)
class NetworkUse:
    """What has to be known of a trained network to use it."""

    name: str
    size_px: int
    """S of its crops."""
    box_factor: float = DEFAULT_BOX_FACTOR
    takes_landmark_cue: bool = False
    takes_lifted_hand: bool = False
    size_stddev: float = 0.062
    """Share by which sizes differ: of people's hands, where a checkpoint has no measured one."""
    palm_turn_rad: float = 0.2
    """Root mean square error of the palm's turn, likewise."""
    draws: tuple[int, ...] = ()
    """Random numbers that it takes for one crop's further hands: their shape; empty: none."""

    def __post_init__(self) -> None:
        for name in ("size_px", "size_stddev", "palm_turn_rad"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, expected above 0")
        if not 1.0 <= self.box_factor < np.inf:
            raise ValueError(f"box_factor is {self.box_factor}, expected 1 or more")

    @classmethod
    def of(cls, loaded: LoadedNetwork) -> NetworkUse:
        """As a checkpoint says; raises CheckpointError where it says something impossible."""
        file = loaded.file
        figures: Mapping[str, Any] = file.training.get("figures") or {}
        measured = {k: float(figures[k]) for k in ("size_stddev", "palm_turn_rad") if k in figures}
        example: Mapping[str, Any] = loaded.network.example_inputs(1)  # type: ignore[operator]
        try:
            return cls(
                name=file.network,
                size_px=int(loaded.config.image_size_px),
                box_factor=float(file.preprocessing.get("box_factor", DEFAULT_BOX_FACTOR)),
                takes_landmark_cue="landmark_cue" in example,
                takes_lifted_hand=LIFTED_INPUTS[0] in example,
                draws=tuple(example["draws"].shape[1:]) if "draws" in example else (),
                **measured,
            )
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"network {file.network!r} cannot be used: {error}") from error


class NetworkReconstructor:
    """A `Reconstructor` around any network that gives `vertices_m` (B, V, 3), wrist at the origin.

    Where it gives `rotations` (B, 16, 3, 3) and `shape` (B, 10) as well, hands have a pose; of
    `vertex_stddev_m` (B, V), `keypoint_stddev_m` (B, 21), both about the hand's centre, and
    `vertex_colors` (B, V, 3) RGB in [0, 1], they have those that are given and finite; and its
    `score` (B,). Of `hypotheses_vertices_m` (B, H, V, 3) and `hypotheses_score` (B, H), the first
    of which is the mesh itself, those above 0 stay that the landmarks allow. A network that takes
    `LIFTED_INPUTS` corrects the lifter's hands: where that makes none of landmarks, there is none.
    """

    def __init__(
        self,
        run: Run,
        use: NetworkUse,
        model: HandModel,
        *,
        back_end: Callable[[], str],
        known_hand_length_m: float | None = None,
    ) -> None:
        """Prepare for a right hand model.

        Args:
            run: computes a batch.
            use: how to feed it.
            model: the right hand that the network was trained for.
            back_end: says what computes it at present, for diagnostics.
            known_hand_length_m: scales every mesh to that length.

        Raises:
            CheckpointError: the network corrects the lifter's hands, and there is no lifter for
                this model.
        """
        self.name, self.hand_model = use.name, model
        self._back_end = back_end
        self._run, self._use = run, use
        self._models = {Side.RIGHT: model, Side.LEFT: model.mirrored()}
        self._weights = {
            name: vertex_keypoint_weights(model, name) for name in ("anatomical", "detector")
        }
        self._palm = np.flatnonzero(model.skinning_weights[:, 0] > _PALM_WEIGHT)
        self._hand_size = HandSize(model)
        self._lifted = LiftedStarts(model) if use.takes_lifted_hand else None
        self._known_hand_length_m = known_hand_length_m
        self._calibrations: dict[Side, HandCalibration] = {}

    @classmethod
    def load(
        cls,
        name: str,
        model: HandModel,
        *,
        checkpoint: str = "",
        known_hand_length_m: float | None = None,
        num_hypotheses: int = 1,
        engine: EngineOptions | None = None,
        log: Log = print,
    ) -> NetworkReconstructor:
        """Load a network's weights, those in the package or a file, and build or load its engine.

        Args:
            name: of the network.
            model: the right hand.
            checkpoint: path of weights; empty: those in the package.
            known_hand_length_m: scales every mesh to that length.
            num_hypotheses: hands that each crop may show, the likeliest among them.
            engine: how to run it; None: as is fastest here, one hand at a time.
            log: gets a line about each engine that is built, refused or taken.

        Raises:
            CheckpointError: no such weights, of another network, or for another hand model.
            BackEndError: nothing can run it as asked.
            ValueError: the network makes one hand of a crop, more are wanted.
        """
        loaded = load_network(checkpoint or name, model)
        if loaded.file.network != name:
            raise CheckpointError(
                f"{checkpoint}: weights of network {loaded.file.network!r}, expected {name!r}"
            )
        if num_hypotheses > 1:
            loaded = _with_hypotheses(loaded, num_hypotheses)
        engine = engine or EngineOptions()
        backend = open_backend(name, loaded.network, loaded.config, engine, log=log)
        return cls(
            backend.run,
            NetworkUse.of(loaded),
            model,
            back_end=lambda: backend.state,
            known_hand_length_m=known_hand_length_m,
        )

    @property
    def back_end(self) -> str:
        """What computes it and the state of its engine."""
        return self._back_end()

    def use_calibrations(self, calibrations: Mapping[Side, HandCalibration]) -> None:
        """Scale the meshes of these sides to their calibrated length."""
        self._calibrations = dict(calibrations)

    def reset(self) -> None:
        """Nothing to forget: every frame is seen by itself."""

    def reconstruct(self, frame: Frame, tracks: list[Track]) -> list[Reconstruction | None]:
        """All hands in one batch; None where fewer than six landmarks are usable."""
        results: list[Reconstruction | None] = [None] * len(tracks)
        rays = [frame.camera.rays(track.detection.keypoints_px) for track in tracks]
        use = self._use
        views = {
            i: view
            for i, track in enumerate(tracks)
            if (
                view := aim_crop(
                    rays[i], track.side, size_px=use.size_px, box_factor=use.box_factor
                )
            )
        }
        cues = {i: _cue(view, rays[i]) for i, view in views.items()}
        starts: dict[int, LiftedStart] = {}
        if self._lifted is not None:
            for i, view in views.items():
                start = self._lifted.of_crop(cues[i], view.K_crop, use.size_px)
                starts |= {} if start is None else {i: start}
            views = {i: view for i, view in views.items() if i in starts}
        if not views:
            return results
        crops = [crop_image(frame.image, frame.camera, view) for view in views.values()]
        inputs = {"image": _images(crops)}
        if use.takes_landmark_cue:
            inputs["landmark_cue"] = np.stack([cues[i] for i in views])
        if starts:
            given = [starts[i].inputs for i in views]
            inputs |= {name: np.stack([g[name] for g in given]) for name in LIFTED_INPUTS}
        if use.draws:
            inputs["draws"] = np.stack([_draws(frame, tracks[i], use.draws) for i in views])
        outputs = self._run(inputs)
        for row, (i, view) in enumerate(views.items()):
            found = {name: values[row].astype(np.float64) for name, values in outputs.items()}
            results[i] = self._reconstruction(found, view, tracks[i].side, starts.get(i))
            if "hypotheses_vertices_m" in found:
                results[i] = self._with_alternatives(results[i], found, view, tracks[i], frame)
        return results

    def _with_alternatives(
        self,
        likeliest: Reconstruction | None,
        found: Mapping[str, np.ndarray],
        view: CropView,
        track: Track,
        frame: Frame,
    ) -> Reconstruction | None:
        """The likeliest hand, with the others that the landmarks allow and how they scatter."""
        drawn = found["hypotheses_vertices_m"][1:]
        others = [self._reconstruction({"vertices_m": v}, view, track.side) for v in drawn]
        scores = found["hypotheses_score"]
        hands = [
            replace(hand, score=float(score))
            for hand, score in zip([likeliest, *others], scores, strict=True)
            if hand is not None and score > 0.0
        ]
        if not hands:
            return likeliest
        keypoints_m = np.stack([hand.keypoints_m for hand in hands])
        keypoints_px = track.detection.keypoints_px
        kept = plausible_hands(
            np.array([hand.score for hand in hands]), keypoints_m, keypoints_px, frame.camera
        )
        plausible = [hands[row] for row in kept.rows]
        # The first one lies in the middle of what is likely: it is given up only if it cannot be.
        best = hands[0] if 0 in kept.rows else plausible[0]
        alternatives = tuple(
            replace(hand, score=float(p))
            for hand, p in zip(plausible, kept.probability, strict=True)
        )
        stddev_m = None
        if len(plausible) > 1:
            meshes_m = np.stack([hand.vertices_m for hand in plausible])
            stddev_m = scatter_m(meshes_m, kept.probability)
        return replace(
            best,
            vertex_stddev_m=stddev_m,
            score=_score(found.get("score")),  # of the crop; probabilities only rank its hands
            alternatives=alternatives,
        )

    def _reconstruction(
        self,
        found: Mapping[str, np.ndarray],
        view: CropView,
        side: Side,
        start: LiftedStart | None = None,
    ) -> Reconstruction | None:
        vertices = found["vertices_m"]
        if not np.isfinite(vertices).all():
            return None
        anatomical = self._weights["anatomical"] @ vertices
        ratio, size_stddev = self._size(anatomical, side)
        vertices = ratio * (vertices - anatomical[0])
        anatomical = ratio * (anatomical - anatomical[0])
        R_crop, pose, shape = self._rotation(vertices), None, None
        if "rotations" in found and "shape" in found:
            local = found["rotations"].copy()
            R_crop, shape = local[0].copy(), self._hand_size.scaled(found["shape"], ratio)
            if side is Side.LEFT:
                local = mirror_rotation(local)
            local[0] = self._to_camera(R_crop, view)
            pose = self._models[side].pose_of(local)
        keypoints = self._weights["detector"] @ vertices
        guess, depth_stddev = None, None
        if start is not None:
            guess = view.to_camera(ratio * start.centre_m - keypoints.mean(0))
            depth_stddev = start.depth_stddev
        return Reconstruction(
            vertices_m=view.to_camera(vertices),
            keypoints_m=view.to_camera(keypoints),
            joints_m=view.to_camera(anatomical[idx_keypoints_to_mano21][:16]),
            R_camera_hand=self._to_camera(R_crop, view),
            pose=pose,
            shape=shape,
            rotation_covariance=self._use.palm_turn_rad**2 / 3.0 * np.eye(3),
            size_stddev=size_stddev,
            t_camera_wrist_guess=guess,
            depth_stddev=depth_stddev,
            keypoint_stddev_m=_scaled(found.get("keypoint_stddev_m"), ratio),
            vertex_stddev_m=_scaled(found.get("vertex_stddev_m"), ratio),
            vertex_colors=_colors(found.get("vertex_colors")),
            score=_score(found.get("score")),
        )

    def _size(self, anatomical: np.ndarray, side: Side) -> tuple[float, float]:
        """What to scale a mesh by, and the size's uncertainty after that."""
        calibration, known = self._calibrations.get(side), self._known_hand_length_m
        own = float(np.linalg.norm(np.diff(anatomical[_MIDDLE_CHAIN], axis=0), axis=1).sum())
        if calibration is not None:
            length = calibration.hand_length_m
            return length / own, calibration.size_stddev
        if known is not None:
            return known / own, _KNOWN_SIZE_STDDEV
        return 1.0, self._use.size_stddev

    def _rotation(self, vertices: np.ndarray) -> np.ndarray:
        """(3, 3) of the right hand model's frame in the crop's axes: its palm laid on the mesh's.

        Of the template's: shapes differ by less than a palm is known.
        """
        return rotation_between(self.hand_model.template_m[self._palm], vertices[self._palm])

    def _to_camera(self, R_crop_hand: np.ndarray, view: CropView) -> np.ndarray:
        """(3, 3) rotation of the hand's own model (a left one's for left hands) in the camera."""
        R = mirror_rotation(R_crop_hand) if view.mirrored else R_crop_hand
        return view.R_camera_view @ R


_KNOWN_SIZE_STDDEV = 0.005
"""Of a length that the user measured."""


def _scaled(stddev_m: np.ndarray | None, ratio: float) -> np.ndarray | None:
    """Deviations of a mesh that is scaled; None where they are not given or not finite."""
    if stddev_m is None or not np.isfinite(stddev_m).all():
        return None
    return ratio * stddev_m


def _colors(vertex_colors: np.ndarray | None) -> np.ndarray | None:
    """(V, 3) uint8 RGB; None where they are not given or not finite."""
    if vertex_colors is None or not np.isfinite(vertex_colors).all():
        return None
    return np.round(255.0 * np.clip(vertex_colors, 0.0, 1.0)).astype(np.uint8)


def _score(score: np.ndarray | None) -> float | None:
    """None where it is not given, or says nothing."""
    return None if score is None or not 0.0 < score <= 1.0 else float(score)


def _with_hypotheses(loaded: LoadedNetwork, number: int) -> LoadedNetwork:
    """The network, that many hands asked of it; raises ValueError where it makes one alone."""
    if not hasattr(loaded.config, "num_hypotheses"):
        raise ValueError(
            f"num_hypotheses is {number}, expected 1: {loaded.file.network} makes one hand of a "
            "crop; maskhand makes several"
        )
    config = replace(loaded.config, num_hypotheses=number)
    loaded.network.config = config  # what its example inputs are made from
    return replace(loaded, config=config)


def _draws(frame: Frame, track: Track, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform float32 in [0, 1): the same of the same image and track, whenever it is processed."""
    random = np.random.default_rng((frame.stamp_ns % 2**63, track.track_id))
    return random.random(shape, np.float32)


def _images(crops: list[np.ndarray]) -> np.ndarray:
    """(B, 3, S, S) float32, 0 to 1."""
    stacked = np.stack(crops).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, np.float32) / np.float32(255.0)


def _cue(view: CropView, rays: np.ndarray) -> np.ndarray:
    """(21, 3) float32: u, v in crop units and weight 1, or zeros where a landmark is missing."""
    uv = (view.from_rays(rays) + 0.5) / view.size_px
    known = np.isfinite(uv).all(axis=1)
    cue = np.zeros((21, 3), np.float32)
    cue[known, :2], cue[known, 2] = uv[known], 1.0
    return cue
