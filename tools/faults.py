"""Makes one fault after the other around a running node, and prints what held.

Camera and node are the real programs, over DDS. Two hosts and a small disk are made by the kernel,
for which one has to be root; without that these faults are left out, by name.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # read when NumPy is imported
    os.environ.setdefault(threads, "1")
sys.path[:0] = [str(Path(__file__).parents[1] / "test"), str(Path(__file__).parent)]

import fault_processes  # noqa: E402
import fault_scenarios  # noqa: E402
import pytest  # noqa: E402
from fault_bench import Scene  # noqa: E402
from fault_scenarios import Shown  # noqa: E402
from reliability_page import table, write_section  # noqa: E402

LOSSES = (0.01, 0.05, 0.2)
HEAD = ("Fault", "What was injected", "What held", "Figures")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    args = parser.parse_args()
    rows, failed = [], 0
    for name, fault in _faults():
        try:
            shown = fault()
        except pytest.skip.Exception as error:
            rows.append((name, "not on this machine", "", str(error)))
        except Exception as error:
            failed += 1
            rows.append((name, "", f"**did not hold**: {' '.join(str(error).split())[:300]}", ""))
        else:
            rows.append((shown.fault, shown.injected, shown.held, shown.figures))
        print(" | ".join(rows[-1]), flush=True)
    if args.write:
        write_section("faults", table(HEAD, rows))
    return 1 if failed else 0


def _faults() -> Iterator[tuple[str, Callable[[], Shown]]]:
    """Name and maker of each; those that need no process of their own share one node."""
    with Scene() as scene:
        for share in LOSSES:
            yield f"{share:.0%} of images lost", lambda s=share: _lost(scene, s)
        for fault in (
            fault_scenarios.doubled_and_overtaken,
            fault_scenarios.clock_jumps,
            fault_scenarios.too_many_frames,
            fault_scenarios.stalled_subscriber,
        ):
            yield _name(fault), lambda f=fault: f(scene)
    for fault in (
        fault_processes.large_images,
        fault_processes.camera_killed,
        fault_processes.node_killed,
        fault_processes.network_down,
        fault_processes.lost_back_end,
    ):
        yield _name(fault), fault
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder) / "cache"
        yield _name(fault_processes.full_disk), lambda: fault_processes.full_disk(disk)


def _lost(scene: Scene, share: float) -> Shown:
    return fault_scenarios.lost_frames(scene, share, count=300)


def _name(fault: Callable[..., Shown]) -> str:
    return fault.__name__.replace("_", " ").capitalize()


if __name__ == "__main__":
    sys.exit(main())
