"""What can be evaluated: one small protocol, and the kinds of models by name.

A new kind is a file beside this one with a function that builds it, and a line in `KINDS`. Nothing
else has to know of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation.detections import SharedDetector
from hand_mesh_ros.evaluation.samples import Convention, SeenSample


class Kind(NamedTuple):
    """A kind of model, built by `function(argument, options)`.

    It raises ModelError, or what a missing file or library raises, where it cannot be built.
    """

    form: str
    """What a spec of it looks like."""
    module: str
    """Imported when the kind is asked for, as some need large libraries."""
    function: str


KINDS = {
    "pipeline": Kind(
        "pipeline:NAME[:CHECKPOINT]", f"{__package__}.pipeline_models", "build_on_images"
    ),
    "landmarks": Kind(
        "landmarks:NAME[:CHECKPOINT]", f"{__package__}.pipeline_models", "build_on_landmarks"
    ),
    "lifter": Kind("lifter", f"{__package__}.lifter_model", "build"),
    "m3dhmr": Kind("m3dhmr[:CHECKPOINT]", f"{__package__}.pipeline_models", "build_m3dhmr"),
    "fused": Kind("fused[:CHECKPOINT]", f"{__package__}.pipeline_models", "build_fused"),
    "handmim": Kind("handmim[:CHECKPOINT]", f"{__package__}.pipeline_models", "build_handmim"),
    "amvur": Kind("amvur[:CHECKPOINT]", f"{__package__}.pipeline_models", "build_amvur"),
    "maskhand": Kind("maskhand[:CHECKPOINT]", f"{__package__}.pipeline_models", "build_maskhand"),
    "mediapipe": Kind("mediapipe", f"{__package__}.mediapipe_model", "build"),
}


class ModelError(ValueError):
    """A model cannot be evaluated; its text is one line."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """One model's answer for one labelled hand; camera axes, m."""

    side: Side | None
    """Which hand the model took it for; None where it was told or does not care."""
    keypoints_m: np.ndarray
    """(21, 3) in the model's `keypoint_convention`."""
    keypoints_px: np.ndarray
    """(21, 2) px of the raw image, for data sets with 2D labels and for pictures."""
    in_camera_space: bool
    """False where the wrist's place means nothing."""
    vertices_m: np.ndarray | None = None
    """(V, 3), same frame as the keypoints."""
    hand_model: str | None = None
    """Whose topology the vertices have."""
    keypoint_stddev_m: np.ndarray | None = None
    """(21,) or (21, 3), about the hand's centre, of a hand whose size is known; 0 where not
    estimated."""


class EvaluatedModel(Protocol):
    """Anything that says where the 21 keypoints of a labelled hand are."""

    @property
    def name(self) -> str:
        """Key of its figures in the report."""
        ...

    @property
    def keypoint_convention(self) -> Convention:
        """Of its predictions."""
        ...

    @property
    def needs_image(self) -> bool:
        """Whether it looks at images; where no model does, none is loaded."""
        ...

    def predict(self, samples: Sequence[SeenSample]) -> list[Prediction | None]:
        """One answer a sample, in their order; None where the hand was missed."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True)
class ModelOptions:
    """What all models of one evaluation have in common."""

    keypoints: Convention = "anatomical"
    """Convention to answer in, for models that know several."""
    known_hand_length: bool = False
    """Tell each hand's true length to models that can use it."""
    mano_dir: str = ""
    """Folder of the user's MANO files: meshes are MANO's; empty: the open hand's."""
    detector: SharedDetector = field(default_factory=SharedDetector)
    """One for all, so that they are compared on the same detections."""


def build_model(spec: str, options: ModelOptions) -> EvaluatedModel:
    """Build the model of a spec such as "pipeline:landmark_fit" or "mediapipe".

    Raises:
        ModelError: no such kind, or it cannot be built; lists what is known.
    """
    kind, _, argument = spec.partition(":")
    if kind not in KINDS:
        forms = ", ".join(known.form for known in KINDS.values())
        raise ModelError(f"model {spec!r} is unknown; expected one of {forms}")
    try:
        module = importlib.import_module(KINDS[kind].module)
        return getattr(module, KINDS[kind].function)(argument, options)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"model {spec!r}: {error}; install it: pip install hand_mesh_ros[train]"
        ) from error
    except (ValueError, OSError, ImportError) as error:
        raise ModelError(f"model {spec!r}: {error}") from error
