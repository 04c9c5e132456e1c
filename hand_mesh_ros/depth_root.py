"""Where the wrist is, and how large and how turned the hand, by a depth image.

One camera cannot tell a large hand far away from a small one nearby; with true depth size shows.
So the unknowns are a shift, the hand's size (which moves it along its lines of sight, so that the
image stays the same) and a turn about the wrist: a palm that leans otherwise than believed puts
the wrist, at the mesh's end, in front of or behind the mean of the surface. The evidence: measured
depth against the mesh's surface along each ray (point to plane), the landmarks, which keep the hand
where it is in the image, and what was known of size and turn. Re-weighted (Cauchy), so a held
object and the background between fingers lose their pull.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_size import HandSize
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle
from hand_mesh_ros.types import Frame, Reconstruction, Root

MIN_SAMPLES = 25
MIN_MEASURED_SHARE = 0.3
"""Of the visible samples that lie in the image."""
MIN_AGREEING_SHARE = 0.6
"""Of the measured samples, within `AGREEING_M` in the end."""
AGREEING_M = 0.015
MAX_TURN_RAD = np.radians(45.0)

_EVERY = 3
"""Every third face is enough: with all of them the root's error was the same."""
_MIN_FACING = 0.3
"""Cosine; at the outline, half a pixel is many millimetres of depth."""
_CELL_M = 0.008
_HIDDEN_M = 0.012
"""Behind the nearest surface of its cell by this: another finger's back, or the palm beneath."""
_SURFACE_STDDEV_M = 0.004
_EFFECTIVE_SAMPLES = 40
"""Neighbouring samples err alike (a finger is bent otherwise than believed)."""
_LANDMARK_SLACK = 2.5
"""Landmarks err together, by pose and by convention: a wrong pose alone moves a root by 4%."""
_TURN_SLACK = 3.0
"""The fit's own rotation covariance knows of no such errors; true ones are twice as large."""
_MODEL_STDDEV_M = 0.004
"""Of the root in every direction: where a wrist is in a hand is a convention."""
_GATE = 2.5
_GATE_SLACK_M = 0.01
"""Depth farther from the expected distance than so many of its deviations and this is no hand."""
_CAUCHY = 2.5
_ROUNDS = 4


@dataclass(frozen=True)
class DepthRoot:
    """A hand placed by depth."""

    reconstruction: Reconstruction
    """Scaled and turned: vertices, keypoints, joints, rotation, pose and shape."""
    root: Root
    size_ratio: float
    """Of the hand to what it was believed to be."""


@dataclass(frozen=True)
class DepthRefusal:
    """Depth says nothing about this hand, or contradicts it; the reprojected root stays."""

    reason: str


class DepthRefiner:
    """Refines roots of hands of one hand model (and of its mirror image)."""

    def __init__(self, model: HandModel) -> None:
        faces = model.faces[::_EVERY]
        self._faces = {model.side: faces, model.side.opposite: faces[:, ::-1]}
        self._size = HandSize(model)

    def refine(
        self,
        reconstruction: Reconstruction,
        root: Root,
        frame: Frame,
        side: Side,
        keypoints_px: np.ndarray,
        *,
        stddev_px: float,
    ) -> DepthRoot | DepthRefusal:
        """Place a hand by the frame's depth image.

        Args:
            reconstruction: as it is believed to be.
            root: by reprojection; its covariance leaves out the uncertainty of the hand's size.
            frame: with depth.
            side: which hand it is.
            keypoints_px: (21, 2) px, landmarks.
            stddev_px: expected error of each landmark's pixel axis.
        """
        camera, t = frame.camera, root.t_camera_wrist
        if frame.depth_m is None:
            return DepthRefusal("no depth image")
        if camera.assumed:
            return DepthRefusal("the camera is not calibrated, so depth has no lines of sight")
        points, normals = _visible(reconstruction.vertices_m + t, self._faces[side])
        in_image, measured_m = _depth_at(points, frame.depth_m, camera)
        known = np.isfinite(measured_m)
        if known.sum() < max(MIN_SAMPLES, MIN_MEASURED_SHARE * in_image.sum()):
            return DepthRefusal(f"depth at {known.sum()} of {in_image.sum()} points of the hand")
        points, normals, measured_m = points[known], normals[known], measured_m[known]

        z = points[:, 2]
        pose_stddev = _LANDMARK_SLACK * np.sqrt(root.covariance[2, 2]) / t[2]
        gate = _GATE * np.hypot(reconstruction.size_stddev, pose_stddev) + _GATE_SLACK_M / t[2]
        plausible = np.abs(measured_m / z - 1.0) < gate
        if plausible.sum() < max(MIN_SAMPLES, MIN_AGREEING_SHARE * len(z)):
            off_m = float(np.median(measured_m - z))
            return DepthRefusal(f"depth is {off_m:+.2f} m off the expected distance {t[2]:.2f} m")

        prior = _prior(reconstruction)
        normal, pull = _landmark_evidence(
            reconstruction.keypoints_m, t, keypoints_px, camera, _LANDMARK_SLACK * stddev_px
        )
        J, residual = _depth_rows(points, normals, t), measured_m - z
        start = np.zeros(_UNKNOWNS)
        start[_SIZE] = np.median(measured_m[plausible] / z[plausible]) - 1.0
        x, covariance = _solve(J, residual, normal + prior, pull, start)

        agreeing = float((np.abs(residual - J @ x) < AGREEING_M).mean())
        if agreeing < MIN_AGREEING_SHARE:
            return DepthRefusal(f"depth fits the mesh at {agreeing:.0%} of its points only")
        if np.linalg.norm(x[_TURN]) > MAX_TURN_RAD or abs(x[_SIZE]) > gate:
            return DepthRefusal("depth shows another pose or size than the image")
        return self._refined(reconstruction, t, x, covariance)

    def _refined(
        self, before: Reconstruction, t: np.ndarray, x: np.ndarray, covariance: np.ndarray
    ) -> DepthRoot:
        ratio, turn = 1.0 + float(x[_SIZE]), rotation_from_axis_angle(x[_TURN])
        R, pose, shape = turn @ before.R_camera_hand, before.pose, before.shape
        if pose is not None:
            pose = np.concatenate([axis_angle_from_rotation(R), pose[3:]])
        scaled_turn = ratio * turn.T
        # The root is moved by the shift, and by the size along its line of sight.
        B = np.zeros((3, _UNKNOWNS))
        B[:, _SHIFT], B[:, _SIZE] = np.eye(3), t
        root = Root(
            t_camera_wrist=ratio * t + x[_SHIFT],
            covariance=B @ covariance @ B.T + _MODEL_STDDEV_M**2 * np.eye(3),
            source=RootSource.DEPTH,
        )
        reconstruction = replace(
            before,
            vertices_m=before.vertices_m @ scaled_turn,
            keypoints_m=before.keypoints_m @ scaled_turn,
            joints_m=before.joints_m @ scaled_turn,
            R_camera_hand=R,
            pose=pose,
            shape=None if shape is None else self._size.scaled(shape, ratio),
            rotation_covariance=covariance[_TURN, _TURN],
            size_stddev=float(np.sqrt(covariance[_SIZE, _SIZE])) / ratio,
            t_camera_wrist_guess=root.t_camera_wrist,
        )
        return DepthRoot(reconstruction, root, ratio)


# Unknowns: shift of the wrist (m), size ratio - 1 (about the camera's centre), turn (rad).
_UNKNOWNS = 7
_SHIFT, _SIZE, _TURN = slice(0, 3), 3, slice(4, 7)


def _visible(vertices_m: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) middles and (N, 3) unit normals of the faces that the camera sees, camera frame."""
    a, b, c = vertices_m[faces.T]
    middle, u, v = (a + b + c) / 3.0, b - a, c - a
    normal = u[:, [1, 2, 0]] * v[:, [2, 0, 1]] - u[:, [2, 0, 1]] * v[:, [1, 2, 0]]
    length = np.sqrt(np.einsum("nc,nc->n", normal, normal))
    distance = np.sqrt(np.einsum("nc,nc->n", middle, middle))
    facing = -np.einsum("nc,nc->n", normal, middle) > _MIN_FACING * length * distance
    facing &= middle[:, 2] > 0.0
    middle, normal = middle[facing], normal[facing] / length[facing, None]
    if not len(middle):
        return middle, normal
    # A coarse depth buffer: of equal cells the last one stays, the nearest.
    z = middle[:, 2]
    cell = middle[:, :2] / z[:, None] * (float(z.mean()) / _CELL_M)
    column, row = np.floor(cell - cell.min(axis=0)).astype(np.int64).T
    index = row * (int(column.max()) + 1) + column
    order = np.argsort(-z)
    nearest = np.empty(int(index.max()) + 1)
    nearest[index[order]] = z[order]
    shown = z < nearest[index] + _HIDDEN_M
    return middle[shown], normal[shown]


def _depth_at(
    points: np.ndarray, depth_m: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie in the image, (N,) bool, and depth there, (N,) m, NaN where unknown."""
    pixels = np.nan_to_num(camera.project(points), nan=-1.0)
    column, row = np.rint(pixels).astype(np.int64).T
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    measured = np.full(len(points), np.nan)
    measured[inside] = depth_m[row[inside], column[inside]]
    measured[~((measured > 0.0) & (measured < np.inf))] = np.nan
    return inside, measured


def _depth_rows(points: np.ndarray, normals: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(N, 7) how far the surface moves along the ray through each point, m of depth."""
    along = np.einsum("nc,nc->n", normals, points) / points[:, 2]  # normal . (x/z, y/z, 1)
    n, arm = normals / along[:, None], points - t
    J = np.empty((len(points), _UNKNOWNS))
    J[:, _SHIFT], J[:, _SIZE] = n, points[:, 2]
    J[:, _TURN] = arm[:, [1, 2, 0]] * n[:, [2, 0, 1]] - arm[:, [2, 0, 1]] * n[:, [1, 2, 0]]
    return J


def _landmark_evidence(
    keypoints_m: np.ndarray,
    t: np.ndarray,
    keypoints_px: np.ndarray,
    camera: Camera,
    stddev_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(7, 7) normal matrix and (7,) right side of the landmarks' reprojection."""
    seen_px, J_px = camera.project_with_jacobian(keypoints_m + t)
    residual = (keypoints_px - seen_px) / stddev_px
    J = np.zeros((len(keypoints_m), 3, _UNKNOWNS))  # size moves them along their rays: unseen
    J[:, [0, 1, 2], [0, 1, 2]] = 1.0
    x, y, z = keypoints_m.T
    J[:, 0, 5], J[:, 0, 6] = z, -y  # turn x point
    J[:, 1, 4], J[:, 1, 6] = -z, x
    J[:, 2, 4], J[:, 2, 5] = y, -x
    J = (J_px @ J) / stddev_px  # (K, 2, 7)
    usable = np.isfinite(residual).all(axis=1)
    residual[~usable], J[~usable] = 0.0, 0.0
    weight = _cauchy(np.sqrt((residual**2).sum(axis=1)))
    JW = (J * weight[:, None, None]).reshape(-1, _UNKNOWNS)
    return JW.T @ J.reshape(-1, _UNKNOWNS), JW.T @ residual.reshape(-1)


def _prior(reconstruction: Reconstruction) -> np.ndarray:
    """(7, 7) what was known of size and turn; a shift of a metre would be news."""
    prior = np.diag([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    prior[_SIZE, _SIZE] = max(reconstruction.size_stddev, 1e-4) ** -2
    turn = _TURN_SLACK**2 * reconstruction.rotation_covariance + 1e-6 * np.eye(3)
    prior[_TURN, _TURN] = np.linalg.inv(turn)
    return prior


def _solve(
    J: np.ndarray, residual: np.ndarray, normal: np.ndarray, pull: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Re-weighted least squares; (7,) unknowns and (7, 7) covariance."""
    share = min(1.0, _EFFECTIVE_SAMPLES / len(J))
    total = normal
    for _ in range(_ROUNDS):
        error = np.abs(residual - J @ x)
        stddev = max(_SURFACE_STDDEV_M, 1.4826 * float(np.sort(error)[len(error) // 2]))
        weighted = J * (_cauchy(error / stddev) * (share / stddev**2))[:, None]
        total = weighted.T @ J + normal
        x = np.linalg.solve(total, weighted.T @ residual + pull)
    return x, np.linalg.inv(total)


def _cauchy(error: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + (error / _CAUCHY) ** 2)
