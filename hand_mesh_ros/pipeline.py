"""The whole story: a frame in, metric hands in the camera's frame out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from hand_mesh_ros.camera_root import solve_root
from hand_mesh_ros.detection.base import LANDMARK_STDDEV, Detector
from hand_mesh_ros.grasp import grasp_aperture_m
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.reconstruction.base import Reconstructor
from hand_mesh_ros.smoothing import HandSmoother
from hand_mesh_ros.tracking import Tracker
from hand_mesh_ros.types import Frame, Hand, Reconstruction, Result, Root, Track


class Pipeline:
    """Detect, track, reconstruct, place, smooth; one frame at a time, in the order of stamps."""

    def __init__(
        self,
        *,
        detector: Detector,
        tracker: Tracker,
        reconstructor: Reconstructor,
        smoother: HandSmoother | None,
    ) -> None:
        self.detector = detector
        self.tracker = tracker
        self.reconstructor = reconstructor
        self.smoother = smoother

    @property
    def hand_model(self) -> HandModel:
        """The right hand whose topology all published vertices have."""
        return self.reconstructor.hand_model

    def process(self, frame: Frame) -> Result:
        """Every hand of one frame; what the evidence doesn't fix is left out, never guessed."""
        stage_s: dict[str, float] = {}
        with _timed(stage_s, "detection"):
            detections = self.detector.detect(frame.image, frame.stamp_ns)
        with _timed(stage_s, "tracking"):
            tracks = self.tracker.update(detections, frame.stamp_ns)
        with _timed(stage_s, "reconstruction"):
            reconstructions = self.reconstructor.reconstruct(frame, tracks)
        with _timed(stage_s, "root"):
            hands = tuple(self._place(frame, tracks, reconstructions))
        with _timed(stage_s, "smoothing"):
            if self.smoother is not None:
                hands = self.smoother.update(hands, frame.stamp_ns)
        return Result(frame.stamp_ns, frame.frame_id, hands, tuple(detections), stage_s)

    def reset(self) -> None:
        """Forget everything about earlier frames."""
        self.detector.reset()
        self.tracker.reset()
        self.reconstructor.reset()
        if self.smoother is not None:
            self.smoother.reset()

    def close(self) -> None:
        """Free what the detector holds."""
        self.detector.close()

    def _place(
        self, frame: Frame, tracks: list[Track], reconstructions: list[Reconstruction | None]
    ) -> Iterator[Hand]:
        """Hands in the camera's frame, for the tracks whose root can be found."""
        for track, reconstruction in zip(tracks, reconstructions, strict=True):
            if reconstruction is None:
                continue
            detection = track.detection
            root = solve_root(
                reconstruction.keypoints_m,
                detection.keypoints_px,
                frame.camera,
                stddev_px=LANDMARK_STDDEV * float(np.ptp(detection.keypoints_px, axis=0).max()),
                keypoint_stddev_m=reconstruction.keypoint_stddev_m,
                initial_t=reconstruction.t_camera_wrist_guess,
            )
            if root is not None:
                yield self._hand(frame, track, reconstruction, root)

    def _hand(self, frame: Frame, track: Track, reconstruction: Reconstruction, root: Root) -> Hand:
        t = root.t_camera_wrist
        T_camera_wrist = np.eye(4)
        T_camera_wrist[:3, :3] = reconstruction.R_camera_hand
        T_camera_wrist[:3, 3] = t
        covariance = np.zeros((6, 6))
        # A hand a tenth larger is a tenth farther away: the image is the same.
        covariance[:3, :3] = root.covariance + reconstruction.size_stddev**2 * np.outer(t, t)
        covariance[3:, 3:] = reconstruction.rotation_covariance
        keypoints_m = reconstruction.keypoints_m + t
        limit = np.array([frame.camera.width, frame.camera.height] * 2, float)
        return Hand(
            track_id=track.track_id,
            side=track.side,
            side_score=track.side_score,
            score=track.detection.score,
            T_camera_wrist=T_camera_wrist,
            root_covariance=covariance,
            root_source=root.source,
            keypoints_m=keypoints_m,
            keypoints_px=track.detection.keypoints_px,
            vertices_m=reconstruction.vertices_m + t,
            pose=reconstruction.pose,
            shape=reconstruction.shape,
            box_px=np.clip(track.detection.box_px, 0.0, limit),
            grasp_aperture_m=grasp_aperture_m(keypoints_m),
            model=self.reconstructor.name,
            hand_model=self.hand_model.name,
            keypoint_stddev_m=reconstruction.keypoint_stddev_m,
            vertex_stddev_m=reconstruction.vertex_stddev_m,
            vertex_colors=reconstruction.vertex_colors,
        )


@contextmanager
def _timed(stage_s: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stage_s[stage] = time.perf_counter() - start
