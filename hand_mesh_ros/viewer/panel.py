"""The side panel: what the user chooses, and what is known about the hands and the node."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.viewer.hand_drawing import Look
from hand_mesh_ros.viewer.palette import UNCERTAIN_M
from hand_mesh_ros.viewer.snapshot import SeenHand, Snapshot

if TYPE_CHECKING:
    import viser

_CLOCKS_DIFFER_MS = 60_000.0
"""An image this much older or newer than now has a stamp of another clock."""
_SIDES = {
    "both": (Side.LEFT, Side.RIGHT),
    "left": (Side.LEFT,),
    "right": (Side.RIGHT,),
}
_ROOT_SOURCES = {
    RootSource.REPROJECTION: "",
    RootSource.DEPTH: "by depth image",
    RootSource.ASSUMED_CAMERA: "a guess: the camera is not calibrated",
}


@dataclass(frozen=True)
class Choices:
    """What the user has chosen."""

    sides: Collection[Side]
    look: Look
    labels: bool
    camera: bool
    """Whether the camera and its image are shown."""
    paused: bool
    follow: bool
    """Whether the first hand is kept in the middle."""


@dataclass(frozen=True)
class Status:
    """What is known about where the hands come from; None and "" where it is not."""

    source: str
    """What is looked at, in words."""
    rate_hz: float | None = None
    latency_ms: float | None = None
    """Median of the node's own, image in to hands out."""
    arrival_ms: float | None = None
    """Median from the image's stamp to the arrival of its hands here."""
    model: str = ""
    back_end: str = ""
    notes: tuple[str, ...] = ()
    """What the user should know, one line each."""


class Panel:
    """Makes the controls; read them with `choices`, write with `tell`."""

    def __init__(self, gui: viser.GuiApi, *, title: str, timeline_s: float | None = None) -> None:
        """Make the controls; `timeline_s` is the length of a recording, None for what is live."""
        gui.set_panel_label(title)
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self._status = gui.add_markdown("")
        self._slider: viser.GuiSliderHandle[float] | None = None
        if timeline_s is not None:
            self._slider = gui.add_slider("time s", 0.0, max(timeline_s, 0.001), 0.001, 0.0)
        self._shown_s = 0.0
        self._paused = gui.add_checkbox("pause", False)
        self._follow = gui.add_checkbox("follow", False, hint="keep the first hand in the middle")
        with gui.add_folder("hands"):
            self._sides = gui.add_dropdown("side", tuple(_SIDES))
            self._opacity = gui.add_slider("opacity", 0.1, 1.0, 0.05, 0.8)
            self._colours = gui.add_dropdown(
                "colours",
                ("side", "uncertainty", "texture"),
                hint=f"uncertainty: blue is 0 mm, yellow {1e3 * UNCERTAIN_M:.0f} mm or more",
            )
            self._mesh = gui.add_checkbox("mesh", True)
            self._skeleton = gui.add_checkbox("skeleton", True)
            self._frames = gui.add_checkbox("root and grasp frame", True)
            self._trail = gui.add_checkbox("trail", True)
            self._labels = gui.add_checkbox("labels", True)
            self._camera = gui.add_checkbox("camera", True)

    def choices(self) -> Choices:
        """What is chosen now."""
        return Choices(
            sides=_SIDES[self._sides.value],
            look=Look(
                opacity=float(self._opacity.value),
                colours=self._colours.value,
                mesh=self._mesh.value,
                skeleton=self._skeleton.value,
                frames=self._frames.value,
                trail=self._trail.value,
            ),
            labels=self._labels.value,
            camera=self._camera.value,
            paused=self._paused.value,
            follow=self._follow.value,
        )

    def sought_s(self) -> float | None:
        """Time that the user has moved the slider to; None: it was left alone."""
        return None if self._slider is None or not self._is_moved else float(self._slider.value)

    def show_time(self, time_s: float) -> None:
        """Move the slider."""
        if self._slider is not None:
            self._slider.value = round(time_s, 3)
            self._shown_s = float(self._slider.value)

    @property
    def _is_moved(self) -> bool:
        """Whether the slider is elsewhere than `show_time` put it."""
        return self._slider is not None and abs(self._slider.value - self._shown_s) > 1e-6

    def tell(self, status: Status, snapshot: Snapshot | None) -> None:
        """Write what is known."""
        self._status.content = status_text(status, snapshot)


def status_text(status: Status, snapshot: Snapshot | None) -> str:
    """Markdown of the side panel; what is not known is left out."""
    rows = [f"**{status.source}**", ""]
    rows += [f"- {text}" for text in _timing(status)]
    hands = () if snapshot is None else snapshot.hands
    rows += [f"- {hand_text(hand)}" for hand in hands]
    if snapshot is not None and not hands:
        rows.append("- no hand in view")
    rows += [f"- {note}" for note in status.notes]
    return "\n".join(rows)


def hand_text(hand: SeenHand) -> str:
    """Side, distance and grip of a hand in words."""
    distance = f"{hand.distance_m:.3f} m"
    if hand.root_stddev_m > 0.0 and np.isfinite(hand.root_stddev_m):
        distance += f" (+- {1e3 * hand.root_stddev_m:.0f} mm)"
    words = [
        f"**{hand.side.name.lower()} {hand.track_id}**: {distance}",
        f"grip {1e3 * hand.grasp_aperture_m:.0f} mm",
        _ROOT_SOURCES[hand.root_source],
    ]
    return ", ".join(word for word in words if word)


def _timing(status: Status) -> list[str]:
    lines = []
    if status.rate_hz is not None:
        lines.append(f"rate {status.rate_hz:.1f} Hz")
    latency = []
    if status.latency_ms is not None:
        latency.append(f"{status.latency_ms:.0f} ms in the node")
    if status.arrival_ms is not None and abs(status.arrival_ms) < _CLOCKS_DIFFER_MS:
        latency.append(f"{status.arrival_ms:.0f} ms from image to here")
    elif status.arrival_ms is not None:
        latency.append("image to here unknown: its stamps are of another clock")
    if latency:
        lines.append("latency " + ", ".join(latency))
    if status.model:
        lines.append(f"model {status.model}" + (f" on {status.back_end}" * bool(status.back_end)))
    return lines
