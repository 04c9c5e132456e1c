"""The whole pipeline, timed: frame after frame, and on a camera that does not wait."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hand_mesh_ros.cli.bench import WARM_UP_FRAMES, spread_ms, stage_text
from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.types import Frame, Result

MOST_CLIP_FRAMES = 90
"""Rendered before the clock runs, then shown forwards and backwards."""


def pipeline_report(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Times of the pipeline and its stages with a frame ready whenever it is."""
    from tqdm import tqdm  # not where only ROS's own Python packages are

    pipeline, clip = _pipeline(args), _clip(args)
    tally = _Tally()
    for index in tqdm(range(args.frames + WARM_UP_FRAMES), unit="frame", leave=False):
        stamp_ns = int(1e9 * (index + 1) / 30.0)
        result = pipeline.process(replace(next(clip), stamp_ns=stamp_ns))
        if index >= WARM_UP_FRAMES:
            tally.add(result, sum(result.stage_s.values()))
    pipeline.close()
    entry = _entry(args, pipeline, tally)
    entry["fps"] = round(1.0 / float(np.median(tally.total_s)), 1)
    report = {"results": [entry]}
    return report, stage_text(report["results"])


def rates_report(args: argparse.Namespace, rates_hz: list[float]) -> tuple[dict[str, Any], str]:
    """Rate and latency at fixed rates of the camera; only the newest image is ever waiting."""
    if args.frames < 2:
        raise UsageError(f"--frames is {args.frames}, a rate needs 2 or more")
    results = []
    for rate_hz in rates_hz:
        pipeline, arrivals = _pipeline(args), _arrivals(_clip(args), rate_hz)
        for frame, _, _ in itertools.islice(arrivals, WARM_UP_FRAMES):
            pipeline.process(frame)
        tally, numbers, done_s = _Tally(), [], []
        for frame, arrival_s, number in itertools.islice(arrivals, args.frames):
            result = pipeline.process(frame)
            done_s.append(time.perf_counter())
            numbers.append(number)
            tally.add(result, done_s[-1] - arrival_s)
        pipeline.close()
        output_hz = round((args.frames - 1) / (done_s[-1] - done_s[0]), 2)
        skipped = 1.0 - (args.frames - 1) / (numbers[-1] - numbers[0])
        rates = {"input_hz": rate_hz, "output_hz": output_hz, "skipped": round(skipped, 4)}
        results.append(_entry(args, pipeline, tally) | rates | {"fps": output_hz})
    return {"results": results}, stage_text(results)


@dataclass(eq=False)
class _Tally:
    """What the frames of one measurement took."""

    total_s: list[float] = field(default_factory=list)
    stage_s: dict[str, list[float]] = field(default_factory=dict)
    num_hands: int = 0

    def add(self, result: Result, total_s: float) -> None:
        self.total_s.append(total_s)
        self.num_hands += len(result.hands)
        for name, time_s in result.stage_s.items():
            self.stage_s.setdefault(name, []).append(time_s)


def _entry(args: argparse.Namespace, pipeline: Pipeline, tally: _Tally) -> dict[str, Any]:
    return {
        "model": pipeline.reconstructor.name,
        "backend": pipeline.back_end,
        "batch": 1,
        "width": args.width,
        "height": args.height,
        "hands": round(tally.num_hands / len(tally.total_s), 2),
        "frames": len(tally.total_s),
        **{f"ms_{name}": value for name, value in spread_ms(tally.total_s).items()},
        "stage_ms": {name: spread_ms(times) for name, times in tally.stage_s.items()},
    }


def _pipeline(args: argparse.Namespace) -> Pipeline:
    from hand_mesh_ros.assembly import build_pipeline
    from hand_mesh_ros.ros.parameters import NodeParameters

    try:
        parameters = NodeParameters(
            model=args.pipeline,
            max_hands=args.hands,
            backend=args.backends or "auto",
            precision=args.precision,
            device=args.device,
            engine_cache_dir=str(args.cache_dir or ""),
        )
        return build_pipeline(parameters)
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error


def _clip(args: argparse.Namespace) -> Iterator[Frame]:
    """Endless frames of a moving hand, without jumps."""
    from hand_mesh_ros.sources.base import SourceError
    from hand_mesh_ros.sources.synthetic import SyntheticCamera

    try:
        camera = SyntheticCamera(args.width, args.height, hands=args.hands)
    except (SourceError, ValueError) as error:
        raise UsageError(str(error)) from error
    count = min(MOST_CLIP_FRAMES, args.frames + WARM_UP_FRAMES)
    render = camera.with_depth if args.depth else lambda i: camera.frame_at(i).frame
    frames = [render(index) for index in range(count)]
    return itertools.cycle([*frames, *frames[-2:0:-1]])


def _arrivals(clip: Iterator[Frame], rate_hz: float) -> Iterator[tuple[Frame, float, int]]:
    """The newest frame whenever one is asked for, when it arrived, and its number; endless.

    Waits for the next one where the newest has been seen. Frames that came and went in the
    meantime are skipped, as a queue of one does.
    """
    started_s, seen = time.perf_counter(), -1
    while True:
        newest = int((time.perf_counter() - started_s) * rate_hz)
        if newest <= seen:
            newest = seen + 1
            time.sleep(max(0.0, started_s + newest / rate_hz - time.perf_counter()))
        frame = next(itertools.islice(clip, newest - seen - 1, None))
        stamp_ns = int(1e9 * (newest + 1) / rate_hz)
        yield replace(frame, stamp_ns=stamp_ns), started_s + newest / rate_hz, newest
        seen = newest
