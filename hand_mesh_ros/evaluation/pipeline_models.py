"""The live pipeline under evaluation: on images, or on landmarks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from hand_mesh_ros.assembly import IMAGE_NETWORKS, build_pipeline
from hand_mesh_ros.detection.base import Detector
from hand_mesh_ros.evaluation.detections import labelled_one
from hand_mesh_ros.evaluation.hand_keypoints import hand_keypoints_m
from hand_mesh_ros.evaluation.models import ModelError, ModelOptions, Prediction
from hand_mesh_ros.evaluation.observed_detections import ObservedLandmarks
from hand_mesh_ros.evaluation.samples import Convention, SeenSample
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.ros.parameters import NodeParameters, ParameterError
from hand_mesh_ros.types import Frame, Hand

_NO_IMAGE = np.zeros((1, 1, 3), np.uint8)


def build_on_images(argument: str, options: ModelOptions) -> PipelineModel:
    """`pipeline:NAME[:CHECKPOINT]`: everything the node does, from the image on."""
    parameters = _parameters(argument, options)
    return PipelineModel(f"pipeline:{argument}", parameters, options, options.detector)


def build_on_landmarks(argument: str, options: ModelOptions) -> PipelineModel:
    """`landmarks:NAME[:CHECKPOINT]`: on the sample's own landmarks, with no image."""
    parameters = _parameters(argument, options)
    if parameters.model in IMAGE_NETWORKS:
        raise ModelError(
            f"{parameters.model} looks at images; expected {parameters.model}[:CHECKPOINT]"
        )
    return PipelineModel(f"landmarks:{argument}", parameters, options, ObservedLandmarks())


def _build_on_crops(network: str, checkpoint: str, options: ModelOptions) -> PipelineModel:
    """An image network on the crop around the sample's own landmarks; no hand is missed."""
    parameters = _parameters(f"{network}:{checkpoint}", options)
    name = f"{network}:{checkpoint}" if checkpoint else network
    return PipelineModel(name, parameters, options, ObservedLandmarks(), needs_image=True)


# `NAME[:CHECKPOINT]`, one for each.
build_m3dhmr = partial(_build_on_crops, "m3dhmr")
build_fused = partial(_build_on_crops, "fused")
build_handmim = partial(_build_on_crops, "handmim")
build_amvur = partial(_build_on_crops, "amvur")
build_maskhand = partial(_build_on_crops, "maskhand")


def _parameters(argument: str, options: ModelOptions) -> NodeParameters:
    model, _, checkpoint = argument.partition(":")
    if not model:
        raise ModelError("has no name after the colon; expected one such as landmark_fit")
    # Single images have nothing to be smoothed with.
    parameters = NodeParameters(model=model, checkpoint=checkpoint, smoothing_enabled=False)
    if options.mano_dir:
        parameters = replace(parameters, hand_model="mano", mano_dir=options.mano_dir)
    return parameters


class PipelineModel:
    """A pipeline to which every image is the first of its stream."""

    def __init__(
        self,
        name: str,
        parameters: NodeParameters,
        options: ModelOptions,
        detector: Detector,
        *,
        needs_image: bool = False,
    ) -> None:
        """Build it; a detector that looks at images needs them in any case.

        Raises:
            ParameterError, OSError, ValueError, ImportError: as `build_pipeline` does.
        """
        self.name = name
        self.keypoint_convention: Convention = options.keypoints
        self.needs_image = needs_image or not isinstance(detector, ObservedLandmarks)
        self._parameters, self._detector = parameters, detector
        self._known_hand_length = options.known_hand_length
        self._pipeline = self._built(parameters)

    def _built(self, parameters: NodeParameters) -> Pipeline:
        pipeline = build_pipeline(parameters)
        pipeline.close()  # its own detector
        return Pipeline(
            detector=self._detector,
            tracker=pipeline.tracker,
            reconstructor=pipeline.reconstructor,
            smoother=None,
        )

    def predict(self, samples: Sequence[SeenSample]) -> list[Prediction | None]:
        """One image after the other, as the node sees them."""
        return [self._predict(seen) for seen in samples]

    def close(self) -> None:
        """The detector belongs to whoever gave it."""

    def _predict(self, seen: SeenSample) -> Prediction | None:
        labels, pipeline = seen.sample.labels, self._pipeline
        if self._known_hand_length:
            pipeline = self._told_length(seen.sample.hand_length_m)
        image = seen.image if self.needs_image else _NO_IMAGE
        if image is None:
            raise ValueError(f"{self.name} was given no image of {labels.sample_id}")
        if isinstance(self._detector, ObservedLandmarks):
            self._detector.show(seen.sample)
        pipeline.reset()
        result = pipeline.process(Frame(image, labels.camera, 0, "camera"))
        hand = labelled_one(result.hands, labels, box_px=lambda h: h.box_px, side=lambda h: h.side)
        return None if hand is None else self._prediction(hand, seen)

    def _told_length(self, length_m: float | None) -> Pipeline:
        if length_m is None:
            return self._pipeline
        try:
            return self._built(replace(self._parameters, known_hand_length_m=length_m))
        except ParameterError as error:
            raise ModelError(f"--known-hand-length: {error}") from error

    def _prediction(self, hand: Hand, seen: SeenSample) -> Prediction:
        keypoints_m = hand_keypoints_m(hand, self._pipeline.hand_model, self.keypoint_convention)
        return Prediction(
            side=hand.side,
            keypoints_m=keypoints_m,
            keypoints_px=seen.sample.labels.camera.project(keypoints_m),
            in_camera_space=True,
            vertices_m=hand.vertices_m,
            hand_model=hand.hand_model,
            keypoint_stddev_m=hand.keypoint_stddev_m,
        )
