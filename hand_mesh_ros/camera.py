"""A calibrated camera: pixels to rays and back, with the lens models of sensor_msgs/CameraInfo.

What a lens cannot show is NaN, never a wrong number: points behind the camera, and points so far
off axis that the distortion polynomial turns back (they would fold into the image as ghosts).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.polynomial import polynomial

LENS_MODELS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""Known distortion models of sensor_msgs/CameraInfo, and how many coefficients each may have."""

_MIN_DEPTH_M = 1e-6
_MAX_NEWTON_STEPS = 25
_LARGEST = 1e9
"""Of a matrix or a distortion; beyond that, the lens polynomials' own numbers overflow."""
_LAST_STEP_FROM = 1e-7
"""In units of the focal length. One more Newton step squares this: far below a nano-pixel."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole with distortion; all of it refers to the raw (unrectified) image.

    Raises:
        ValueError: a size, matrix, model name or coefficient count that no camera has.
    """

    width: int
    height: int
    K: np.ndarray
    """(3, 3) px."""
    distortion_model: str = "plumb_bob"
    D: np.ndarray = field(default_factory=lambda: np.zeros(5))
    assumed: bool = False
    """True when K is a guess from an assumed field of view."""

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"camera size must be positive, got {self.width} x {self.height} px")
        K, D = _read_only(self.K), _read_only(self.D).reshape(-1)
        if K.shape != (3, 3) or not np.isfinite(K).all():
            raise ValueError(
                f"camera matrix K must be 3 x 3 and finite, got shape {K.shape}: {K.tolist()}"
            )
        if K[0, 0] <= 0.0 or K[1, 1] <= 0.0:
            raise ValueError(
                f"focal lengths K[0,0] = {K[0, 0]:g} and K[1,1] = {K[1, 1]:g} px must be positive; "
                "K[0,0] = 0 means an uncalibrated camera: calibrate it or use Camera.from_fov"
            )
        if K[1, 0] != 0.0 or not np.array_equal(K[2], [0.0, 0.0, 1.0]):
            raise ValueError(
                f"camera matrix K must be upper triangular with last row 0 0 1, got {K.tolist()}"
            )
        if self.distortion_model not in LENS_MODELS:
            raise ValueError(
                f"unknown distortion model {self.distortion_model!r}; "
                f"known: {', '.join(LENS_MODELS)}"
            )
        counts = LENS_MODELS[self.distortion_model]
        if D.size not in counts or not np.isfinite(D).all():
            raise ValueError(
                f"distortion model {self.distortion_model} takes {' or '.join(map(str, counts))} "
                f"finite coefficients, got {D.size}: {D.tolist()}"
            )
        largest = max(np.abs(K).max(), np.abs(D).max(initial=0.0))
        if largest > _LARGEST or min(K[0, 0], K[1, 1]) < 1.0 / _LARGEST:
            raise ValueError(
                f"camera matrix {K.tolist()} or distortion {D.tolist()} has numbers that no camera "
                f"has, expected focal lengths from {1 / _LARGEST:g} px and all up to {_LARGEST:g}"
            )
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "D", D)

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float) -> Camera:
        """Guess an ideal camera with square pixels, centred, from its horizontal field of view."""
        if not 0.0 < fov_deg < 180.0:
            raise ValueError(f"horizontal field of view must be in (0, 180) degrees, got {fov_deg}")
        focal_px = 0.5 * width / np.tan(0.5 * np.radians(fov_deg))
        # Pixel centres are whole numbers, so the image spans -0.5 to width - 0.5.
        cx, cy = 0.5 * (width - 1), 0.5 * (height - 1)
        K = np.array([[focal_px, 0.0, cx], [0.0, focal_px, cy], [0.0, 0.0, 1.0]])
        return cls(width=width, height=height, K=K, assumed=True)

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """(..., 3) points of the camera frame to (..., 2) px; NaN where the lens cannot see."""
        points = np.asarray(points_m, np.float64)
        X, Y, Z = points[..., 0], points[..., 1], points[..., 2]
        if self.distortion_model == "equidistant":
            x, y = _equidistant(X, Y, Z, self.D, self._fold)[:2]
        else:
            Z = np.where(Z > _MIN_DEPTH_M, Z, np.nan)
            x, y = X / Z, Y / Z
            if not self._is_pinhole:
                x, y = _radial_tangential(x, y, self._coefficients, self._fold)[:2]
        return self._pixels(x, y)

    def project_with_jacobian(self, points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project, and say how the pixels move with the points.

        Args:
            points_m: (N, 3) camera frame.

        Returns:
            (N, 2) px as from `project`, and (N, 2, 3) px per m.
        """
        points = np.asarray(points_m, np.float64)
        X, Y, Z = points[:, 0], points[:, 1], points[:, 2]
        J = np.zeros((len(points), 2, 3))  # of the normalised image plane first
        if self.distortion_model == "equidistant":
            x, y, by_xx, by_xy, by_yy, x_by_z, y_by_z = _equidistant(X, Y, Z, self.D, self._fold)
            J[:, 0, 0], J[:, 0, 1], J[:, 0, 2] = by_xx, by_xy, x_by_z
            J[:, 1, 0], J[:, 1, 1], J[:, 1, 2] = by_xy, by_yy, y_by_z
        else:
            inverse_z = 1.0 / np.where(Z > _MIN_DEPTH_M, Z, np.nan)
            x, y = X * inverse_z, Y * inverse_z
            if self._is_pinhole:
                J[:, 0, 0] = J[:, 1, 1] = inverse_z
                J[:, 0, 2], J[:, 1, 2] = -x * inverse_z, -y * inverse_z
            else:
                a, b = x, y
                x, y, by_xx, by_xy, by_yy = _radial_tangential(a, b, self._coefficients, self._fold)
                J[:, 0, 0], J[:, 0, 1], J[:, 0, 2] = by_xx, by_xy, -(a * by_xx + b * by_xy)
                J[:, 1, 0], J[:, 1, 1], J[:, 1, 2] = by_xy, by_yy, -(a * by_xy + b * by_yy)
                J *= inverse_z[:, None, None]
        return self._pixels(x, y), self.K[:2, :2] @ J

    def rays(self, pixels_px: np.ndarray) -> np.ndarray:
        """(..., 2) px to (..., 2) undistorted x/z, y/z; NaN where no point with z > 0 projects."""
        pixels = np.asarray(pixels_px, np.float64)
        with np.errstate(invalid="ignore"):  # an infinite pixel has no ray, and that is no news
            y = (pixels[..., 1] - self.K[1, 2]) / self.K[1, 1]
            x = (pixels[..., 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        if self.distortion_model == "equidistant":
            x, y = _undistort_equidistant(x, y, self.D, self._fold)
        elif not self._is_pinhole:
            x, y = _undistort_radial_tangential(x, y, self._coefficients, self._fold)
        return _pairs(x, y)

    def _pixels(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        K = self.K
        return _pairs(K[0, 0] * x + K[0, 1] * y + K[0, 2], K[1, 1] * y + K[1, 2])

    @cached_property
    def _is_pinhole(self) -> bool:
        # An equidistant lens without coefficients is still no pinhole: its radius is the angle.
        return self.distortion_model != "equidistant" and not self.D.any()

    @cached_property
    def _coefficients(self) -> tuple[float, ...]:
        """k1 k2 p1 p2 k3 k4 k5 k6: plumb_bob is rational_polynomial with a denominator of one."""
        return tuple(np.pad(self.D, (0, 8 - self.D.size)).tolist())

    @cached_property
    def _fold(self) -> float:
        """Squared angle (equidistant) or squared x/z, y/z radius at which the image turns back."""
        if self.distortion_model == "equidistant":
            slope = np.array([1.0, *(self.D * [3.0, 5.0, 7.0, 9.0])])
            return min(_first_positive_root(slope), np.pi**2)
        k1, k2, _, _, k3, k4, k5, k6 = self._coefficients
        top, bottom = np.array([1.0, k1, k2, k3]), np.array([1.0, k4, k5, k6])
        s = np.array([0.0, 1.0])  # r^2; the slope of r top / bottom over r vanishes where
        # (top + 2 s top') bottom = 2 s top bottom'.
        slope = polynomial.polysub(
            polynomial.polymul(
                polynomial.polyadd(top, 2.0 * polynomial.polymul(s, polynomial.polyder(top))),
                bottom,
            ),
            2.0 * polynomial.polymul(s, polynomial.polymul(top, polynomial.polyder(bottom))),
        )
        return min(_first_positive_root(slope), _first_positive_root(bottom))


def _pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two arrays (...) as one (..., 2); `np.stack` takes three times as long for a hand's."""
    pairs = np.empty((*np.shape(x), 2))
    pairs[..., 0], pairs[..., 1] = x, y
    return pairs


def _read_only(values: np.ndarray) -> np.ndarray:
    values = np.array(values, np.float64)
    values.setflags(write=False)
    return values


def _first_positive_root(coefficients: np.ndarray) -> float:
    """Smallest positive real root, lowest power first; infinity where there is none."""
    # What is next to nothing would, as the leading one, make the others overflow.
    coefficients = np.where(np.abs(coefficients) < 1e-30, 0.0, coefficients)
    roots = polynomial.polyroots(np.trim_zeros(coefficients, "b"))
    real = roots.real[(np.abs(roots.imag) < 1e-9 * np.abs(roots)) & (roots.real > 0.0)]
    return float(real.min()) if real.size else np.inf


def _radial_tangential(
    x: np.ndarray, y: np.ndarray, coefficients: tuple[float, ...], fold: float
) -> tuple[np.ndarray, ...]:
    """Brown-Conrady as OpenCV states it, and its derivatives.

    Returns:
        Distorted x, y, then their derivatives xx, xy = yx, yy by the undistorted ones.
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    r2 = x * x + y * y
    if fold < np.inf:
        r2 = np.where(r2 < fold, r2, np.nan)
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = k1 + r2 * (2.0 * k2 + r2 * (3.0 * k3))  # by r2
    if k4 or k5 or k6:
        bottom = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = radial / bottom
        slope = (slope - radial * (k4 + r2 * (2.0 * k5 + r2 * (3.0 * k6)))) / bottom
    across = p1 * y + p2 * x
    along = radial + 2.0 * across
    by_xx = along + 2.0 * x * (x * slope) + 4.0 * p2 * x
    by_yy = along + 2.0 * y * (y * slope) + 4.0 * p1 * y
    by_xy = 2.0 * (x * y * slope + p1 * x + p2 * y)
    return x * along + p2 * r2, y * along + p1 * r2, by_xx, by_xy, by_yy


def _equidistant(
    X: np.ndarray, Y: np.ndarray, Z: np.ndarray, D: np.ndarray, fold: float
) -> tuple[np.ndarray, ...]:
    """Kannala-Brandt (2006, eq. 6) as in cv2.fisheye, and its derivatives.

    Returns:
        x, y, then dx/dX, dx/dY = dy/dX, dy/dY, dx/dZ, dy/dZ.
    """
    k1, k2, k3, k4 = D.tolist()
    r2 = X * X + Y * Y
    p2 = r2 + Z * Z
    r = np.sqrt(r2)
    theta = np.arctan2(r, Z)
    t = theta * theta
    # Straight ahead and straight behind both have r = 0; only the first has an image.
    seen = (t < fold) & (p2 > _MIN_DEPTH_M**2)
    p2 = np.where(seen, p2, np.nan)
    off_axis = r2 > 1e-18 * p2
    r = np.where(off_axis, r, 1.0)
    radius = theta * (1.0 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
    slope = 1.0 + t * (3.0 * k1 + t * (5.0 * k2 + t * (7.0 * k3 + t * (9.0 * k4))))
    slope = slope / p2  # dtheta/dr = Z / p2, dtheta/dZ = -r / p2
    scale = np.where(off_axis, radius / r, np.sqrt(1.0 / p2))
    bend = np.where(off_axis, (slope * Z - scale) / (r * r), 0.0)  # dscale/dr / r
    by_xx, by_xy, by_yy = scale + bend * X * X, bend * X * Y, scale + bend * Y * Y
    return scale * X, scale * Y, by_xx, by_xy, by_yy, -slope * X, -slope * Y


def _undistort_radial_tangential(
    x_seen: np.ndarray, y_seen: np.ndarray, coefficients: tuple[float, ...], fold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Newton from the distorted point: it does not overshoot a barrel's or a pincushion's curve."""
    x, y = x_seen, y_seen
    with np.errstate(all="ignore"):  # a pixel that no ray reaches may run away; it ends as NaN
        for _ in range(_MAX_NEWTON_STEPS):
            x_now, y_now, by_xx, by_xy, by_yy = _radial_tangential(x, y, coefficients, fold)
            dx, dy = x_seen - x_now, y_seen - y_now
            error2 = dx * dx + dy * dy
            det = by_xx * by_yy - by_xy * by_xy
            x = x + (by_yy * dx - by_xy * dy) / det
            y = y + (by_xx * dy - by_xy * dx) / det
            if not (error2 > _LAST_STEP_FROM**2).any():  # what became NaN stays so: wait for none
                break
    found = error2 < _LAST_STEP_FROM**2
    return np.where(found, x, np.nan), np.where(found, y, np.nan)


def _undistort_equidistant(
    x: np.ndarray, y: np.ndarray, D: np.ndarray, fold: float
) -> tuple[np.ndarray, np.ndarray]:
    k1, k2, k3, k4 = D.tolist()
    radius = np.hypot(x, y)
    limit = np.sqrt(fold)
    theta = np.minimum(radius, limit)
    for _ in range(_MAX_NEWTON_STEPS):
        t = theta * theta
        missing = radius - theta * (1.0 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
        slope = 1.0 + t * (3.0 * k1 + t * (5.0 * k2 + t * (7.0 * k3 + t * (9.0 * k4))))
        theta = np.clip(theta + missing / np.maximum(slope, 1e-3), 0.0, limit)
        if not (np.abs(missing) > _LAST_STEP_FROM).any():
            break
    # At 90 degrees and beyond, x/z and y/z do not exist.
    seen = (np.abs(missing) < _LAST_STEP_FROM) & (theta < 0.5 * np.pi)
    scale = np.tan(np.where(seen, theta, np.nan)) / np.where(radius > 1e-12, radius, 1.0)
    scale = np.where(radius > 1e-12, scale, 1.0)
    return scale * x, scale * y
