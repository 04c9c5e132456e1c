"""Losses of AMVUR: supervised (eqs. 3 to 6), by 2D joints alone (eqs. 7 and 8), texture (eq. 12).

All are means over coordinates, in nats. The paper prints no deviations but the prior's, which is 1
without a unit: here `PRIOR_STDDEV_M`, about what a prior-net errs by. With a weight of 1 for both
parts of eq. 3 their logarithms cancel, and the best deviation is not the error but its geometric
mean with the prior's; so the divergence has the weight of the authors' code, 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from hand_mesh_ros.networks.amvur import AMVUR, PRIOR_STDDEV_M, Estimate, MeshDistribution
from hand_mesh_ros.networks.amvur_prior import START_CAMERA, project

UV_STDDEV = 0.02
"""Of a 2D joint about its projection, crop units."""
CAMERA_STDDEV = (0.1, 0.02, 0.02, 0.2)
"""How well a camera's numbers are to be known: log scale, u, v, log of inverse distance."""
CAMERA_PRIOR_STDDEV = (0.3, 0.15, 0.1, 0.5)
"""How they scatter about `START_CAMERA` over rendered crops."""
SMOOTH_UV = 0.05
"""Errors of 2D joints beyond this, crop units, count in proportion, not squared."""


@dataclass(frozen=True)
class AMVURLossWeights:
    """Weight of each term of supervised training; 0 leaves it out."""

    vertices: float = 1.0
    """Likelihood of the vertices, eq. 3."""
    vertices_kl: float = 0.1
    """Divergence from the prior distribution, eq. 3; needs both parts."""
    camera: float = 0.1
    """Eq. 4."""
    joints: float = 0.5
    """Of a drawn mesh, eq. 5."""
    joints_2d: float = 0.5
    """Of a drawn mesh in the predicted camera, eq. 6."""
    prior_vertices: float = 0.5
    """Likelihoods of the same under the prior distribution, as in the authors' code."""
    prior_joints: float = 0.5
    prior_joints_2d: float = 0.5

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class AMVURWeakLossWeights:
    """Weight of each term of training by 2D joints alone; 0 leaves it out."""

    joints_2d: float = 1.0
    """Of a drawn mesh in the predicted camera: the first term of eq. 8."""
    joints_2d_spread: float = 0.1
    """Ours: likelihood of the 2D joints if they scatter as the deviations say; only from this can
    deviations be learned without 3D truth."""
    vertices_kl: float = 0.1
    """Divergences from the prior distribution, eq. 8; need both parts."""
    joints_kl: float = 0.1
    camera_kl: float = 0.02
    prior_joints_2d: float = 1.0
    prior_pose: float = 0.02
    """Ours: angles and shape that are usual."""
    prior_shape: float = 0.02

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, eq=False)
class AMVURTruth:
    """B labelled hands; m, crop's axes, wrist joint at the origin."""

    vertices_m: Tensor
    """(B, V, 3)"""
    keypoints_m: Tensor
    """(B, 21, 3)"""
    keypoints_uv: Tensor
    """(B, 21, 2) crop units."""
    camera: Tensor
    """(B, 4) of `amvur_prior.true_camera`."""


def supervised_losses(
    network: AMVUR, estimate: Estimate, truth: AMVURTruth, weights: AMVURLossWeights
) -> dict[str, Tensor]:
    """Weighted terms by name; left out: those of weight 0, and of parts that are not there.

    Args:
        network: in training mode: meshes are drawn.
        estimate: of it.
        truth: of the same crops.
        weights: of the terms.
    """
    camera, mesh, prior = estimate.camera, estimate.mesh, estimate.prior
    numbers = camera.shape[1]
    wanted = truth.camera[:, :numbers]
    terms = {
        "camera": lambda: _squared(camera - wanted, camera.new_tensor(CAMERA_STDDEV[:numbers]))
    }
    if mesh is not None:
        _, joints = network.hand_of(estimate)
        uv = project(joints, camera)
        terms["vertices"] = lambda: gaussian_nll(mesh, truth.vertices_m)
        terms["joints"] = lambda: _squared(joints - truth.keypoints_m, PRIOR_STDDEV_M)
        terms["joints_2d"] = lambda: joints_2d_loss(uv, truth.keypoints_uv)
    if prior is not None:
        prior_uv = project(prior.keypoints_m, camera)
        terms["prior_vertices"] = lambda: _squared(
            prior.vertices_m - truth.vertices_m, PRIOR_STDDEV_M
        )
        terms["prior_joints"] = lambda: _squared(
            prior.keypoints_m - truth.keypoints_m, PRIOR_STDDEV_M
        )
        terms["prior_joints_2d"] = lambda: joints_2d_loss(prior_uv, truth.keypoints_uv)
    if mesh is not None and prior is not None:
        terms["vertices_kl"] = lambda: divergence(mesh.mean_m, mesh.stddev_m, prior.vertices_m)
    return _weighted(terms, weights)


def weak_losses(
    network: AMVUR, estimate: Estimate, keypoints_uv: Tensor, weights: AMVURWeakLossWeights
) -> dict[str, Tensor]:
    """Weighted terms by name, as `supervised_losses`, from (B, 21, 2) 2D joints alone."""
    camera, mesh, prior = estimate.camera, estimate.mesh, estimate.prior
    numbers = camera.shape[1]
    usual = camera - camera.new_tensor(START_CAMERA[:numbers])
    terms = {"camera_kl": lambda: _squared(usual, camera.new_tensor(CAMERA_PRIOR_STDDEV[:numbers]))}
    if mesh is not None:
        _, joints = network.hand_of(estimate)
        uv = project(joints, camera)
        variance = network.keypoint_variance(mesh.stddev_m.square())  # (B, 21, 3)
        mean = network.keypoint_weights @ mesh.mean_m
        terms["joints_2d"] = lambda: joints_2d_loss(uv, keypoints_uv)
        terms["joints_2d_spread"] = lambda: joints_2d_nll(mean, variance, camera, keypoints_uv)
    if prior is not None:
        prior_uv = project(prior.keypoints_m, camera)
        terms["prior_joints_2d"] = lambda: joints_2d_loss(prior_uv, keypoints_uv)
        terms["prior_pose"] = lambda: _squared(prior.unusual, 1.0)
        terms["prior_shape"] = lambda: _squared(prior.shape, 1.0)
    if mesh is not None and prior is not None:
        terms["vertices_kl"] = lambda: divergence(mesh.mean_m, mesh.stddev_m, prior.vertices_m)
        terms["joints_kl"] = lambda: divergence(mean, variance.sqrt(), prior.keypoints_m)
    return _weighted(terms, weights)


def gaussian_nll(mesh: MeshDistribution, vertices_m: Tensor) -> Tensor:
    """Likelihood of (B, V, 3) true vertices, both about their centres; 0 at the prior's deviation.

    The first part of eq. 3.
    """
    error = (mesh.mean_m - vertices_m) / PRIOR_STDDEV_M
    error = error - error.mean(dim=1, keepdim=True)
    spread = mesh.stddev_m / PRIOR_STDDEV_M
    return 0.5 * ((error / spread).square() + 2.0 * spread.log()).mean()


def divergence(mean_m: Tensor, stddev_m: Tensor, prior_mean_m: Tensor) -> Tensor:
    """Of (B, N, 3) Gaussians from those of `PRIOR_STDDEV_M` about the prior's means.

    The second part of eq. 3.
    """
    off = (mean_m - prior_mean_m) / PRIOR_STDDEV_M
    variance = (stddev_m / PRIOR_STDDEV_M).square()
    return 0.5 * (variance + off.square() - 1.0 - variance.log()).mean()


def joints_2d_loss(uv: Tensor, keypoints_uv: Tensor) -> Tensor:
    """Likelihood of (B, 21, 2) 2D joints about projections (eq. 6), `UV_STDDEV` for all.

    Ours: far errors count in proportion, or the first steps would be about nothing else.
    """
    error = torch.nn.functional.huber_loss(uv, keypoints_uv, delta=SMOOTH_UV)
    return error / UV_STDDEV**2


def joints_2d_nll(
    joints_m: Tensor, variance: Tensor, camera: Tensor, keypoints_uv: Tensor
) -> Tensor:
    """Likelihood of (B, 21, 2) 2D joints that scatter as (B, 21, 3) variances in m^2 say.

    The means are taken as given: deviations are to explain errors, not to excuse them.
    """
    across = variance[..., :2] * (2.0 * camera[:, None, :1].detach()).exp() / UV_STDDEV**2
    error = (project(joints_m, camera) - keypoints_uv).detach() / UV_STDDEV
    error = error - error.mean(dim=1, keepdim=True)
    return 0.5 * (error.square() / across + across.log()).mean()


def texture_loss(rendered: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of (B, 3, S, S) images where the (B, S, S) mask is (eq. 12)."""
    inside = mask[:, None].to(image.dtype)
    return ((rendered - image).abs() * inside).sum() / (3.0 * inside.sum()).clamp_min(1.0)


def _squared(error: Tensor, stddev: Tensor | float) -> Tensor:
    """Gaussian likelihood of a known deviation, without its constant."""
    return 0.5 * (error / stddev).square().mean()


def _weighted(terms: dict[str, Any], weights: Any) -> dict[str, Tensor]:
    return {
        name: getattr(weights, name) * term()
        for name, term in terms.items()
        if getattr(weights, name) > 0.0
    }


def _check(weights: Any) -> None:
    for field in fields(weights):
        if not getattr(weights, field.name) >= 0.0:
            raise ValueError(f"{field.name} must be 0 or more, got {getattr(weights, field.name)}")
