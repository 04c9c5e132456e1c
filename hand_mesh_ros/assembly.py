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
from hand_mesh_ros.smoothing import HandSmoother
from hand_mesh_ros.tracking import Tracker

IMAGE_NETWORKS = ("m3dhmr", "handmim", "amvur", "maskhand")
"""Models that look at pixels; they need torch and weights."""


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
    )


def build_reconstructor(parameters: NodeParameters, *, log: Log = _say) -> Reconstructor:
    """What makes meshes of detections; raises as `build_pipeline` does."""
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
            engine=options,
            log=log,
        )
    except BackEndError as error:
        raise ParameterError(f'parameter backend: got "{parameters.backend}": {error}') from error


def _hand_model(parameters: NodeParameters) -> HandModel:
    if parameters.hand_model == "mano":
        return load_mano(Path(parameters.mano_dir))
    return load_open_hand()
