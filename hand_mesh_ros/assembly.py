"""Builds a pipeline from the node's parameters: the one place where names become parts."""

from __future__ import annotations

from pathlib import Path

from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands
from hand_mesh_ros.hand_calibration import load_calibrations
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mano import load_mano
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.reconstruction.base import Reconstructor
from hand_mesh_ros.reconstruction.landmark_fit import LandmarkFit
from hand_mesh_ros.ros.parameters import NodeParameters, ParameterError
from hand_mesh_ros.smoothing import HandSmoother
from hand_mesh_ros.tracking import Tracker


def build_pipeline(parameters: NodeParameters) -> Pipeline:
    """The pipeline that the parameters describe.

    Raises:
        ParameterError: a model that does not exist.
        OSError, ValueError, ImportError: a file or library that it needs is missing or unfit.
    """
    model = _hand_model(parameters)
    reconstructor = _reconstructor(parameters, model)
    path = Path(parameters.hand_calibration_file)
    if parameters.hand_calibration_file and path.exists():  # else calibrate_hand will make it
        reconstructor.use_calibrations(load_calibrations(path, model))
    smoother = HandSmoother(
        model,
        min_cutoff_hz=parameters.smoothing_min_cutoff_hz,
        beta=parameters.smoothing_beta,
    )
    return Pipeline(
        detector=MediaPipeHands(
            max_hands=parameters.max_hands,
            min_hand_detection_confidence=parameters.min_hand_detection_confidence,
            min_tracking_confidence=parameters.min_tracking_confidence,
            hand_landmarker_task=parameters.hand_landmarker_task,
        ),
        tracker=Tracker(max_gap_s=parameters.lost_hand_timeout_s),
        reconstructor=reconstructor,
        smoother=smoother if parameters.smoothing_enabled else None,
    )


def _hand_model(parameters: NodeParameters) -> HandModel:
    if parameters.hand_model == "mano":
        return load_mano(Path(parameters.mano_dir))
    return load_open_hand()


def _reconstructor(parameters: NodeParameters, model: HandModel) -> Reconstructor:
    if parameters.model != LandmarkFit.name:
        raise ParameterError(
            f'parameter model: got "{parameters.model}", expected one of "{LandmarkFit.name}"'
        )
    return LandmarkFit(model, known_hand_length_m=parameters.known_hand_length_m or None)
