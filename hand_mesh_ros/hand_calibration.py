"""A person's hands, measured once: shape and size fixed over many frames, kept in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.hand_models.hand_model import NUM_SHAPE, HandModel
from hand_mesh_ros.one_line import OneLineError
from hand_mesh_ros.plain_yaml import PlainYamlError, read_yaml
from hand_mesh_ros.types import Hand

MIN_FRAMES = 10
SHORTEST_M, LONGEST_M = 0.08, 0.3
"""Of a hand, wrist to middle fingertip; anything else in a file is a mistake."""

_LIKENESS = 10.0
"""Frames of one hand err alike (the same pose, the same detector): so many count as one."""
_LEAST_LENGTH_STDDEV = 0.025
"""Relative, by depth, of two seconds of a moving hand: neighbouring poses err alike. Measured on
the synthetic camera: 2.7% rms over twenty such stretches of six hands."""
_CAUCHY = 2.5
_ROUNDS = 8


class CalibrationError(OneLineError, ValueError):
    """Too few frames, or a file that holds no calibration; the text says why in one line."""


@dataclass(frozen=True, eq=False)
class HandCalibration:
    """One hand's shape and size."""

    side: Side
    hand_model: str
    """Whose shape coefficients these are."""
    shape: np.ndarray
    """(10,)"""
    hand_length_m: float
    """Wrist joint to middle fingertip of the flat hand; what `shape` says."""
    hand_length_stddev_m: float
    frames: int
    """How many were averaged."""
    by_depth: bool
    """Whether a depth image fixed the size; otherwise it is as usual as the fit believed."""

    @property
    def size_stddev(self) -> float:
        """Expected error of the size, as a share of it."""
        return self.hand_length_stddev_m / self.hand_length_m


class HandCalibrator:
    """Collects hands frame by frame; `update` with unsmoothed ones, then `result`.

    Where at least half of a side's frames were placed by depth, only those count: their shapes have
    the size that depth showed (`depth_root`).
    """

    def __init__(self, model: HandModel, frames: int = 60) -> None:
        """Average `frames` frames of each visible hand of a model."""
        if frames < MIN_FRAMES:
            raise CalibrationError(f"frames is {frames}, expected {MIN_FRAMES} or more")
        self.frames = frames
        self._model = model
        self._seen: dict[Side, list[Hand]] = {side: [] for side in Side}

    def update(self, hands: Iterable[Hand]) -> None:
        """Take the hands of one frame; of two hands of a side, the better one."""
        best: dict[Side, Hand] = {}
        for hand in hands:
            if hand.shape is None or hand.hand_model != self._model.name:
                continue
            if hand.side not in best or hand.score > best[hand.side].score:
                best[hand.side] = hand
        for side, hand in best.items():
            if len(self._seen[side]) < self.frames:
                self._seen[side].append(hand)

    @property
    def progress(self) -> float:
        """0 to 1: of the hand that has been seen least, among those that have been seen."""
        counts = [len(seen) for seen in self._seen.values() if seen]
        return min(counts) / self.frames if counts else 0.0

    def result(self) -> dict[Side, HandCalibration]:
        """A calibration of each hand seen often enough; raises CalibrationError without any."""
        found = {
            side: self._average(side, seen)
            for side, seen in self._seen.items()
            if len(seen) >= MIN_FRAMES
        }
        if not found:
            counts = ", ".join(f"{len(s)} of the {k.name.lower()}" for k, s in self._seen.items())
            raise CalibrationError(
                f"a hand was seen in too few frames ({counts} hand, expected {MIN_FRAMES}): "
                "hold it open towards the camera"
            )
        return found

    def _average(self, side: Side, seen: list[Hand]) -> HandCalibration:
        by_depth = [hand for hand in seen if hand.root_source is RootSource.DEPTH]
        has_depth = 2 * len(by_depth) >= len(seen) and len(by_depth) >= MIN_FRAMES
        used = by_depth if has_depth else seen
        shapes = np.array([hand.shape for hand in used])
        shape = robust_mean(shapes, np.array([hand.score for hand in used]))
        length = self._model.hand_length_m(shape)
        if has_depth:
            lengths = np.array([self._model.hand_length_m(s) for s in shapes])
            spread = 1.4826 * float(np.median(np.abs(lengths - np.median(lengths))))
            independent = max(len(used) / _LIKENESS, 1.0)
            stddev = float(np.hypot(spread / np.sqrt(independent), _LEAST_LENGTH_STDDEV * length))
        else:
            stddev = self._unknown_size_stddev() * length
        return HandCalibration(side, self._model.name, shape, length, stddev, len(used), has_depth)

    def _unknown_size_stddev(self) -> float:
        """Share by which hands differ in length: all that is known of one seen without depth."""
        usual = self._model.hand_length_m(np.zeros(NUM_SHAPE))
        lengths = [self._model.hand_length_m(unit) for unit in np.eye(NUM_SHAPE)]
        return float(np.linalg.norm(np.array(lengths) - usual)) / usual


def robust_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(D,) mean of (N, D) values by (N,) weights; rows far from the others lose theirs."""
    mean = np.median(values, axis=0)
    for _ in range(_ROUNDS):
        distance = np.linalg.norm(values - mean, axis=1)
        scale = max(float(np.median(distance)), 1e-9)
        w = weights / (1.0 + (distance / (_CAUCHY * scale)) ** 2)
        mean = w @ values / w.sum()
    return mean


def save_calibrations(calibrations: Mapping[Side, HandCalibration], path: Path) -> None:
    """Write a YAML file that `load_calibrations` reads."""
    hands = {}
    for side, calibration in calibrations.items():
        entry: dict[str, Any] = asdict(calibration)
        del entry["side"]
        entry["shape"] = [round(float(v), 5) for v in calibration.shape]
        for key in ("hand_length_m", "hand_length_stddev_m"):
            entry[key] = round(float(entry[key]), 6)
        hands[side.name.lower()] = entry
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "# Shape and size of a person's hands, made by hand_mesh's calibrate_hand service.\n"
        + yaml.safe_dump({"hands": hands}, sort_keys=False, default_flow_style=None),
        encoding="utf-8",
    )


def load_calibrations(path: Path, model: HandModel) -> dict[Side, HandCalibration]:
    """Calibrations of a file; raises CalibrationError where it is none, or of another model.

    The length is taken from the shape, so a file edited by hand cannot contradict itself.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"hand calibration {path}: {error.strerror or error}") from error
    except (PlainYamlError, UnicodeDecodeError) as error:
        raise CalibrationError(f"hand calibration {path} is no YAML: {error}") from error
    hands = content.get("hands") if isinstance(content, dict) else None
    if not isinstance(hands, dict) or not hands:
        raise CalibrationError(
            f"hand calibration {path} has no hands, expected hands: left: and/or right:"
        )
    return {
        calibration.side: calibration
        for name, entry in hands.items()
        for calibration in [_checked(f"hand calibration {path}, {name} hand", name, entry, model)]
    }


def _checked(what: str, name: object, entry: Any, model: HandModel) -> HandCalibration:
    if name not in ("left", "right"):
        raise CalibrationError(f"{what}: expected left or right")
    if not isinstance(entry, dict):
        raise CalibrationError(f"{what}: got {entry!r}, expected shape and the rest")
    if entry.get("hand_model") != model.name:
        raise CalibrationError(
            f"{what}: is for hand_model {entry.get('hand_model')!r}, this is {model.name!r}: "
            "calibrate again with this model"
        )
    try:
        shape = np.array(entry.get("shape"), np.float64)
        stddev = float(entry["hand_length_stddev_m"])
        frames = int(entry.get("frames", 0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CalibrationError(f"{what}: numbers are missing or wrong ({error})") from error
    if shape.shape != (NUM_SHAPE,) or not np.isfinite(shape).all():
        raise CalibrationError(f"{what}: shape must be {NUM_SHAPE} finite numbers")
    length = model.hand_length_m(shape)
    if not SHORTEST_M <= length <= LONGEST_M:
        raise CalibrationError(
            f"{what}: shape gives a hand {length:.3f} m long, "
            f"expected {SHORTEST_M} to {LONGEST_M} m"
        )
    if not 0.0 < stddev < length:
        raise CalibrationError(f"{what}: hand_length_stddev_m is {stddev}, expected above 0 m")
    side = Side.LEFT if name == "left" else Side.RIGHT
    by_depth = bool(entry.get("by_depth", False))
    return HandCalibration(side, model.name, shape, length, stddev, frames, by_depth)
