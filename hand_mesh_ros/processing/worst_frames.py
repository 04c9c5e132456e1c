"""Keeps small pictures of the few worst frames of a recording."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from hand_mesh_ros.processing.outputs import Answer
from hand_mesh_ros.processing.statistics import reprojection_percent
from hand_mesh_ros.sources.base import NS_PER_S

NUM_KEPT = 6
_APART_NS = NS_PER_S // 2
"""Frames of one bad moment are one case."""
_WIDTH_PX = 320


@dataclass(frozen=True)
class WorstFrame:
    """A frame whose hand does not lie on its landmarks."""

    index: int
    stamp_ns: int
    reprojection_percent: float
    jpeg: bytes


class WorstFrames:
    """`add` every frame; `frames` are the worst so far, the worst first."""

    def __init__(self) -> None:
        self.frames: list[WorstFrame] = []

    def add(self, answer: Answer) -> None:
        """Look at the worst hand of one frame."""
        camera, stamp_ns = answer.frame.camera, answer.frame.stamp_ns
        shares = [reprojection_percent(hand, camera) for hand in answer.result.hands]
        if not shares:
            return
        share = max(shares)
        near = [f for f in self.frames if abs(f.stamp_ns - stamp_ns) < _APART_NS]
        rivals = near or self.frames[NUM_KEPT - 1 :]
        if any(f.reprojection_percent >= share for f in rivals):
            return
        kept = [f for f in self.frames if f not in near]
        kept.append(WorstFrame(answer.index, stamp_ns, share, _thumbnail(answer)))
        self.frames = sorted(kept, key=lambda f: -f.reprojection_percent)[:NUM_KEPT]


def _thumbnail(answer: Answer) -> bytes:
    picture = answer.overlay
    height = max(round(_WIDTH_PX * picture.shape[0] / picture.shape[1]), 1)
    small = cv2.resize(picture, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    return data.tobytes()
