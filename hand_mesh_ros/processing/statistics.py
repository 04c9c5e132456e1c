"""What a summary tells of a recording: rates, distances, gaps, jitter."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.types import Hand, Result


@dataclass(frozen=True)
class Gap:
    """A time without any hand."""

    start_s: float
    """From the first frame."""
    duration_s: float


@dataclass(frozen=True)
class Stretch:
    """One hand for as long as it was seen in every frame."""

    side: Side
    track_id: int
    time_s: np.ndarray
    """(N,) from the first frame."""
    position_m: np.ndarray
    """(N, 3) of the wrist, camera frame."""

    @property
    def distance_m(self) -> np.ndarray:
        """(N,) of the wrist from the camera."""
        return np.linalg.norm(self.position_m, axis=1)


class Statistics:
    """Gathers a few numbers a frame; the rest is computed when the recording is over."""

    def __init__(self) -> None:
        self._stamp_ns = array("q")
        self._num_hands = array("B")
        self._hand_frame = array("q")
        self._hand_track = array("q")
        self._hand_side = array("B")
        self._position_m = array("d")

    def add(self, result: Result) -> None:
        """Take the hands of the next frame."""
        for hand in result.hands:
            self._hand_frame.append(len(self._stamp_ns))
            self._hand_track.append(hand.track_id)
            self._hand_side.append(hand.side)
            self._position_m.extend(hand.T_camera_wrist[:3, 3])
        self._stamp_ns.append(result.stamp_ns)
        self._num_hands.append(len(result.hands))

    @property
    def num_frames(self) -> int:
        """Processed frames."""
        return len(self._stamp_ns)

    @property
    def num_frames_with_hand(self) -> int:
        """Of them, those with at least one hand."""
        return int(np.count_nonzero(self._num_hands))

    @property
    def time_s(self) -> np.ndarray:
        """(N,) of each frame, from the first one on."""
        stamps_ns = np.array(self._stamp_ns, np.int64)
        return 1e-9 * (stamps_ns - stamps_ns[0]) if stamps_ns.size else np.zeros(0)

    @property
    def periods_s(self) -> np.ndarray:
        """(N - 1,) between frames; steps back in time are left out."""
        periods_s = np.diff(self.time_s)
        return periods_s[periods_s > 0.0]

    def gaps(self) -> list[Gap]:
        """Times without hands, the longest first; one at the end lasts until the last frame."""
        time_s, seen = self.time_s, np.array(self._num_hands) > 0
        edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]]).astype(int)))
        found = []
        for start, end in edges.reshape(-1, 2):
            until_s = time_s[min(end, len(time_s) - 1)]
            found.append(Gap(float(time_s[start]), float(until_s - time_s[start])))
        return sorted(found, key=lambda gap: -gap.duration_s)

    def stretches(self) -> list[Stretch]:
        """Every hand's path, cut where it was not seen."""
        frame, time_s = np.array(self._hand_frame, np.int64), self.time_s
        track, side = np.array(self._hand_track, np.int64), np.array(self._hand_side)
        position_m = np.array(self._position_m).reshape(-1, 3)
        rows_of: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for row, key in enumerate(zip(track.tolist(), side.tolist(), strict=True)):
            rows_of[key].append(row)
        stretches = []
        for (track_id, of_side), listed in rows_of.items():
            rows = np.array(listed)
            for part in np.split(rows, np.flatnonzero(np.diff(frame[rows]) != 1) + 1):
                path = Stretch(Side(of_side), track_id, time_s[frame[part]], position_m[part])
                stretches.append(path)
        return stretches

    def jitter_mm(self) -> np.ndarray:
        """Of each wrist position, how far it lies from the middle of the ones before and after."""
        parts = [
            np.linalg.norm(p[1:-1] - 0.5 * (p[:-2] + p[2:]), axis=1)
            for p in (stretch.position_m for stretch in self.stretches())
            if len(p) > 2
        ]
        return 1e3 * np.concatenate(parts) if parts else np.zeros(0)


def reprojection_percent(hand: Hand, camera: Camera) -> float:
    """How far the hand's keypoints lie from its landmarks (median), in percent of their box."""
    seen_px = camera.project(hand.keypoints_m)
    size_px = float(np.ptp(hand.keypoints_px, axis=0).max())
    error_px = np.linalg.norm(seen_px - hand.keypoints_px, axis=1)
    share = 100.0 * float(np.median(np.nan_to_num(error_px, nan=size_px))) / max(size_px, 1.0)
    return share
