"""Where the wrist is: the translation that makes a root-relative hand project onto its landmarks.

A linear start on undistorted rays, then Gauss-Newton on pixel residuals with the full camera model.
Both are re-weighted (Cauchy), with the noise scale taken from the residuals themselves, so that a
few landmarks on the wrong finger do not drag the hand along.
"""

from __future__ import annotations

import math

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import RootSource
from hand_mesh_ros.types import Root

MIN_LANDMARKS = 6
MIN_STDDEV_PX = 1e-3
MAX_RELATIVE_DEPTH_STDDEV = 0.5
"""A root whose depth is less certain than this share of itself says nothing: there is none."""
MAX_DEPTH_M = 20.0
ASSUMED_FOCAL_STDDEV = 0.2
"""Relative. Webcams have 55 to 90 degrees of view: focal lengths of 0.96 to 0.50 image widths."""

_MIN_SPREAD_M = 1e-3
_MIN_FLATNESS = 0.02
"""Second over first principal extent. A flat hand with closed fingers has 0.25; a line has 0."""
_CAUCHY = 3.0
"""In standard deviations of one pixel axis; 96% as efficient as least squares on Gaussian noise."""
_CAUCHY_MEAN_WEIGHT = 0.85
"""Of a landmark with Gaussian noise; without it the covariance would count that as lost data."""
_MEDIAN_TO_STDDEV = 1.1774
"""The median length of a 2D Gaussian residual is sqrt(2 ln 2) standard deviations of one axis."""
_NEAREST_M = 0.02
_GOOD_GUESS = 1.5
"""Standard deviations; a guess that fits like this needs no linear solution beside it."""
_LINEAR_ROUNDS = 3
_MAX_STEPS = 15
_STEP_TOLERANCE = 0.1
"""In standard deviations of the root."""


def solve_root(
    keypoints_m: np.ndarray,
    keypoints_px: np.ndarray,
    camera: Camera,
    *,
    stddev_px: float | np.ndarray,
    keypoint_stddev_m: np.ndarray | None = None,
    initial_t: np.ndarray | None = None,
    depth_stddev_m: float | None = None,
    independent_landmarks: float | None = None,
) -> Root | None:
    """Find the wrist's position by reprojection.

    Args:
        keypoints_m: (21, 3) m, root-relative, camera axes; rows that are not finite are left out.
        keypoints_px: (21, 2) px of the raw image; likewise.
        camera: the camera, lens distortion included.
        stddev_px: expected error of each pixel axis, one number or (21,); infinity leaves a
            landmark out.
        keypoint_stddev_m: (21,) m, how far the true keypoints scatter about the relative ones;
            seen in the image as focal * stddev / depth and added to the pixel variance.
        initial_t: (3,) m, a guess (the last frame's root), used when it fits better than the linear
            start.
        depth_stddev_m: how well the guess knows the wrist's depth; None: it is only a start.
        independent_landmarks: all usable ones together say as much as so many would whose errors
            have nothing to do with each other; None: theirs have not.

    Returns:
        The root, or None where the landmarks do not fix one: fewer than six usable, all at a point
        or on a line, no solution between the camera and 20 m, or a depth less certain than half
        of itself. The covariance is the inverse of the weighted normal matrix, enlarged when the
        residuals are larger than expected, and in depth when the camera is assumed.

    Raises:
        ValueError: a negative standard deviation in pixels, or one in depth without a guess.
    """
    X = np.asarray(keypoints_m, np.float64)
    pixels = np.asarray(keypoints_px, np.float64)
    stddev_px = np.asarray(stddev_px, np.float64)
    if (stddev_px < 0.0).any():
        raise ValueError(f"stddev_px must not be negative, got {stddev_px.min():g} px")
    variance_px = np.full(len(X), np.maximum(stddev_px, MIN_STDDEV_PX) ** 2)
    variance_m = None if keypoint_stddev_m is None else np.square(keypoint_stddev_m)
    rays = camera.rays(pixels)

    usable = np.isfinite(X.sum(axis=1) + rays.sum(axis=1) + variance_px)
    if variance_m is not None:
        usable &= np.isfinite(variance_m)
    if not usable.all():
        X, pixels, rays = X[usable], pixels[usable], rays[usable]
        variance_px = variance_px[usable]
        variance_m = None if variance_m is None else variance_m[usable]
    if len(X) < MIN_LANDMARKS or _is_line(X):
        return None

    weights = camera.K[0, 0] ** 2 / variance_px  # 1 / variance of a ray
    start = _best_start(X, rays, weights, initial_t)
    expected_t, certainty = np.zeros(3), np.zeros((3, 3))
    if depth_stddev_m is not None:
        if initial_t is None or not depth_stddev_m > 0.0:
            raise ValueError(
                f"depth_stddev_m is {depth_stddev_m} m, expected a positive one and initial_t"
            )
        expected_t, certainty[2, 2] = np.asarray(initial_t, float), depth_stddev_m**-2
    share = 1.0 if independent_landmarks is None else min(independent_landmarks / len(X), 1.0)
    # A prior that counts for more is landmarks that count for less: only the sum's scale differs.
    prior = expected_t, certainty / share
    refined = _refine(start, X, pixels, variance_px, variance_m, camera, prior)
    if refined is None:
        return None
    t, covariance = refined[0], refined[1] / share
    in_front = (X[:, 2] + t[2] > 0.0).all()
    if not (in_front and np.sqrt(covariance[2, 2]) < MAX_RELATIVE_DEPTH_STDDEV * t[2]):
        return None
    if camera.assumed:
        # A wrong focal length moves depth in proportion and leaves x and y where they are.
        covariance[2, 2] += (ASSUMED_FOCAL_STDDEV * t[2]) ** 2
    source = RootSource.ASSUMED_CAMERA if camera.assumed else RootSource.REPROJECTION
    return Root(t_camera_wrist=t, covariance=covariance, source=source)


def _is_line(X: np.ndarray) -> bool:
    """Whether the points have next to no second principal extent.

    By the trigonometric formula for symmetric matrices (Smith, CACM 1961): between two images,
    with cold caches, `eigvalsh` takes three times as long.
    """
    centred = X - X.sum(axis=0) / len(X)
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = (centred.T @ centred).tolist()
    mean = (xx + yy + zz) / 3.0
    xx, yy, zz = xx - mean, yy - mean, zz - mean
    spread = math.sqrt((xx * xx + yy * yy + zz * zz + 2.0 * (xy * xy + xz * xz + yz * yz)) / 6.0)
    det = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    cosine = det / max(2.0 * spread * spread * spread, 1e-300)
    angle = math.acos(max(-1.0, min(1.0, cosine))) / 3.0
    large = mean + 2.0 * spread * math.cos(angle)
    middle = mean + 2.0 * spread * math.cos(angle - 2.0 * math.pi / 3.0)
    return large < _MIN_SPREAD_M**2 or middle < _MIN_FLATNESS**2 * large


def _best_start(
    X: np.ndarray, rays: np.ndarray, weights: np.ndarray, initial_t: np.ndarray | None
) -> np.ndarray:
    """A good guess; else the better of it and the linear solution.

    If both are behind the camera, depth by size.
    """
    nearest = X[:, 2].min()
    in_front = []
    if initial_t is not None and np.isfinite(initial_t).all() and nearest + initial_t[2] > 0.0:
        p = X + initial_t
        if _spread_of(_norm(p[:, :2] / p[:, 2:] - rays) * np.sqrt(weights)) < _GOOD_GUESS:
            return np.asarray(initial_t, np.float64)
        in_front.append(np.asarray(initial_t, np.float64))
    linear = _solve_linear(X, rays, weights)
    if nearest + linear[2] > 0.0:
        in_front.append(linear)
    if not in_front:
        size_ratio = np.sqrt(X.var(axis=0).sum() / max(rays.var(axis=0).sum(), 1e-12))
        size_ratio = max(size_ratio, X[:, 2].mean() - nearest + _NEAREST_M)
        return size_ratio * np.append(rays.mean(axis=0), 1.0) - X.mean(axis=0)
    if len(in_front) == 1:
        return in_front[0]
    points = [X + t for t in in_front]
    misfit = [_spread_of(_norm(p[:, :2] / p[:, 2:] - rays)) for p in points]
    return in_front[int(np.argmin(misfit))]


def _solve_linear(X: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least squares over rows  -tx + u tz = X - u Z  and  -ty + v tz = Y - v Z, re-weighted."""
    u, v = rays.T
    b = X[:, :2] - rays * X[:, 2:]  # (N, 2)
    rows = np.stack([np.ones_like(u), u, v, u * u + v * v, *b.T, (rays * b).sum(axis=1)])
    t = np.zeros(3)
    w = weights
    for _ in range(_LINEAR_ROUNDS):
        s, su, sv, suv, bx, by, bz = (rows @ w).tolist()
        # Elimination of tx and ty leaves one equation for tz.
        spread = suv - (su * su + sv * sv) / s
        tz = (bz - (su * bx + sv * by) / s) / max(spread, 1e-12 * s)
        t = np.array([(su * tz - bx) / s, (sv * tz - by) / s, tz])
        error = _norm(rays * tz - t[:2] - b) * np.sqrt(weights)
        w = weights * _cauchy(error, max(_spread_of(error), 1e-12))
    return t


def _refine(
    t: np.ndarray,
    X: np.ndarray,
    pixels: np.ndarray,
    variance_px: np.ndarray,
    variance_m: np.ndarray | None,
    camera: Camera,
    prior: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Gauss-Newton; translation and covariance, or None where it leaves the camera's view.

    The prior is a translation and its certainty, (3, 3) 1/m^2.
    """
    expected_t, certainty = prior
    inverse, scale = np.zeros((3, 3)), 1.0
    nearest_m = X[:, 2].min()
    for _ in range(_MAX_STEPS):
        seen, J = camera.project_with_jacobian(X + t)
        residual = pixels - seen
        valid = np.isfinite(residual[:, 0])
        if not valid.all():  # beyond the lens at this t; may come back
            if valid.sum() < MIN_LANDMARKS:
                return None
            residual[~valid], J[~valid] = 0.0, 0.0
        # A keypoint's error in space shows in the image as the Jacobian says: focal / depth.
        variance = variance_px
        if variance_m is not None:
            variance = variance + 0.5 * variance_m * (J * J).sum(axis=(1, 2))
        error = _norm(residual) / np.sqrt(variance)
        scale = max(1.0, _spread_of(error[valid]))
        JW = (J * (_cauchy(error, scale) / variance)[:, None, None]).reshape(-1, 3)  # (2 N, 3)
        # Residuals larger than expected make the landmarks less certain, not the prior.
        held = _CAUCHY_MEAN_WEIGHT * scale**2 * certainty
        inverse = _inverse(JW.T @ J.reshape(-1, 3) + held)  # of the normal matrix
        slope = JW.T @ residual.reshape(-1) + held @ (expected_t - t)
        step = inverse @ slope
        # Never so far towards the camera that a landmark passes behind it.
        t = t + step * min(1.0, 0.8 * (nearest_m + t[2]) / max(-step[2], 1e-12))
        if step @ slope < (_STEP_TOLERANCE * scale) ** 2:  # it is step @ normal @ step
            break
        if not t[2] < MAX_DEPTH_M:  # landmarks of another pose can pull the hand to infinity
            return None
    return t, _CAUCHY_MEAN_WEIGHT * scale**2 * inverse


def _inverse(normal: np.ndarray) -> np.ndarray:
    """Of a symmetric (3, 3), by its cofactors: in half the time of `np.linalg.inv`."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = normal.tolist()
    by_xx, by_xy, by_xz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    by_yz = xy * xz - xx * yz
    cofactors = [
        [by_xx, by_xy, by_xz],
        [by_xy, xx * zz - xz * xz, by_yz],
        [by_xz, by_yz, xx * yy - xy * xy],
    ]
    return np.array(cofactors) / (xx * by_xx + xy * by_xy + xz * by_xz)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.hypot(vectors[..., 0], vectors[..., 1])


def _spread_of(error: np.ndarray) -> float:
    """Standard deviation of one axis from lengths of 2D residuals; under half may be wrong."""
    return float(np.sort(error)[error.size // 2]) / _MEDIAN_TO_STDDEV


def _cauchy(error: np.ndarray, stddev: float) -> np.ndarray:
    return 1.0 / (1.0 + (error / (_CAUCHY * stddev)) ** 2)
