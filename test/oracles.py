"""Slow and obvious versions of what the package does fast."""

import cv2
import numpy as np
from scipy.optimize import minimize


def project_opencv(points_m, camera):
    """(N, 3) to (N, 2) px by OpenCV; fisheye only up to 90 degrees off axis."""
    points, K, D = np.asarray(points_m, float)[:, None], camera.K.copy(), camera.D.copy()
    zero = np.zeros(3)
    if camera.distortion_model == "equidistant":
        return cv2.fisheye.projectPoints(points, zero, zero, K, D)[0][:, 0]
    return cv2.projectPoints(points, zero, zero, K, D if D.size else None)[0][:, 0]


def rays_opencv(pixels_px, camera):
    """(N, 2) px to (N, 2) undistorted x/z, y/z by OpenCV."""
    pixels, K, D = np.asarray(pixels_px, float)[:, None], camera.K.copy(), camera.D.copy()
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-14)
    if camera.distortion_model == "equidistant":
        return cv2.fisheye.undistortPoints(pixels, K, D, criteria=until)[:, 0]
    return cv2.undistortPointsIter(pixels, K, D if D.size else None, None, None, until)[:, 0]


def register_2d(keypoints_m, keypoints_px, camera, depth_bounds_m=(0.05, 2.0)):
    """CMR's registration (Chen et al. 2021), 2D stage: bounded SLSQP, rounds of outlier removal.

    Pixels are rectified first, as it knows pinhole cameras only. The residual of a joint is the
    absolute value of its signed sum |du + dv|, as they have it.
    """
    focal_px = np.diag(camera.K)[:2]
    rectified_px = rays_opencv(keypoints_px, camera) * focal_px

    def residuals(t):
        points = keypoints_m + t
        return points[:, :2] / points[:, 2:] * focal_px - rectified_px

    def misfit(t, keep):
        return np.mean(residuals(t)[keep] ** 2)

    bounds = [(None, None), (None, None), depth_bounds_m]
    keep = np.ones(len(keypoints_m), bool)
    t = np.array([0.0, 0.0, 0.6])
    for _ in range(5):
        # From pixel-sized gradients SLSQP stops early: ask for more digits than its default 1e-6.
        t = minimize(misfit, t, (keep,), method="SLSQP", bounds=bounds, tol=1e-12).x
        residual = np.abs(residuals(t).sum(axis=1))
        if residual[keep].mean() <= 2.0:
            break
        fewer = keep & (residual < residual[keep].mean() + residual[keep].std())
        if fewer.sum() < 13:
            break
        keep = fewer
    return t


def one_euro(values, times_s, min_cutoff_hz, beta, derivative_cutoff_hz=1.0):
    """Casiez, Roussel and Vogel 2012, Algorithm 1, for a list of numbers."""

    def alpha(cutoff_hz, dt):
        tau = 1.0 / (2.0 * np.pi * cutoff_hz)
        return 1.0 / (1.0 + tau / dt)

    filtered, derivative = [values[0]], 0.0
    for k in range(1, len(values)):
        dt = times_s[k] - times_s[k - 1]
        a = alpha(derivative_cutoff_hz, dt)
        derivative = a * (values[k] - filtered[-1]) / dt + (1.0 - a) * derivative
        a = alpha(min_cutoff_hz + beta * abs(derivative), dt)
        filtered.append(a * values[k] + (1.0 - a) * filtered[-1])
    return np.array(filtered)
