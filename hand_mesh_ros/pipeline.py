"""The whole story: a frame in, metric hands in the camera's frame out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from hand_mesh_ros.camera_root import solve_root
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.depth_root import DepthRefiner, DepthRefusal
from hand_mesh_ros.detection.base import INDEPENDENT_LANDMARKS, LANDMARK_STDDEV, Detector
from hand_mesh_ros.grasp import grasp_aperture_m
from hand_mesh_ros.hand_calibration import HandCalibration
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.reconstruction.base import Reconstructor
from hand_mesh_ros.safety import Judged, SafetyGates, without_broken_detections
from hand_mesh_ros.smoothing import HandSmoother
from hand_mesh_ros.tracking import Tracker
from hand_mesh_ros.types import Detection, Frame, Hand, Reconstruction, Result, Root, Track

_WRIST = 0  # among keypoints


class Pipeline:
    """Detect, track, reconstruct, place, judge, smooth; one frame at a time, in order of stamps."""

    def __init__(
        self,
        *,
        detector: Detector,
        tracker: Tracker,
        reconstructor: Reconstructor,
        smoother: HandSmoother | None,
        safety: SafetyGates | None = None,
    ) -> None:
        self.detector = detector
        self.tracker = tracker
        self.reconstructor = reconstructor
        self.smoother = smoother
        self.safety = safety
        self._depth = DepthRefiner(reconstructor.hand_model)

    @property
    def hand_model(self) -> HandModel:
        """The right hand whose topology all published vertices have."""
        return self.reconstructor.hand_model

    @property
    def back_end(self) -> str:
        """What computes the reconstruction, and the state of its engine."""
        return self.reconstructor.back_end

    def process(self, frame: Frame) -> Result:
        """Every hand of one frame; what the evidence doesn't fix is left out, never guessed."""
        stage_s: dict[str, float] = {}
        with _timed(stage_s, "detection"):
            detected = self.detect(frame)
        result = self.reconstruct(frame, detected)
        return replace(result, stage_s=stage_s | result.stage_s)

    def detect(self, frame: Frame) -> list[Detection]:
        """The first half of `process`; another thread may be in the second half meanwhile."""
        return self.detector.detect(frame.image, frame.stamp_ns)

    def reconstruct(self, frame: Frame, detected: list[Detection]) -> Result:
        """The second half of `process`, of what the first half found in that frame."""
        stage_s: dict[str, float] = {}
        detections, broken = without_broken_detections(detected)
        with _timed(stage_s, "tracking"):
            tracks = self.tracker.update(detections, frame.stamp_ns)
        with _timed(stage_s, "reconstruction"):
            reconstructions = self.reconstructor.reconstruct(frame, tracks)
        refusals: list[str] = []
        with _timed(stage_s, "root"):
            placed = tuple(self._place(frame, tracks, reconstructions, refusals))
            hypotheses = tuple(self._place_alternatives(frame, tracks, reconstructions))
        with _timed(stage_s, "safety"):
            judged = Judged(sound=placed)
            if self.safety is not None:
                judged = self.safety.judge(placed, frame)
        with _timed(stage_s, "smoothing"):
            hands = judged.sound
            if self.smoother is not None:
                hands = self.smoother.update(judged.sound, frame.stamp_ns)
        return Result(
            frame.stamp_ns,
            frame.frame_id,
            hands + judged.marked,
            tuple(detections),
            stage_s,
            judged.sound,
            tuple(refusals),
            _of_tracks(hypotheses, hands),
            broken + judged.reasons,
        )

    def use_calibrations(self, calibrations: Mapping[Side, HandCalibration]) -> None:
        """Keep shape and size of these sides as calibrated, from the next frame on."""
        self.reconstructor.use_calibrations(calibrations)

    def reset(self) -> None:
        """Forget everything about earlier frames."""
        self.detector.reset()
        self.forget()

    def forget(self) -> None:
        """Forget all but what the detector knows, for those who reset that themselves."""
        self.tracker.reset()
        self.reconstructor.reset()
        if self.smoother is not None:
            self.smoother.reset()
        if self.safety is not None:
            self.safety.reset()

    def close(self) -> None:
        """Free what the detector holds."""
        self.detector.close()

    def _place(
        self,
        frame: Frame,
        tracks: list[Track],
        reconstructions: list[Reconstruction | None],
        refusals: list[str],
    ) -> Iterator[Hand]:
        """Hands in the camera's frame, for the tracks whose root can be found."""
        for track, reconstruction in zip(tracks, reconstructions, strict=True):
            if reconstruction is None:
                continue
            hand = self._placed(frame, track, reconstruction, refusals)
            if hand is not None:
                yield hand

    def _place_alternatives(
        self, frame: Frame, tracks: list[Track], reconstructions: list[Reconstruction | None]
    ) -> Iterator[Hand]:
        """All that each hand may be, each where it fits the landmarks best."""
        for track, reconstruction in zip(tracks, reconstructions, strict=True):
            for alternative in () if reconstruction is None else reconstruction.alternatives:
                hand = self._placed(frame, track, alternative, [])
                if hand is not None and alternative.score is not None:
                    yield replace(hand, score=alternative.score)

    def _placed(
        self, frame: Frame, track: Track, reconstruction: Reconstruction, refusals: list[str]
    ) -> Hand | None:
        keypoints_px = track.detection.keypoints_px
        stddev_px = LANDMARK_STDDEV * float(np.ptp(keypoints_px, axis=0).max())
        root = solve_root(
            reconstruction.keypoints_m,
            keypoints_px,
            frame.camera,
            stddev_px=stddev_px,
            keypoint_stddev_m=reconstruction.keypoint_stddev_m,
            initial_t=reconstruction.t_camera_wrist_guess,
            depth_stddev_m=_depth_stddev_m(reconstruction),
            independent_landmarks=INDEPENDENT_LANDMARKS,
        )
        if root is None:
            return None
        placed = reconstruction, _with_what_landmarks_hide(root, reconstruction)
        if frame.depth_m is not None:
            by_depth = self._depth.refine(
                reconstruction, root, frame, track.side, keypoints_px, stddev_px=stddev_px
            )
            if isinstance(by_depth, DepthRefusal):
                refusals.append(f"{track.side.name.lower()} hand: {by_depth.reason}")
            else:
                placed = by_depth.reconstruction, by_depth.root
        return self._hand(frame, track, *placed)

    def _hand(self, frame: Frame, track: Track, reconstruction: Reconstruction, root: Root) -> Hand:
        t = root.t_camera_wrist
        T_camera_wrist = np.eye(4)
        T_camera_wrist[:3, :3] = reconstruction.R_camera_hand
        T_camera_wrist[:3, 3] = t
        covariance = np.zeros((6, 6))
        covariance[:3, :3] = root.covariance
        covariance[3:, 3:] = reconstruction.rotation_covariance
        keypoints_m = reconstruction.keypoints_m + t
        limit = np.array([frame.camera.width, frame.camera.height] * 2, float)
        sure = 1.0 if reconstruction.score is None else reconstruction.score
        return Hand(
            track_id=track.track_id,
            side=track.side,
            side_score=track.side_score,
            score=sure * track.detection.score,
            T_camera_wrist=T_camera_wrist,
            root_covariance=covariance,
            root_source=root.source,
            keypoints_m=keypoints_m,
            keypoints_px=track.detection.keypoints_px,
            vertices_m=reconstruction.vertices_m + t,
            pose=reconstruction.pose,
            shape=reconstruction.shape,
            box_px=np.minimum(np.maximum(track.detection.box_px, 0.0), limit),
            grasp_aperture_m=grasp_aperture_m(keypoints_m),
            model=self.reconstructor.name,
            hand_model=self.hand_model.name,
            keypoint_stddev_m=reconstruction.keypoint_stddev_m,
            vertex_stddev_m=reconstruction.vertex_stddev_m,
            vertex_colors=reconstruction.vertex_colors,
        )


def _of_tracks(hypotheses: tuple[Hand, ...], hands: tuple[Hand, ...]) -> tuple[Hand, ...]:
    """Those of hands that passed the safety gates."""
    tracks = {hand.track_id for hand in hands}
    return tuple(hand for hand in hypotheses if hand.track_id in tracks)


def _depth_stddev_m(reconstruction: Reconstruction) -> float | None:
    guess, share = reconstruction.t_camera_wrist_guess, reconstruction.depth_stddev
    return None if guess is None or share is None else share * float(guess[2])


def _with_what_landmarks_hide(root: Root, reconstruction: Reconstruction) -> Root:
    """Account for the hand's size, and for where its wrist is about its centre.

    A hand a tenth larger is a tenth farther away, in the same image.
    """
    t = root.t_camera_wrist
    covariance = root.covariance + reconstruction.size_stddev**2 * t[:, None] * t
    if reconstruction.keypoint_stddev_m is not None:
        covariance += reconstruction.keypoint_stddev_m[_WRIST] ** 2 * np.eye(3)
    return replace(root, covariance=covariance)


@contextmanager
def _timed(stage_s: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stage_s[stage] = time.perf_counter() - start
