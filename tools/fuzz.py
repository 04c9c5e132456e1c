"""Gives a million malformed inputs to everything that reads from the outside, and prints a table.

Each decoder runs in a process of its own, so that a crash or a hang is seen, named by its input's
number, and ends nothing else. Inputs that were neither taken nor refused with the decoder's own
error are written to build/fuzz/. `--guided` lets atheris look for inputs that reach new lines.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # read when NumPy is imported
    os.environ.setdefault(threads, "1")
REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY / "test"), str(Path(__file__).parent)]

from fuzz_run import FuzzResult, fuzz  # noqa: E402
from reliability_page import table, write_section  # noqa: E402

FOUND = REPOSITORY / "build" / "fuzz"
HANG_S = 20.0
"""Without an answer to one input."""
MOST_GROWTH_MB, MOST_PEAK_MB = 20.0, 500.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="TEXT", help="decoders with that in the name")
    parser.add_argument(
        "--guided", type=int, default=0, metavar="N", help="inputs by atheris, each"
    )
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    args = parser.parse_args()
    from fuzz_targets import TARGETS

    chosen = [target for target in TARGETS if args.only in target.name]
    total = sum(target.share for target in chosen)
    results = []
    for target in chosen:
        count = args.guided or math.ceil(args.inputs * target.share / total)
        result = _in_own_process(target.name, count, args.seed, is_guided=bool(args.guided))
        print(" | ".join(_row(result)), flush=True)
        _keep(result)
        results.append(result)
    head = ("Decoder", "Inputs", "Refused", "Taken", "Longest", "Growth", "Peak", "Failures")
    text = table(head, [_row(result) for result in results])
    everything = sum(result.inputs for result in results)
    text += f"\n\n{everything:,} inputs in all, seed {args.seed}."
    print(text)
    if args.write:
        write_section("fuzz", text)
    return 1 if any(_is_bad(result) for result in results) else 0


def _in_own_process(name: str, count: int, seed: int, *, is_guided: bool) -> FuzzResult:
    context = multiprocessing.get_context("spawn")
    number = context.Value("q", -1, lock=False)
    ours, theirs = context.Pipe(duplex=False)
    body = _guided if is_guided else _mutated
    process = context.Process(target=body, args=(name, count, seed, number, theirs), daemon=True)
    process.start()
    theirs.close()
    last, since_s = -1, time.monotonic()
    while not ours.poll(0.5):
        if number.value != last:
            last, since_s = number.value, time.monotonic()
        elif time.monotonic() - since_s > HANG_S and last >= 0:
            process.kill()
            break
    try:
        result: FuzzResult = ours.recv()
    except EOFError:
        process.join()
        what = "hang" if process.exitcode == -9 else f"crash (exit code {process.exitcode})"
        result = FuzzResult(name, inputs=number.value + 1)
        result.failures.append((_input(name, seed, number.value), what))
    process.join()
    return result


def _input(name: str, seed: int, number: int) -> bytes:
    from fuzz_targets import TARGETS

    (target,) = (t for t in TARGETS if t.name == name)
    return target.input(seed, max(number, 0))


def _quiet() -> None:
    """Libraries write their own complaints about bad input straight to the terminal."""
    import logging

    logging.disable(logging.WARNING)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _mutated(name: str, count: int, seed: int, number: Any, answer: Any) -> None:
    _quiet()
    from fuzz_targets import TARGETS

    (target,) = (t for t in TARGETS if t.name == name)

    def at_number(n: int) -> None:
        number.value = n

    answer.send(fuzz(target, count, seed=seed, at_number=at_number))


def _guided(name: str, count: int, seed: int, number: Any, answer: Any) -> None:
    _quiet()
    from fuzz_guided import guided

    guided(name, count, seed, number, answer)


def _row(result: FuzzResult) -> tuple[str, ...]:
    return (
        result.name,
        f"{result.inputs:,}",
        f"{result.refused:,}",
        f"{result.accepted:,}",
        f"{1e3 * result.longest_s:.0f} ms",
        f"{result.growth_mb:+.1f} MB",
        f"{result.peak_mb:+.0f} MB",
        str(len(result.failures)),
    )


def _is_bad(result: FuzzResult) -> bool:
    is_large = result.growth_mb > MOST_GROWTH_MB or result.peak_mb > MOST_PEAK_MB
    return bool(result.failures) or is_large


def _keep(result: FuzzResult) -> None:
    for data, failure in result.failures:
        FOUND.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(data).hexdigest()[:8]
        path = FOUND / f"{result.name.replace(' ', '_').replace('/', '_')}-{digest}.bin"
        path.write_bytes(data)
        print(f"  {path.name}: {failure.splitlines()[-1][:200]}")


if __name__ == "__main__":
    sys.exit(main())
