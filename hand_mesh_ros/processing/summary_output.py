"""`summary.html`: one page about a recording that needs nothing but itself."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.processing.outputs import Answer, RecordingInfo
from hand_mesh_ros.processing.statistics import Gap, Statistics
from hand_mesh_ros.processing.svg_charts import Bar, Line, bar_chart, line_chart
from hand_mesh_ros.processing.worst_frames import WorstFrame, WorstFrames
from hand_mesh_ros.viewer.palette import SIDE_RGB

_COLORS = {side: "#{:02x}{:02x}{:02x}".format(*rgb) for side, rgb in SIDE_RGB.items()}
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}svg{width:100%;height:auto}
svg text{font-size:12px;fill:#444}table{border-collapse:collapse}
td,th{padding:.2em .9em .2em 0;text-align:left;vertical-align:top}
figure{display:inline-block;margin:0 1em 1em 0;width:290px}
figure img{width:100%}figcaption{font-size:.85em;color:#555}
"""


class SummaryOutput:
    """Gathers numbers while the recording runs, and writes the page at its end."""

    def __init__(self, path: Path, info: RecordingInfo) -> None:
        self._path, self._info = path, info
        self._statistics = Statistics()
        self._worst = WorstFrames()
        self._camera = ""

    def add(self, answer: Answer) -> None:
        """Take one frame's numbers."""
        self._statistics.add(answer.result)
        self._worst.add(answer)
        camera = answer.frame.camera
        kind = "assumed, so distances are a guess" if camera.assumed else "calibrated"
        self._camera = (
            f"{camera.width} x {camera.height} px, focal length {camera.K[0, 0]:.1f} px, {kind}"
        )

    def finish(self) -> None:
        """Write the page."""
        page = summary_page(self._info.title, self._camera, self._statistics, self._worst.frames)
        self._path.write_text(page, encoding="utf-8")

    def close(self) -> None:
        """Nothing to let go of."""


def summary_page(title: str, camera: str, statistics: Statistics, worst: list[WorstFrame]) -> str:
    """The page as text; every chart and picture is inside."""
    time_s = statistics.time_s
    x_end = float(max(time_s.max(initial=0.0), 1e-3))
    stretches = statistics.stretches()
    lines = [Line(s.time_s, s.distance_m, _COLORS[s.side]) for s in stretches]
    bars = [
        Bar(s.side.name.lower(), float(s.time_s[0]), float(s.time_s[-1]), _COLORS[s.side])
        for s in stretches
    ]
    labels = [side.name.lower() for side in Side]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _table(_facts(camera, statistics)),
        "<h2>Distance of the wrist from the camera</h2>",
        line_chart(lines, x_end=x_end, y_name="m") if lines else "<p>No hand was seen.</p>",
        "<h2>When a hand was seen</h2>",
        bar_chart(bars, x_end=x_end, labels=labels),
        _gaps(statistics.gaps()),
        "<h2>Worst frames</h2>",
        "<p>By the median distance of the hand's keypoints from the detected landmarks, in percent "
        "of the hand's size in the image; frames half a second apart.</p>",
        *[_figure(frame, title) for frame in worst],
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _facts(camera: str, statistics: Statistics) -> dict[str, str]:
    num_frames, with_hand = statistics.num_frames, statistics.num_frames_with_hand
    periods_s, jitter_mm = statistics.periods_s, statistics.jitter_mm()
    stretches = statistics.stretches()
    facts = {
        "camera": camera,
        "frames": f"{num_frames}, of which {with_hand} ({with_hand / max(num_frames, 1):.1%}) "
        "show a hand",
    }
    if periods_s.size:
        facts["rate"] = (
            f"{1.0 / np.median(periods_s):.2f} frames/s (median), longest pause "
            f"{periods_s.max():.3f} s"
        )
    for side in Side:
        of_side = [s.distance_m for s in stretches if s.side is side]
        if of_side:
            near, middle, far = np.percentile(np.concatenate(of_side), (5, 50, 95))
            facts[f"{side.name.lower()} hand"] = (
                f"{len(np.concatenate(of_side))} frames, {middle:.3f} m away "
                f"(5 to 95 %: {near:.3f} to {far:.3f} m), "
                f"{len({s.track_id for s in stretches if s.side is side})} track(s)"
            )
    if jitter_mm.size:
        median, high = np.percentile(jitter_mm, (50, 95))
        facts["jitter of the wrist"] = (
            f"{median:.2f} mm median, {high:.2f} mm at 95 % "
            "(distance from the middle of the positions before and after)"
        )
    return facts


def _table(facts: dict[str, str]) -> str:
    rows = (
        f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items()
    )
    return f"<table>{''.join(rows)}</table>"


def _gaps(gaps: list[Gap]) -> str:
    if not gaps:
        return "<p>No frame is without a hand.</p>"
    longest = ", ".join(f"{g.duration_s:.2f} s at {g.start_s:.2f} s" for g in gaps[:8])
    return f"<p>{len(gaps)} gap(s) without any hand, the longest: {longest}.</p>"


def _figure(frame: WorstFrame, title: str) -> str:
    data = base64.b64encode(frame.jpeg).decode()
    caption = (
        f"frame {frame.index}, stamp {frame.stamp_ns * 1e-9:.3f} s: "
        f"{frame.reprojection_percent:.1f} %"
    )
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{html.escape(title)}, '
        f'frame {frame.index}"><figcaption>{caption}</figcaption></figure>'
    )
