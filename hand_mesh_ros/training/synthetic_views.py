"""Poses seen by random cameras, and the crops that a detector would cut out.

A crop is what `cropping.py` makes of a real image: seen by a camera that looks straight at the
middle of the (jittered) box and holds the hand upright.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.cropping import AIMING_ROUNDS, NEAREST, PALM, PALM_UPRIGHT
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.pose_prior import PosePrior
from hand_mesh_ros.hand_models.random_views import DEPTH_M, FOV_DEG, IMAGE_SIZES_PX
from hand_mesh_ros.hand_models.torch_hand import TorchHand
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.synthetic_dice import Dice

BOXED = "detector"
"""The keypoints that a crop's box is drawn around."""
_FLESH_M = 0.02
_CUT = (-0.1, 0.7)
"""How much of its radius a truncated hand stays inside of the image."""
_MARGIN = (0.0, 0.7)
"""Of the hand's larger side: what a tightly cut image shows on each side of the hand."""
_USUAL_PALM = 0.4
"""Length of the palm in the image, of the larger side of the keypoints' box."""


@dataclass(frozen=True, eq=False)
class Views:
    """N posed hands before the cameras of their crops; m, axes of the crop's camera."""

    rotations: Tensor
    """(N, 16, 3, 3) local, the first into the camera."""
    shape: Tensor
    """(N, 10)"""
    vertices_m: Tensor
    """(N, V, 3)"""
    keypoints_m: dict[str, Tensor]
    """(N, 21, 3) by each regressor."""
    wrist_m: Tensor
    """(N, 3) joint 0."""
    K_crop: Tensor
    """(N, 3, 3) px of the crop."""
    box_px: Tensor
    """(N,) side of the crop in the pixels of the camera's image."""
    edges: Tensor
    """(N, 4, 3) lines in crop pixels, inside of the camera's image where a x + b y + c >= 0."""


class PoseBank(nn.Module):
    """Finger poses and shapes of one hand model, drawn once from the prior."""

    rotations: Tensor
    shape: Tensor

    def __init__(self, model: HandModel, size: int, seed: int) -> None:
        super().__init__()
        self.regressors = tuple(sorted(model.keypoint_regressors))
        for name, values in zip(("rotations", "shape"), _poses(model, size, seed), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)


@lru_cache(maxsize=4)
def _poses(model: HandModel, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 15, 3, 3) finger rotations and (N, 10) shapes; kept, since they take long to draw."""
    prior = PosePrior(model)
    samples = prior.sample(size, np.random.default_rng(seed))
    return samples.rotations(prior.anatomy)[:, 1:], samples.shape


def draw_views(bank: PoseBank, hand: TorchHand, config: SyntheticConfig, dice: Dice) -> Views:
    """Draw poses from the bank and look at them; `bank` and `hand` are on the device of `dice`."""
    n = dice.n
    chosen = dice.index(len(bank.shape))
    shape = bank.shape[chosen]
    rotations = torch.cat([_rotations(dice)[:, None], bank.rotations[chosen]], dim=1)
    posed = hand(rotations, shape)
    keypoints = {name: hand.keypoints(posed, shape, name) for name in bank.regressors}
    outline = torch.cat(list(keypoints.values()), dim=1)
    centre = 0.5 * (outline.amin(1) + outline.amax(1))
    radius = (outline - centre[:, None]).norm(dim=-1).amax(1) + _FLESH_M

    place, focal, middle, size = _cameras(radius, config, dice)
    t = place - centre  # wrist in the camera frame

    R, extent = _aim(keypoints[BOXED] + t[:, None], config, dice)
    side = extent * dice.uniform(*config.box_scale)
    shift = config.box_shift * side[:, None] * dice.uniform(-1.0, 1.0, 2)
    # The shifted box is looked at in turn: a crop's optical axis is always its middle.
    R = R @ _rotations_to(torch.cat([shift, torch.ones_like(shift[:, :1])], dim=1))
    K_crop = torch.zeros(n, 3, 3, device=dice.device)
    K_crop[:, 0, 0] = K_crop[:, 1, 1] = config.size_px / side
    K_crop[:, :2, 2], K_crop[:, 2, 2] = 0.5 * (config.size_px - 1), 1.0
    K_camera = torch.zeros_like(K_crop)
    K_camera[:, 0, 0] = K_camera[:, 1, 1] = focal
    K_camera[:, :2, 2], K_camera[:, 2, 2] = middle, 1.0

    low, high = _image_corners(posed.vertices_m + t[:, None], K_camera, size, config, dice)
    to_view = R.transpose(1, 2)
    rotations = torch.cat([(to_view @ rotations[:, 0])[:, None], rotations[:, 1:]], dim=1)
    return Views(
        rotations=rotations,
        shape=shape,
        vertices_m=(posed.vertices_m + t[:, None]) @ R,
        keypoints_m={k: (v + t[:, None]) @ R for k, v in keypoints.items()},
        wrist_m=torch.einsum("nba,nb->na", R, t),
        K_crop=K_crop,
        # Off its axis, a camera's image is stretched: lengths by 1 / cos^1.5 in the mean.
        box_px=focal * side * R[:, 2, 2].clamp_min(NEAREST) ** -1.5,
        edges=_image_edges(K_camera @ R @ torch.linalg.inv(K_crop), low, high),
    )


def _aim(points: Tensor, config: SyntheticConfig, dice: Dice) -> tuple[Tensor, Tensor]:
    """Look at hands as `cropping.aim_crop` does, but for a random turn about the line of sight.

    Returns:
        (N, 3, 3) from the imagined camera's axes to the camera's, and (N,) the larger side of the
        (N, 21, 3) points' box there, x/z and y/z.
    """
    towards = torch.nn.functional.normalize(points, dim=-1)
    aim = towards.mean(1)
    weights = torch.zeros(points.shape[1], device=dice.device)
    weights[list(PALM)] = torch.tensor(PALM_UPRIGHT, device=dice.device)
    limit = np.radians(config.box_rotation_deg)
    angle = dice.uniform(-limit, limit)
    for _ in range(AIMING_ROUNDS):
        R = _rotations_to(aim)
        seen = _seen(towards @ R)
        along = torch.einsum("k,nkc->nc", weights, seen)
        extent = (seen.amax(1) - seen.amin(1)).amax(-1)
        # The shorter a palm looks, the less its direction is known; of a fist's, nothing.
        known = (along.norm(dim=-1) / (_USUAL_PALM * extent)).clamp(0.01, 1.0)
        R = R @ _turns_upright(along, angle / known)
        seen = _seen(towards @ R)
        low, high = seen.amin(1), seen.amax(1)
        centre = torch.cat([0.5 * (low + high), torch.ones_like(low[:, :1])], dim=1)
        aim, extent = torch.einsum("nab,nb->na", R, centre), (high - low).amax(-1)
    return R, extent


def _seen(points: Tensor) -> Tensor:
    """(N, P, 2) x/z, y/z."""
    return points[..., :2] / points[..., 2:].clamp_min(NEAREST)


def _rotations_to(directions: Tensor) -> Tensor:
    """(N, 3, 3) smallest rotations from the optical axis (z) to (N, 3) directions before it."""
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    k = 1.0 / (1.0 + z)
    R = [1.0 - k * x * x, -k * x * y, x, -k * x * y, 1.0 - k * y * y, y, -x, -y, z]
    return torch.stack(R, dim=-1).unflatten(-1, (3, 3))


def _turns_upright(along: Tensor, angle: Tensor) -> Tensor:
    """(N, 3, 3) turns about z after which (N, 2) directions point up, but for (N,) angles."""
    turn = torch.atan2(along[:, 0], -along[:, 1]) + angle
    c, s = turn.cos(), turn.sin()
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


def _cameras(
    radius: Tensor, config: SyntheticConfig, dice: Dice
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The hand's middle (N, 3) m; focal (N,), principal point (N, 2) and image size (N, 2), px."""
    sizes = torch.tensor(IMAGE_SIZES_PX, dtype=torch.float32, device=dice.device)
    size = sizes[dice.index(len(sizes))]
    fov = torch.deg2rad(dice.uniform(*FOV_DEG))
    focal = 0.5 * size[:, 0] / torch.tan(0.5 * fov)
    middle = 0.5 * (size - 1) + 0.02 * dice.normal(2).clamp(-2.5, 2.5) * size
    low = -middle / focal[:, None]
    high = (size - 1 - middle) / focal[:, None]  # tangents of the image's edges
    # A plane at tangent a is sqrt(1 + a a) times nearer to a point than the point's offset in x.
    inset_low = radius[:, None] * (1.0 + low * low).sqrt()
    inset_high = radius[:, None] * (1.0 + high * high).sqrt()
    near = (1.02 * (inset_low + inset_high) / (high - low)).amax(1)
    near = torch.maximum(near, DEPTH_M[0] + radius)
    far = (1.3 * near).clamp_min(DEPTH_M[1])
    depth = near * (far / near) ** dice.uniform(0.0, 1.0)
    # From edge to edge where the hand is whole; else one edge cuts it.
    lowest = low * depth[:, None] + inset_low
    highest = high * depth[:, None] - inset_high
    place = lowest + dice.uniform(0.0, 1.0, 2) * (highest - lowest)
    inside = dice.uniform(*_CUT)[:, None]
    cut_place = torch.where(
        dice.chance(0.5, 2) > 0,
        low * depth[:, None] + inside * inset_low,
        high * depth[:, None] - inside * inset_high,
    )
    axis = torch.nn.functional.one_hot(dice.index(2), 2)
    cut = dice.chance(config.truncation)[:, None] * axis
    place = torch.where(cut > 0, cut_place, place)
    return torch.cat([place, depth[:, None]], dim=1), focal, middle, size


def _image_corners(
    vertices_m: Tensor, K_camera: Tensor, size: Tensor, config: SyntheticConfig, dice: Dice
) -> tuple[Tensor, Tensor]:
    """(N, 2) px of the first and the last corner of the images, some of them cut close to the hand.

    Args:
        vertices_m: (N, V, 3) camera frame.
        K_camera: (N, 3, 3) px.
        size: (N, 2) of the camera's image, px.
        config: has the share of `tight_image`.
        dice: source of all randomness.
    """
    low, high = torch.full_like(size, -0.5), size - 0.5
    if config.tight_image == 0:
        return low, high
    dice = dice.stream("tight image")
    px = vertices_m @ K_camera.transpose(1, 2)
    px = px[..., :2] / px[..., 2:].clamp_min(1e-3)
    first, last = px.amin(1), px.amax(1)
    around = (last - first).amax(1, keepdim=True)
    tight = dice.chance(config.tight_image, 1) > 0
    first = first - 1.0 - dice.uniform(*_MARGIN, 2) * around
    last = last + 1.0 + dice.uniform(*_MARGIN, 2) * around
    # Where the camera's image ends within the hand, that edge stays.
    return torch.where(tight, torch.maximum(first, low), low), torch.where(
        tight, torch.minimum(last, high), high
    )


def _image_edges(to_image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(N, 4, 3) the camera image's edges as lines in crop pixels.

    Args:
        to_image: (N, 3, 3) takes crop pixels (x, y, 1) to w times the image's pixels (x, y, 1).
        low: (N, 2) px, the image's first corner.
        high: (N, 2) px, its last one.
    """
    x_y, w = to_image[:, :2], to_image[:, 2:]
    return torch.cat([x_y - low[..., None] * w, high[..., None] * w - x_y], dim=1)


def _rotations(dice: Dice) -> Tensor:
    """(N, 3, 3) uniform over all rotations."""
    w, x, y, z = dice.direction(4).unbind(-1)
    return torch.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))
