"""Gives malformed inputs to one decoder and counts what comes of them.

An input is bytes, made of a seed and a number, so that each can be made again.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

_WARM_UP = 0.5
"""Share of the inputs after which memory counts."""
_MOST_KEPT = 20


@dataclass(frozen=True)
class FuzzTarget:
    """A decoder that meets the outside."""

    name: str
    refusals: tuple[type[Exception], ...]
    """What it may raise: its own errors, whose text is one line for the user."""
    seeds: Sequence[bytes]
    """Good inputs; what is sent is mostly a broken one of these."""
    decode: Callable[[bytes], object]
    """Takes an input as the program would, and uses what it gives."""
    make: Callable[[np.random.Generator], bytes] | None = None
    """Makes half of the inputs, where breaking bytes at random would seldom go deep."""
    share: float = 1.0
    """Of the inputs of a run, against the other decoders': slow ones get fewer."""

    def input(self, seed: int, number: int) -> bytes:
        """Input of that number."""
        rng = np.random.default_rng([seed, number])
        if self.make is not None and rng.random() < 0.5:
            return self.make(rng)
        return broken(self.seeds, rng)


@dataclass
class FuzzResult:
    """What became of the inputs of one decoder."""

    name: str
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    longest_s: float = 0.0
    growth_mb: float = 0.0
    """Memory after all inputs above that after the first half."""
    peak_mb: float = 0.0
    """The most memory above that, at any time."""
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    """Inputs with another outcome, and what it was; the first ones."""


def fuzz(
    target: FuzzTarget,
    count: int,
    *,
    seed: int = 0,
    at_number: Callable[[int], None] = lambda number: None,
) -> FuzzResult:
    """Give a decoder so many inputs; `at_number` is told the number before each."""
    result = FuzzResult(target.name)
    warm_mb, seen = 0.0, set()
    for number in range(count):
        at_number(number)
        data = target.input(seed, number)
        start_s = time.perf_counter()
        failure = outcome(target, data, result)
        result.longest_s = max(result.longest_s, time.perf_counter() - start_s)
        if failure is not None and failure.split("\n")[-1] not in seen:
            seen.add(failure.split("\n")[-1])
            if len(result.failures) < _MOST_KEPT:
                result.failures.append((data, failure))
        if number == round(_WARM_UP * count):
            warm_mb = memory_mb()
    result.inputs = count
    result.growth_mb = memory_mb() - warm_mb
    result.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3 - warm_mb
    return result


def outcome(target: FuzzTarget, data: bytes, result: FuzzResult) -> str | None:
    """Decode one input and count it; the value says what went wrong, None where nothing did."""
    try:
        target.decode(data)
    except target.refusals as error:
        result.refused += 1
        text = str(error)
        if not text.strip() or "\n" in text or len(text) > MOST_TEXT:
            return f"{type(error).__name__} is not one line of at most {MOST_TEXT} letters: {text}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        result.accepted += 1
    return None


MOST_TEXT = 1000
"""Letters of an error's line: more would fill the screen with the input."""


def memory_mb() -> float:
    """Memory of this process, without what only waits to be freed."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's own
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return psutil.Process().memory_info().rss / 1e6


_INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def broken(seeds: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One of the seeds after one to eight changes."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(1 + int(rng.geometric(0.4)) % 8):
        _break(data, seeds, rng)
    return bytes(data)


def _break(data: bytearray, seeds: Sequence[bytes], rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data) + 1))
    length = min(int(rng.geometric(0.1)), 200)
    match int(rng.integers(9)):
        case 0:  # flip a bit
            if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
        case 1:  # any bytes
            data[at : at + length] = rng.bytes(length)
        case 2:  # a number that breaks things
            value, size = _INTERESTING[rng.integers(len(_INTERESTING))], 1 << int(rng.integers(4))
            order = "little" if rng.random() < 0.7 else "big"
            if rng.random() < 0.5:
                at -= at % 4
            data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, order)
        case 3:
            del data[at : at + length]
        case 4:  # the same twice
            data[at:at] = data[at : at + length]
        case 5:  # cut off
            if rng.random() < 0.3:
                del data[at:]
        case 6:  # a part of another seed
            other = seeds[rng.integers(len(seeds))]
            start = int(rng.integers(len(other) + 1))
            data[at : at + length] = other[start : start + length]
        case 7:  # one byte more or less
            if at < len(data):
                data[at] = (data[at] + (1 if rng.random() < 0.5 else -1)) % 256
        case 8:  # two places swapped
            to = int(rng.integers(len(data) + 1))
            one, two = bytes(data[at : at + 4]), bytes(data[to : to + 4])
            data[at : at + 4], data[to : to + 4] = two, one
