"""Builds a pipeline from the node's parameters: the one place where names become parts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from hand_mesh_ros.backends.base import BackEndError, EngineOptions, Precision
from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands
from hand_mesh_ros.hand_calibration import load_calibrations
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mano import load_mano
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.reconstruction.base import Reconstructor
from hand_mesh_ros.reconstruction.landmark_fit import LandmarkFit
from hand_mesh_ros.reconstruction.lifter import Lifter
from hand_mesh_ros.ros.parameters import NodeParameters, ParameterError
from hand_mesh_ros.safety import Action, SafetyGates, SafetyLimits
from hand_mesh_ros.smoothing import HandSmoother
from hand_mesh_ros.tracking import Tracker

IMAGE_NETWORKS = ("fused", "m3dhmr", "handmim", "amvur", "maskhand")
"""Models that look at pixels; they need torch and weights."""
DRAWS_HANDS = ("maskhand",)
"""Those of them that can say what else a hand may be."""


Log = Callable[[str], None]


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def build_pipeline(parameters: NodeParameters, *, log: Log = _say) -> Pipeline:
    """The pipeline that the parameters describe; an engine that has to be built takes minutes.

    Args:
        parameters: the node's.
        log: gets a line about each engine that is built, refused or taken.

    Raises:
        ParameterError: a model or back-end that does not exist or cannot run here.
        OSError, ValueError, ImportError: weights, a file or a library that it needs are missing or
            unfit.
    """
    reconstructor = build_reconstructor(parameters, log=log)
    path = Path(parameters.hand_calibration_file)
    if parameters.hand_calibration_file and path.exists():  # else calibrate_hand will make it
        calibrations = load_calibrations(path, reconstructor.hand_model)
        reconstructor.use_calibrations(calibrations)
    return Pipeline(
        detector=MediaPipeHands(
            max_hands=parameters.max_hands,
            min_hand_detection_confidence=parameters.min_hand_detection_confidence,
            min_tracking_confidence=parameters.min_tracking_confidence,
            hand_landmarker_task=parameters.hand_landmarker_task,
        ),
        tracker=Tracker(max_gap_s=parameters.lost_hand_timeout_s),
        reconstructor=reconstructor,
        smoother=build_smoother(parameters, reconstructor.hand_model),
        safety=build_safety(parameters, reconstructor.hand_model),
    )


def build_reconstructor(parameters: NodeParameters, *, log: Log = _say) -> Reconstructor:
    """What makes meshes of detections; raises as `build_pipeline` does."""
    if parameters.num_hypotheses > 1 and parameters.model not in DRAWS_HANDS:
        raise ParameterError(
            f"parameter num_hypotheses: got {parameters.num_hypotheses}, expected 1: "
            f'"{parameters.model}" makes one hand; {", ".join(DRAWS_HANDS)} makes several'
        )
    model, known_hand_length_m = _hand_model(parameters), parameters.known_hand_length_m or None
    if parameters.model == "landmark_fit":
        return LandmarkFit(model, known_hand_length_m=known_hand_length_m)
    if parameters.model == "lifter":
        lifter = Lifter.load(parameters.checkpoint or "lifter", model)
        return LandmarkFit(model, lifter=lifter, known_hand_length_m=known_hand_length_m)
    if parameters.model in IMAGE_NETWORKS:
        return _image_network(parameters, model, known_hand_length_m, log)
    known = ", ".join(f'"{name}"' for name in ("lifter", "landmark_fit", *IMAGE_NETWORKS))
    raise ParameterError(f'parameter model: got "{parameters.model}", expected one of {known}')


def build_smoother(parameters: NodeParameters, model: HandModel) -> HandSmoother | None:
    """The filter of each track's hand, or None where it is switched off."""
    if not parameters.smoothing_enabled:
        return None
    return HandSmoother(
        model, min_cutoff_hz=parameters.smoothing_min_cutoff_hz, beta=parameters.smoothing_beta
    )


def build_safety(parameters: NodeParameters, model: HandModel) -> SafetyGates:
    """The gates that every hand passes before it is smoothed and published."""
    limits = SafetyLimits(
        action=cast(Action, parameters.safety_action),
        joint_margin_deg=parameters.safety_joint_margin_deg,
        max_speed_m_s=parameters.safety_max_speed_m_s,
        max_turn_rate_rad_s=parameters.safety_max_turn_rate_rad_s,
        max_reprojection_error=parameters.safety_max_reprojection_error,
        min_side_score=parameters.safety_min_side_score,
    )
    return SafetyGates(model, limits)


def _image_network(
    parameters: NodeParameters, model: HandModel, known_hand_length_m: float | None, log: Log
) -> Reconstructor:
    try:
        from hand_mesh_ros.reconstruction.network import NetworkReconstructor
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            f'model "{parameters.model}" needs torch: pip install hand_mesh_ros[torch]'
        ) from error
    options = EngineOptions(
        backend=parameters.backend,
        precision=cast(Precision, parameters.precision),
        device=parameters.device,
        max_batch=parameters.max_hands,
        cache_dir=parameters.engine_cache_dir or None,
    )
    try:
        return NetworkReconstructor.load(
            parameters.model,
            model,
            checkpoint=parameters.checkpoint,
            known_hand_length_m=known_hand_length_m,
            num_hypotheses=parameters.num_hypotheses,
            engine=options,
            log=log,
        )
    except BackEndError as error:
        raise ParameterError(f'parameter backend: got "{parameters.backend}": {error}') from error


def _hand_model(parameters: NodeParameters) -> HandModel:
    if parameters.hand_model == "mano":
        return load_mano(Path(parameters.mano_dir))
    return load_open_hand()
