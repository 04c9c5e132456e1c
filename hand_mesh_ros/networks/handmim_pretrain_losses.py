"""What HandMIM's student learns without labels (sections 3.2 to 3.4 of the paper).

It sees two views of a hand with patches hidden; its slow average, the teacher, sees all of them.
Its class token of one view is to say what the teacher's says of the other, as keypoints from which
crop and rotation are undone; its hidden patch tokens what the teacher's say of the same view; and
its pyramid is to paint the hidden pixels.

Ours: the centre is subtracted after the alignment, and patches that the student sees have neither
loss nor logits, which saves most of the head's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hand_mesh_ros.networks.handmim_pretrain import HandMIMPretrain
from hand_mesh_ros.networks.layers.distillation import (
    Center,
    DistillationHead,
    Teacher,
    cross_entropy,
    entropy,
    teacher_probabilities,
)
from hand_mesh_ros.networks.layers.pseudo_keypoints import ViewGeometry, aligned_logits
from hand_mesh_ros.networks.layers.vit import PATCH_PX, ViTTokens


class MaskedView(NamedTuple):
    """One view of B images, and what the student does not see of it."""

    image: Tensor
    """(B, 3, S, S) RGB in [0, 1]."""
    mask: Tensor
    """(B, N) bool, hidden patches."""
    geometry: ViewGeometry
    """Where in its image it lies."""


@dataclass(frozen=True)
class Temperatures:
    """What logits are divided by: the lower, the surer the answer; constant, as in the paper."""

    student: float = 0.1
    teacher: float = 0.04

    def __post_init__(self) -> None:
        for name in ("student", "teacher"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


class SelfDistillation(nn.Module):
    """The teacher with its centres, and the three losses."""

    def __init__(
        self, student: HandMIMPretrain, temperatures: Temperatures, center_momentum: float
    ) -> None:
        super().__init__()
        self.temperatures = temperatures
        self.teacher = Teacher(student)
        # What the teacher has no use for.
        self.teacher.network.decoder = None
        self.teacher.network.backbone.mask_token = None
        outputs = 2 * student.config.pseudo_keypoints
        self.cls_center = Center(outputs, center_momentum)
        self.patch_center = Center(outputs, center_momentum)

    def losses(
        self, student: HandMIMPretrain, views: tuple[MaskedView, MaskedView]
    ) -> dict[str, Tensor]:
        """Terms by name, each the mean of both views; moves the centres.

        "pose" and "token" are cross-entropies in nats, "pixel" is the mean distance of normalised
        colours.
        """
        config = student.config
        seen = [student.tokens(view.image, view.mask) for view in views]
        terms: dict[str, Tensor] = {}
        if student.head is not None:
            with torch.no_grad():
                known = [self.teacher.network.tokens(view.image) for view in views]
            if config.pose_loss:
                terms["pose"] = self._pose_loss(student, seen, known, views)
            if config.token_loss:
                terms["token"] = self._token_loss(student, seen, known, views)
        if config.pixel_loss:
            each = [
                pixel_loss(student.pixels(tokens), student.backbone.colors(view.image), view.mask)
                for tokens, view in zip(seen, views, strict=True)
            ]
            terms["pixel"] = torch.stack(each).mean()
        return terms

    @torch.no_grad()
    def teacher_answers(self, view: MaskedView) -> Tensor:
        """(B, outputs) probabilities for class tokens of whole views."""
        logits = self._cls_logits(
            self.teacher.network, self.teacher.network.tokens(view.image), view
        )
        return teacher_probabilities(logits, self.cls_center.value, self.temperatures.teacher)

    def _pose_loss(
        self,
        student: HandMIMPretrain,
        seen: list[ViTTokens],
        known: list[ViTTokens],
        views: tuple[MaskedView, MaskedView],
    ) -> Tensor:
        """Cross-view: eq. 8."""
        with torch.no_grad():
            logits = [
                self._cls_logits(self.teacher.network, tokens, view)
                for tokens, view in zip(known, views, strict=True)
            ]
            center, temperature = self.cls_center.value, self.temperatures.teacher
            answers = [teacher_probabilities(each, center, temperature) for each in logits]
            self.cls_center.update(torch.cat(logits))
        given = [
            self._cls_logits(student, tokens, view)
            for tokens, view in zip(seen, views, strict=True)
        ]
        both = [
            cross_entropy(answers[1 - i], given[i], self.temperatures.student).mean()
            for i in range(2)
        ]
        return torch.stack(both).mean()

    def _token_loss(
        self,
        student: HandMIMPretrain,
        seen: list[ViTTokens],
        known: list[ViTTokens],
        views: tuple[MaskedView, MaskedView],
    ) -> Tensor:
        """Same view, hidden patches: eq. 9."""
        mask = torch.cat([view.mask for view in views])  # (2 B, N)
        share = 1.0 / mask.sum(1, keepdim=True).clamp_min(1)  # (2 B, 1)
        weight = share.expand(mask.shape)[mask]  # (M,) every image counts the same
        with torch.no_grad():
            known_patches = torch.cat([tokens.patches for tokens in known])[mask]  # (M, D)
            logits = _head(self.teacher.network)(known_patches)
            center, temperature = self.patch_center.value, self.temperatures.teacher
            answers = teacher_probabilities(logits, center, temperature)
            self.patch_center.update(logits)
        given = _head(student)(torch.cat([tokens.patches for tokens in seen])[mask])
        each = cross_entropy(answers, given, self.temperatures.student)  # (M,)
        return (each * weight).sum() / len(mask)

    @staticmethod
    def _cls_logits(network: HandMIMPretrain, tokens: ViTTokens, view: MaskedView) -> Tensor:
        logits = _head(network)(tokens.cls)
        if not network.config.pose_alignment:
            return logits
        return aligned_logits(logits, view.geometry)


def pixel_loss(painted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean distance of (B, 3, S, S) colours over (B, N) hidden patches (eq. 11)."""
    hidden = hidden_pixels(mask, truth.shape[2])
    error = (painted - truth).abs().mean(1, keepdim=True)
    return (error * hidden).sum() / hidden.sum().clamp_min(1)


def hidden_pixels(mask: Tensor, size_px: int) -> Tensor:
    """(B, 1, S, S) bool from (B, N) hidden patches."""
    grid = size_px // PATCH_PX
    pixels = mask.view(-1, 1, grid, grid).repeat_interleave(PATCH_PX, 2)
    return pixels.repeat_interleave(PATCH_PX, 3)


def feature_spread(features: Tensor) -> float:
    """Spread of (N, D) features' directions: about 1 if they are healthy, 0 if all are one."""
    unit = nn.functional.normalize(features.float(), dim=1)
    return float((unit.std(0) * features.shape[1] ** 0.5).mean())


def mean_entropy(probabilities: Tensor) -> float:
    """Mean over (N, outputs) answers, nats: log(outputs) if they say nothing."""
    return float(entropy(probabilities).mean())


def _head(network: HandMIMPretrain) -> DistillationHead:
    if network.head is None:
        raise ValueError("this network has no head; set pose_loss or token_loss in its config")
    return network.head
