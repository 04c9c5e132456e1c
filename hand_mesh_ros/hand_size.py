"""A larger or smaller hand of the same form, in a hand model's shape coefficients."""

from __future__ import annotations

import numpy as np

from hand_mesh_ros.hand_models.hand_model import HandModel


class HandSize:
    """Scales shapes of one hand model; a hand and its mirror image have the same coefficients."""

    def __init__(self, model: HandModel) -> None:
        # A shape basis made of real hands holds their sizes: the open hand's represents a scaled
        # hand to 0.03%.
        directions = model.shape_dirs_m - model.joint_dirs_m[0]
        template = model.template_m - model.joint_template_m[0]
        num_shape = directions.shape[2]
        self._larger = np.linalg.lstsq(
            directions.reshape(-1, num_shape), template.reshape(-1), rcond=None
        )[0]

    def scaled(self, shape: np.ndarray, ratio: float) -> np.ndarray:
        """(S,) shape of a hand `ratio` times as large as that of (S,) `shape`."""
        return ratio * shape + (ratio - 1.0) * self._larger
