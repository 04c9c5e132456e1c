"""Which hand owns the frames of its side: TF has one left hand and one right hand."""

from __future__ import annotations

from collections.abc import Sequence

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.safety import MARKED_SCORE
from hand_mesh_ros.types import Hand


class NamedHands:
    """Gives each side's name to one hand, which keeps it for as long as it is seen.

    Of two hands of one side the best-scored gets the name. It is not asked again in every frame:
    two scores that take turns would throw the frame, and a robot behind it, to and fro. A hand that
    a safety gate marked gets none: a frame cannot say that it is not to be trusted.
    """

    def __init__(self) -> None:
        self._owner: dict[Side, int] = {}

    def update(self, hands: Sequence[Hand]) -> list[Hand]:
        """The owners among the hands of one frame, at most one of each side."""
        owners = []
        for side in Side:
            candidates = [h for h in hands if h.side is side and h.score > MARKED_SCORE]
            if not candidates:
                self._owner.pop(side, None)
                continue
            kept = self._owner.get(side)
            owner = max(candidates, key=lambda h: (h.track_id == kept, h.score, -h.track_id))
            self._owner[side] = owner.track_id
            owners.append(owner)
        return owners

    def reset(self) -> None:
        """Forget all owners."""
        self._owner.clear()
