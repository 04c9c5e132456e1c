"""What deviations and colours of vertices are worth on validation hands."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hand_mesh_ros.evaluation.calibration import calibration
from hand_mesh_ros.evaluation.image_quality import masked_psnr_db, masked_ssim
from hand_mesh_ros.training.task import Batch
from hand_mesh_ros.training.texture_rendering import render_hands

_MOST_VERTICES = 60
"""Of each hand that are ranked: a sort of all of them would take longer than the network."""


class DeviationTally:
    """Gathers errors and deviations batch by batch."""

    def __init__(self) -> None:
        self._errors: list[np.ndarray] = []
        self._stddevs: list[np.ndarray] = []
        self._seen: list[np.ndarray] = []
        self._hidden: dict[str, list[np.ndarray]] = {"hidden": [], "covered": []}

    def add(self, answers: dict[str, Tensor], batch: Batch) -> None:
        """Take a batch of answers; those without deviations are left out."""
        if "vertex_stddev_m" not in answers:
            return
        error = (answers["vertices_m"] - batch["vertices_m"]).double()
        self._errors.append((error - error.mean(dim=1, keepdim=True)).cpu().numpy())
        self._stddevs.append(answers["vertex_stddev_m"].double().cpu().numpy())
        if "visibility" in batch:
            self._seen.append(batch["visibility"].cpu().numpy())
            self._hidden["hidden"].append(~self._seen[-1])
            self._hidden["covered"].append(batch["covered"].cpu().numpy())

    def figures(self) -> dict[str, float]:
        """Figures by name; none where there were no deviations.

        stddev_rank_correlation (Spearman's, of a vertex's deviation and the length of its error),
        within_one_stddev (share of coordinates, 0.68 is right), and where it is known what is seen,
        hidden_to_seen_stddev (ratio of medians of deviations) and hidden_to_seen_error (of errors);
        likewise covered_to_seen_* of those that a thing or another hand hides.
        """
        if not self._errors:
            return {}
        error, stddev = np.concatenate(self._errors), np.concatenate(self._stddevs)
        step = max(1, stddev.shape[1] // _MOST_VERTICES)
        report = calibration(error[:, ::step], stddev[:, ::step])
        figures = {"within_one_stddev": report.within_one_stddev}
        if report.rank_correlation is not None:
            figures["stddev_rank_correlation"] = report.rank_correlation
        if not self._seen:
            return figures
        seen, length = np.concatenate(self._seen), np.linalg.norm(error, axis=2)
        for kind, parts in self._hidden.items():
            hidden = np.concatenate(parts)
            for name, values in (("stddev", stddev), ("error", length)):
                if seen.any() and hidden.any():
                    ratio = np.median(values[hidden]) / np.median(values[seen])
                    figures[f"{kind}_to_seen_{name}"] = float(ratio)
        return figures


class TextureTally:
    """Gathers how like the image a coloured mesh is, where both show the hand."""

    def __init__(self, faces: Tensor) -> None:
        self._faces = faces
        self._ssim: list[Tensor] = []
        self._psnr_db: list[Tensor] = []

    def add(self, answers: dict[str, Tensor], batch: Batch) -> None:
        """Take a batch of answers; those without colours are left out."""
        if "vertex_colors" not in answers:
            return
        image = batch["image"]
        drawn = render_hands(
            answers["vertices_m"],
            answers["camera"],
            answers["vertex_colors"],
            self._faces,
            image.shape[-1],
        )
        mask = drawn.mask & batch["mask"] if "mask" in batch else drawn.mask
        shown = mask.flatten(1).any(dim=1)
        args = drawn.image[shown], image[shown], mask[shown]
        self._ssim.append(masked_ssim(*args).cpu())
        self._psnr_db.append(masked_psnr_db(*args).cpu())

    def figures(self) -> dict[str, float]:
        """texture_ssim and texture_psnr_db, means over the hands; none without colours."""
        found = {"texture_ssim": self._ssim, "texture_psnr_db": self._psnr_db}
        return {name: float(torch.cat(v).mean()) for name, v in found.items() if v}
