"""The demo's live table."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from hand_mesh_ros.cli.demo_monitor import DemoMonitor, side_name


def table(monitor: DemoMonitor, note: str = "") -> Table:
    """Rate and latency, then a row for every hand that is seen now; the note stands below."""
    latency_ms = monitor.recent_latency_ms()
    timing = f"{monitor.rate_hz():5.1f} Hz"
    if latency_ms is not None:
        timing += f", {latency_ms:.0f} ms from image to hands"
    errors = monitor.recent_errors()
    caption = f"{note}\nCtrl-C ends it" if note else "Ctrl-C ends it"
    if errors:
        root = 1e3 * float(np.median([e.root_m for e in errors]))
        share = 100 * float(np.median([e.root_share for e in errors]))
        joints = 1e3 * float(np.median([e.pa_mpjpe_m for e in errors]))
        caption = (
            f"true error over a second: root {root:.0f} mm ({share:.1f}% of the distance), "
            f"keypoints {joints:.1f} mm (aligned)\n{caption}"
        )
    result = Table(title=f"/hand_meshes   {timing}", caption=caption, min_width=72)
    for heading in ("hand", "side", "score", "x m", "y m", "z m", "distance m", "grip mm"):
        result.add_column(heading, justify="right")
    hands = [] if monitor.latest is None else monitor.latest.hands
    for hand in hands:
        p = hand.root.pose.position
        result.add_row(
            str(hand.track_id),
            f"{side_name(hand)} {hand.side_score:.2f}",
            f"{hand.score:.2f}",
            *(f"{v:+.3f}" for v in (p.x, p.y, p.z)),
            f"{np.linalg.norm([p.x, p.y, p.z]):.3f}",
            f"{1e3 * hand.grasp_aperture:.0f}",
        )
    if not hands:
        waiting = "waiting for the node" if monitor.latest is None else "no hand in view"
        result.add_row("-", waiting, *[""] * 6)
    return result
