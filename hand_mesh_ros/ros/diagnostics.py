"""Counts and times of the node, and the diagnostic_msgs/DiagnosticArray made of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hand_mesh_ros.ros.messages import header
from hand_mesh_ros.ros.typestore import Typestore

DIAGNOSTIC_ARRAY = "diagnostic_msgs/msg/DiagnosticArray"
OK, WARN, ERROR = 0, 1, 2
_WINDOW = 300
"""Frames that percentiles are taken over: ten seconds at 30 Hz."""


class Diagnostics:
    """Collects from any thread; `message` reports, and starts the next period of the rate."""

    def __init__(
        self,
        node_name: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Start counting; `facts` (model, back-end) are part of every report."""
        self._node_name = node_name
        self._facts = dict(facts or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._received = self._processed = self._dropped = self._refused = self._failed = 0
        self._hands = 0
        self._last_refusal = self._last_held_back = ""
        self._held_back = 0
        self._camera = "none yet"
        self._received_s: float | None = None
        self._paused = ""
        self._stage_s: deque[Mapping[str, float]] = deque(maxlen=_WINDOW)
        self._latency_s: deque[float] = deque(maxlen=_WINDOW)
        self._reported_s = clock()
        self._reported = (0, 0, 0, 0, 0)
        """received, processed, refused, failed, held back at the last report."""

    def received(self) -> None:
        """An image arrived."""
        with self._lock:
            self._received += 1
            self._received_s = self._clock()

    def dropped(self) -> None:
        """An image was passed over: a newer one came first, or it was a duplicate."""
        with self._lock:
            self._dropped += 1

    def refused(self, reason: str) -> None:
        """An image could not be used, for that reason."""
        with self._lock:
            self._refused += 1
            self._last_refusal = reason

    def failed(self, reason: str) -> None:
        """The node itself failed on an image: counts as refused, and reports an error."""
        self.refused(reason)
        with self._lock:
            self._failed += 1

    def processed(
        self,
        *,
        hands: int,
        stage_s: Mapping[str, float],
        latency_s: float,
        safety_reasons: Sequence[str] = (),
    ) -> None:
        """An image went through.

        Args:
            hands: that were published.
            stage_s: seconds by stage.
            latency_s: from the image's arrival to its hands' sending.
            safety_reasons: one line for each hand that was held back or marked.
        """
        with self._lock:
            if safety_reasons:
                self._held_back += len(safety_reasons)
                self._last_held_back = safety_reasons[-1]
            self._processed += 1
            self._hands = hands
            self._stage_s.append(dict(stage_s))
            self._latency_s.append(latency_s)

    def back_end(self, text: str) -> None:
        """What computes at present: it may change when an engine fails."""
        with self._lock:
            self._facts["back-end"] = text

    def camera(self, text: str) -> None:
        """What the node knows about its camera."""
        with self._lock:
            self._camera = text

    def paused(self, reason: str) -> None:
        """The node does not work, for that reason; "": it does."""
        with self._lock:
            self._paused = reason

    def message(self, store: Typestore, stamp_ns: int) -> Any:
        """diagnostic_msgs/DiagnosticArray with one status; `stamp_ns` is the time of the report."""
        with self._lock:
            level, text, values = self._report()
        key_value = store.type("diagnostic_msgs/msg/KeyValue")
        status = store.type("diagnostic_msgs/msg/DiagnosticStatus")(
            level=level,
            name=f"{self._node_name}: hand tracking",
            message=text,
            hardware_id="",
            values=[key_value(key=key, value=value) for key, value in values.items()],
        )
        return store.type(DIAGNOSTIC_ARRAY)(header=header(store, stamp_ns, ""), status=[status])

    def _report(self) -> tuple[int, str, dict[str, str]]:
        now_s = self._clock()
        period_s = max(now_s - self._reported_s, 1e-9)
        counts = (
            *(self._received, self._processed, self._refused),
            *(self._failed, self._held_back),
        )
        received, processed, refused, failed, held_back = (
            new - old for new, old in zip(counts, self._reported, strict=True)
        )
        self._reported_s, self._reported = now_s, counts
        rate_hz = processed / period_s
        values = {
            "rate [Hz]": f"{rate_hz:.1f}",
            "hands": str(self._hands if processed else 0),
            "frames received": str(self._received),
            "frames processed": str(self._processed),
            "frames dropped": str(self._dropped),
            "frames refused": str(self._refused),
            "last refusal": self._last_refusal,
            "hands held back or marked": str(self._held_back),
            "last hand held back or marked": self._last_held_back,
            "camera": self._camera,
            **self._facts,
            **_percentiles("latency", list(self._latency_s)),
        }
        names = dict.fromkeys(name for times in self._stage_s for name in times)
        for name in names:
            values.update(_percentiles(name, [t[name] for t in self._stage_s if name in t]))
        if self._paused:
            return OK, self._paused, values
        if failed:
            return ERROR, f"failed on {failed} images: {self._last_refusal}", values
        if refused:
            return WARN, f"refused {refused} images: {self._last_refusal}", values
        if self._received_s is None:
            return WARN, "no image came; is the image topic remapped to the camera's?", values
        if not received:
            return WARN, f"no image for {now_s - self._received_s:.1f} s", values
        if held_back:
            return WARN, f"held back or marked {held_back} hands: {self._last_held_back}", values
        return OK, f"{rate_hz:.1f} Hz, {values['hands']} hands", values


def _percentiles(name: str, seconds: list[float]) -> dict[str, str]:
    """Median and 99th percentile, ms; nothing where there is nothing to report."""
    if not seconds:
        return {}
    p50_s, p99_s = np.percentile(seconds, [50, 99])
    return {f"{name} p50 [ms]": f"{p50_s * 1e3:.2f}", f"{name} p99 [ms]": f"{p99_s * 1e3:.2f}"}
