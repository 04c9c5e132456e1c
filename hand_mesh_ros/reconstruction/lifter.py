"""The lifter: from one hand's 2D landmarks to its pose, place and their uncertainty (numpy).

A small network that learned depth from the hand model alone; it never saw an image. It is defined
and trained in `networks/lifter.py`; what goes in and what its numbers mean is here, once, for
training and for live use.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import hypot, nan

import numpy as np

from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    CheckpointFile,
    check_hand_model,
    checkpoint_path,
    read_checkpoint_file,
)
from hand_mesh_ros.reconstruction.kinematics import HandKinematics
from hand_mesh_ros.reconstruction.landmark_view import LandmarkViews, view_landmarks

NETWORK = "lifter"
FEATURES = {"xy": 42, "confidence": 21, "log_scale": 1, "previous": 63, "has_previous": 1}
NUM_FEATURES = sum(FEATURES.values())
OUTPUTS = {"angles": 21, "rotation_6d": 6, "shape": 10, "root": 3, "log_stddev": 42}
"""Numbers of the network's last layer, in this order. Angles: spreads from the usual value.
Deviations: across and along the line of sight, of each keypoint, as shares of the hand's length."""
DETECTOR_CONFIDENCE = 0.5
"""Of a landmark with the errors that the detector usually has."""
_USUAL_CONFIDENCE = np.full(21, DETECTOR_CONFIDENCE)
_DEPTH_PER_ACROSS = 3.5
"""Depth, as a share of itself, errs by so many times as much as keypoints do across the line of
sight, as shares of the hand's length: what makes a hand look smaller than it is moves both. Where
the hand's length is known, 39 synthetic videos by sixths of what is stated: 2.3, 2.6, 2.9, 3.1,
3.6, 5.3%; root mean square errors 2.1, 3.1, 3.2, 3.1, 3.2, 5.4%."""
LOG_STDDEV_RANGE = -7.0, 0.0
USUAL_LOG_STDDEV = -3.5
_USUAL_LOG_SCALE, _LOG_SCALE_STD = -2.3, 0.7
PREVIOUS, HAS_PREVIOUS, PREVIOUS_UNIT = slice(64, 127), 127, 0.33
"""Where the last frame's answer is among the features, and what it is divided by."""


def lifter_features(
    views: LandmarkViews, confidence: np.ndarray, previous: np.ndarray | None = None
) -> np.ndarray:
    """(N, F) float32, what the network sees of N hands.

    Args:
        views: of the landmarks.
        confidence: (N, 21) 0 (missing) to 1 (exact).
        previous: (N, 21, 3) keypoints of the last frame's answer about their mean, view axes, in
            units of the hand's length; or None.
    """
    n = len(confidence)
    features = np.zeros((n, NUM_FEATURES), np.float32)
    features[:, :42] = views.xy.reshape(n, 42)
    features[:, 42:63] = confidence * views.present
    features[:, 63] = (np.log(views.scale) - _USUAL_LOG_SCALE) / _LOG_SCALE_STD
    if previous is not None:
        features[:, PREVIOUS] = previous.reshape(n, 63) / PREVIOUS_UNIT
        features[:, HAS_PREVIOUS] = 1.0
    return features


def root_of(centre_m: np.ndarray, relative_m: np.ndarray, views: LandmarkViews) -> np.ndarray:
    """(N, 3) where hands are, as the network says it: small numbers about 0.

    The image place of the keypoints' centre about the landmarks' mean, in units of the landmarks'
    scale; and the logarithm of the depth over what size and scale alone would make it.

    Args:
        centre_m: (N, 3) m, mean of the keypoints, view axes, from the camera.
        relative_m: (N, 21, 3) m, keypoints about it.
        views: of the landmarks.
    """
    place = (centre_m[:, :2] / centre_m[:, 2:] - views.mean) / views.scale[:, None]
    log_depth = np.log(centre_m[:, 2] * views.scale / _width_m(relative_m))
    return np.concatenate([place, log_depth[:, None]], axis=1)


def centre_of(root: np.ndarray, relative_m: np.ndarray, views: LandmarkViews) -> np.ndarray:
    """(N, 3) m, the inverse of `root_of`."""
    scale = views.scale[:, None]
    z = np.exp(root[:, 2:]) * (_width_m(relative_m)[:, None] / scale)
    centre = np.empty_like(root)
    centre[:, :2] = (views.mean + scale * root[:, :2]) * z
    centre[:, 2:] = z
    return centre


def _width_m(relative_m: np.ndarray) -> np.ndarray:
    """(N,) m, root mean square distance of keypoints from the line of sight to their centre."""
    across = relative_m[..., :2]
    return np.sqrt((across * across).sum((1, 2)) / 21.0)


@dataclass(frozen=True, eq=False)
class LiftedHand:
    """What the network makes of one right hand's landmarks; camera axes."""

    angles_rad: np.ndarray
    """(D,) of `Anatomy`."""
    shape: np.ndarray
    """(S,)"""
    hand_length_m: float
    """Of that shape."""
    R_camera_hand: np.ndarray
    """(3, 3)"""
    t_camera_wrist: np.ndarray
    """(3,) m"""
    keypoints_m: np.ndarray
    """(21, 3) m about the wrist, "detector" convention."""
    stddev_m: np.ndarray
    """(21, 2) m, of each keypoint about the hand's centre: across the line of sight and along it;
    of a hand whose size is known."""
    R_camera_view: np.ndarray
    """(3, 3) whose third column is the line of sight."""

    @property
    def depth_stddev(self) -> float:
        """Of the depth as a share of it, for a hand whose size is known."""
        return _DEPTH_PER_ACROSS * float(self.stddev_m[:, 0].mean()) / self.hand_length_m

    @property
    def keypoint_stddev_m(self) -> np.ndarray:
        """(21,) m, root mean square of a keypoint's three deviations."""
        across, along = self.stddev_m.T
        return np.sqrt((2.0 * across * across + along * along) / 3.0)


class Lifter:
    """Runs a lifter's weights for one right hand model."""

    def __init__(self, file: CheckpointFile, model: HandModel) -> None:
        """Take weights.

        Raises:
            CheckpointError: they are another network's, another hand model's, or misshapen.
        """
        if file.network != NETWORK:
            raise CheckpointError(f"got weights of network {file.network!r}, expected {NETWORK!r}")
        check_hand_model(file, model)
        self._anatomy = Anatomy.of(model)
        self._kinematics = HandKinematics(model, self._anatomy, "detector")
        self._model = model
        self._layers = _layers(file)

    @classmethod
    def load(cls, name_or_path: str, model: HandModel) -> Lifter:
        """Load weights that come with the package (by name), or a file.

        Raises:
            CheckpointError: no such weights, or unfit ones.
        """
        return cls(read_checkpoint_file(checkpoint_path(name_or_path)), model)

    def lift(self, rays: np.ndarray, confidence: np.ndarray | None = None) -> LiftedHand:
        """Lift one right hand; a left one is lifted in a mirror.

        Args:
            rays: (21, 2) x/z, y/z of the landmarks; not finite where missing.
            confidence: (21,) 0 (missing) to 1 (exact); None: as the detector usually is.
        """
        if confidence is None:
            confidence = _USUAL_CONFIDENCE
        views = view_landmarks(rays[None], confidence[None] > 0.0)
        out = self._run(lifter_features(views, confidence[None])[0]).astype(np.float64)
        angles, six, shape, root, log_stddev = (out[part] for part in _PARTS)
        angles = self._anatomy.mean_rad + self._anatomy.std_rad * angles
        R_view_hand, R_camera_view = rotation_from_6d(six), views.R_camera_view[0]
        in_view = self._kinematics.keypoints_m(angles, R_view_hand, shape)
        middle = in_view.sum(0) / 21.0
        centre = centre_of(root[None], (in_view - middle)[None], views)[0]
        low, high = LOG_STDDEV_RANGE
        stddev = np.exp(np.minimum(np.maximum(log_stddev + USUAL_LOG_STDDEV, low), high))
        length_m = self._model.hand_length_m(shape)
        return LiftedHand(
            angles_rad=angles,
            shape=shape,
            hand_length_m=length_m,
            R_camera_hand=R_camera_view @ R_view_hand,
            t_camera_wrist=R_camera_view @ (centre - middle),
            keypoints_m=in_view @ R_camera_view.T,
            stddev_m=stddev.reshape(21, 2) * length_m,
            R_camera_view=R_camera_view,
        )

    def _run(self, features: np.ndarray) -> np.ndarray:
        """(82,) outputs for (F,) features; the same as the module in `networks/lifter.py`."""
        (weight, bias), *blocks, (last_weight, last_bias) = self._layers
        # Without a last frame's answer there is nothing behind the landmarks.
        known = slice(None if features[HAS_PREVIOUS] else PREVIOUS.start)
        x = features[known] @ weight[known] + bias
        for (inner, inner_bias), (outer, outer_bias) in zip(blocks[::2], blocks[1::2], strict=True):
            x = x + _after_relu(_after_relu(x, inner) + inner_bias, outer) + outer_bias
        return _after_relu(x, last_weight) + last_bias


def _after_relu(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """max(x, 0) @ weight, reading only the rows that count: a third of them, or a tenth.

    Between two frames the detector has emptied the cache, so that reading takes the time.
    """
    active = np.flatnonzero(x > 0.0)
    return x.take(active) @ weight.take(active, axis=0)


_ENDS = list(accumulate(OUTPUTS.values()))
_PARTS = [slice(end - size, end) for end, size in zip(_ENDS, OUTPUTS.values(), strict=True)]


def rotation_from_6d(six: np.ndarray) -> np.ndarray:
    """(3, 3) from (6,): two columns made orthonormal, the third across them."""
    x0, x1, x2, y0, y1, y2 = six.tolist()
    length = hypot(x0, x1, x2) or nan  # numpy's answer to a division by zero, without its cost
    x0, x1, x2 = x0 / length, x1 / length, x2 / length
    along = x0 * y0 + x1 * y1 + x2 * y2
    y0, y1, y2 = y0 - along * x0, y1 - along * x1, y2 - along * x2
    length = hypot(y0, y1, y2) or nan
    y0, y1, y2 = y0 / length, y1 / length, y2 / length
    return np.array(
        [
            [x0, y0, x1 * y2 - x2 * y1],
            [x1, y1, x2 * y0 - x0 * y2],
            [x2, y2, x0 * y1 - x1 * y0],
        ]
    )


def _layers(file: CheckpointFile) -> list[tuple[np.ndarray, np.ndarray]]:
    """Matrices (in, out) and biases, first to last."""
    tensors, blocks = file.tensors, int(file.config.get("blocks", 0))
    names = [
        "first",
        *(f"{kind}.{i}" for i in range(blocks) for kind in ("inner", "outer")),
        "last",
    ]
    width = int(file.config.get("width", 0))
    expected = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if set(tensors) != expected:
        raise CheckpointError(
            f"these weights have tensors {sorted(set(tensors) ^ expected)} too many or too few for "
            f"a lifter of {blocks} blocks; train it again"
        )
    layers = []
    for name in names:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        shape = (
            sum(OUTPUTS.values()) if name == "last" else width,
            NUM_FEATURES if name == "first" else width,
        )
        if weight.shape != shape or bias.shape != shape[:1]:
            raise CheckpointError(
                f"tensor {name}.weight is {weight.shape}, expected {shape}; train it again"
            )
        layers.append((np.ascontiguousarray(weight.T), bias))
    return layers
