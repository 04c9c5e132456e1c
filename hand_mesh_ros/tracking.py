"""Identities that last: which detection is which hand of the last image, and which side it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.detection.duplicates import drop_duplicates, hand_size_px
from hand_mesh_ros.types import Detection, Track

GATE_SIZES = 0.5
"""How far a hand may be from where it is expected, in hand sizes, even after no time at all..."""
GATE_SIZES_PER_S = 3.0
"""...and how much further for each second since it was seen..."""
MAX_GATE_SIZES = 1.2
"""...but never more than this."""
WRONG_SIDE_COST_SIZES = 0.3
"""What a contradicting side adds to a pair's cost: it decides between two hands that meet."""
NEW_HAND_COST_SIZES = MAX_GATE_SIZES + WRONG_SIDE_COST_SIZES
"""Cost of leaving a detection unpaired: more than any pair, less than two bad ones."""
MAX_PREDICTION_S = 0.15
"""A lost hand is not expected to fly on for longer than this."""

MAX_EVIDENCE = 5.0
"""Log-odds beyond which votes for a side add nothing: so a wrong side is mended in 7 images."""
FLIP_EVIDENCE = 1.0
"""Log-odds against the published side that it takes to change it."""
MAX_VOTE = 1.0


class Tracker:
    """Gives detections track ids; ids are never reused, also not after `reset`."""

    def __init__(self, max_gap_s: float = 0.5) -> None:
        """Keep a lost hand's id for `max_gap_s` seconds of image time."""
        if not max_gap_s >= 0.0:
            raise ValueError(f"max_gap_s is {max_gap_s}; expected 0 or more seconds")
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._next_id = 1
        self.reset()

    def reset(self) -> None:
        """Forget all hands: the next ones are new."""
        self._tracks: list[_TrackedHand] = []
        self._last_ns: int | None = None

    def update(self, detections: list[Detection], stamp_ns: int) -> list[Track]:
        """Name the hands of one image.

        Args:
            detections: of this image, duplicates allowed.
            stamp_ns: the image's time; if it goes backwards, all hands are new.

        Returns:
            The hands seen in this image, by ascending id, each with the side of its whole life.
        """
        if self._last_ns is not None and stamp_ns < self._last_ns:
            self.reset()
        self._last_ns = stamp_ns
        self._tracks = [t for t in self._tracks if stamp_ns - t.seen_ns <= self._max_gap_ns]

        detections = drop_duplicates(detections)
        cost = np.array(
            [[track.cost(d, stamp_ns) for track in self._tracks] for d in detections]
        ).reshape(len(detections), len(self._tracks))
        seen = []
        for detection, chosen in zip(
            detections, cheapest_pairs(cost, NEW_HAND_COST_SIZES), strict=True
        ):
            is_new = chosen is None
            if chosen is None:
                track = _TrackedHand(self._next_id, detection, stamp_ns)
                self._next_id += 1
                self._tracks.append(track)
            else:
                track = self._tracks[chosen]
                track.see(detection, stamp_ns)
            seen.append(
                Track(
                    track_id=track.track_id,
                    detection=detection,
                    side=track.side,
                    side_score=track.side_score,
                    is_new=is_new,
                )
            )
        return sorted(seen, key=lambda t: t.track_id)


@dataclass
class _TrackedHand:
    """What is remembered of one hand."""

    track_id: int
    detection: Detection
    seen_ns: int

    def __post_init__(self) -> None:
        self.velocity_px_s = np.zeros(2)
        self.side = self.detection.side
        self._evidence = _log_odds(self.detection)  # for the right hand

    @property
    def side_score(self) -> float:
        """Probability of `side`, 0.5 to 1."""
        return max(0.5, 1.0 / (1.0 + math.exp(-self._evidence * _sign(self.side))))

    def cost(self, detection: Detection, stamp_ns: int) -> float:
        """Distance from where this hand is expected, in sizes; infinite if it cannot be it."""
        gap_s = (stamp_ns - self.seen_ns) * 1e-9
        size_px = max(hand_size_px(self.detection), hand_size_px(detection))
        expected_px = self.detection.keypoints_px + self.velocity_px_s * min(
            gap_s, MAX_PREDICTION_S
        )
        off_px = detection.keypoints_px - expected_px  # (21, 2)
        distance_px = float(np.hypot(off_px[:, 0], off_px[:, 1]).sum()) / len(off_px)
        distance = distance_px / size_px
        if distance > min(GATE_SIZES + GATE_SIZES_PER_S * gap_s, MAX_GATE_SIZES):
            return math.inf
        # A side that is little more than a guess contradicts little.
        contradiction = 2.0 * detection.side_score - 1.0 if detection.side is not self.side else 0.0
        return distance + WRONG_SIDE_COST_SIZES * contradiction

    def see(self, detection: Detection, stamp_ns: int) -> None:
        """Take a detection of this hand in."""
        gap_s = (stamp_ns - self.seen_ns) * 1e-9
        if gap_s > 0.0:
            moved_px = (detection.keypoints_px - self.detection.keypoints_px).sum(axis=0)
            moved_px = moved_px / len(detection.keypoints_px)
            self.velocity_px_s = 0.5 * self.velocity_px_s + 0.5 * moved_px / gap_s
        self.detection, self.seen_ns = detection, stamp_ns
        # Images of one hand are alike, and so are their errors: each is a quarter of a witness.
        vote = min(max(0.25 * _log_odds(detection), -MAX_VOTE), MAX_VOTE)
        self._evidence = min(max(self._evidence + vote, -MAX_EVIDENCE), MAX_EVIDENCE)
        if self._evidence * _sign(self.side) < -FLIP_EVIDENCE:
            self.side = self.side.opposite


def cheapest_pairs(cost: np.ndarray, unpaired_cost: float) -> list[int | None]:
    """For each row the column it is paired with, or None, such that all of it costs least.

    Args:
        cost: (rows, columns), infinite where a pair is impossible; a handful of each.
        unpaired_cost: of a row without a column.
    """
    rows, columns = cost.shape
    of_pair = cost.tolist()

    @cache
    def best(row: int, taken: int) -> tuple[float, list[int | None]]:
        """Cost and choices from `row` on, given a bit mask of the columns in use."""
        if row == rows:
            return 0.0, []
        free = [c for c in range(columns) if not taken >> c & 1 and math.isfinite(of_pair[row][c])]
        options: list[tuple[float, list[int | None]]] = []
        for column in (None, *free):
            own = unpaired_cost if column is None else of_pair[row][column]
            rest, choices = best(row + 1, taken if column is None else taken | 1 << column)
            options.append((own + rest, [column, *choices]))
        return min(options, key=lambda option: option[0])

    return best(0, 0)[1]


def _sign(side: Side) -> float:
    return 1.0 if side is Side.RIGHT else -1.0


def _log_odds(detection: Detection) -> float:
    """Evidence for the right hand; scores above 0.99 are not believed."""
    p = min(max(detection.side_score, 0.5), 0.99)
    return _sign(detection.side) * math.log(p / (1.0 - p))
