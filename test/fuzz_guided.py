"""Lets atheris look for inputs of a decoder that reach new lines of the package."""

from __future__ import annotations

import os
import shutil
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzz_run import FuzzResult, memory_mb, outcome


def guided(name: str, count: int, seed: int, number: Any, answer: Connection) -> None:
    """Run one decoder on so many inputs, send its FuzzResult, and end the process."""
    import atheris

    with atheris.instrument_imports(include=["hand_mesh_ros", "rosbags"]):
        from fuzz_settings import FOLDER
        from fuzz_targets import TARGETS

    (target,) = (t for t in TARGETS if t.name == name)
    result, warm_mb, seen = FuzzResult(f"{name}, guided"), [0.0], set()

    def one_input(data: bytes) -> None:
        number.value += 1
        start_s = time.perf_counter()
        failure = outcome(target, data, result)
        result.longest_s = max(result.longest_s, time.perf_counter() - start_s)
        result.inputs += 1
        if failure is not None and failure not in seen:
            seen.add(failure)
            result.failures.append((data, failure))
        if result.inputs == count // 10:
            warm_mb[0] = memory_mb()
        if result.inputs >= count:
            result.growth_mb = memory_mb() - warm_mb[0]
            answer.send(result)
            shutil.rmtree(FOLDER, ignore_errors=True)
            os._exit(0)  # atheris has no other end that gives control back

    corpus = Path(FOLDER) / "corpus"
    corpus.mkdir()
    for i, data in enumerate(target.seeds):
        (corpus / str(i)).write_bytes(data)
    atheris.Setup([sys.argv[0], f"-seed={seed + 1}", "-max_len=65536", str(corpus)], one_input)
    atheris.Fuzz()
