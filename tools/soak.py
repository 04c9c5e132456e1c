"""Sends a million frames through the node and prints what grew, slowed down or was mixed up.

Everything is the live node's but the detector, whose landmarks are those of two synthetic hands
that come and go, and the middleware, which is a graph inside the process. Frames come as fast as
they are published.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # read when NumPy is imported
    os.environ.setdefault(threads, "1")
sys.path[:0] = [str(Path(__file__).parents[1] / "test"), str(Path(__file__).parent)]

from reliability_page import table, write_section  # noqa: E402
from soak_run import SoakResult, soak  # noqa: E402
from tqdm import tqdm  # noqa: E402

MOST_GROWTH_MB = 20.0
MOST_SLOWER = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--max-minutes", type=float, default=float("inf"), metavar="MIN")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the figures into the docs")
    args = parser.parse_args()
    result = soak(
        args.frames,
        max_seconds=60.0 * args.max_minutes,
        seed=args.seed,
        progress=lambda numbers: tqdm(numbers, unit="frames", mininterval=10.0, smoothing=0.01),
    )
    text = table(("What", "Figure", "Bound"), _rows(result))
    print(text)
    if args.write:
        write_section("soak", text)
    first_ms, last_ms = result.cpu_p99_ms
    is_good = result.growth_mb < MOST_GROWTH_MB and last_ms <= (1.0 + MOST_SLOWER) * first_ms
    return 0 if is_good else 1


def _rows(result: SoakResult) -> list[tuple[str, str, str]]:
    def slower(name: str, p99_ms: tuple[float, float]) -> tuple[str, str, str]:
        change = p99_ms[1] / p99_ms[0] - 1.0
        figure = f"{p99_ms[0]:.2f} ms, then {p99_ms[1]:.2f} ms ({100 * change:+.1f}%)"
        return f"{name}, p99 of the first and of the last tenth", figure, f"{MOST_SLOWER:+.0%}"

    return [
        ("Frames", f"{result.frames:,} in {result.seconds / 60:.0f} min", ""),
        ("Hands published", f"{result.hands:,}, as {result.track_ids:,} track ids", ""),
        ("Ids used twice, hands mixed up, not finite, or not there", "0", "0"),
        (
            "Memory after the warm-up, and the most of it afterwards",
            f"{result.warm_rss_mb:.1f} MB, {result.highest_rss_mb:.1f} MB "
            f"({result.growth_mb:+.1f} MB)",
            f"{MOST_GROWTH_MB:+.0f} MB",
        ),
        slower("Time of a frame", result.wall_p99_ms),
        slower("Processor time of a frame", result.cpu_p99_ms),
    ]


if __name__ == "__main__":
    sys.exit(main())
