"""MediaPipe's hand graph from its wheel, with its palm detector under our control.

The stock graph runs its palm detector on every image while fewer hands than the maximum are seen:
with one hand in view it never rests. Its memory of the last image can only be cleared by a restart.
And it drops the score of hand presence. Three small edits to the graph's description mend that.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.detection.mediapipe_import import defer_mediapipe_init
from hand_mesh_ros.detection.native_log import known_noise_dropped

INSTALL_LINE = 'pip install "mediapipe==0.10.21"'
_GRAPH_FILE = "modules/hand_landmark/hand_landmark_tracking_cpu.binarypb"
# Messages of the options in the graph: those not imported would be lost when it is handed over.
_OPTION_MESSAGES = (
    "core.constant_side_packet_calculator",
    "core.gate_calculator",
    "core.split_vector_calculator",
    "tensor.image_to_tensor_calculator",
    "tensor.inference_calculator",
    "tensor.tensors_to_classification_calculator",
    "tensor.tensors_to_detections_calculator",
    "tensor.tensors_to_landmarks_calculator",
    "tflite.ssd_anchors_calculator",
    "util.association_calculator",
    "util.detections_to_rects_calculator",
    "util.non_max_suppression_calculator",
    "util.rect_transformation_calculator",
    "util.thresholding_calculator",
)
_PALM_THRESHOLD = "palmdetectioncpu__TensorsToDetectionsCalculator.min_score_thresh"
_PRESENCE_THRESHOLD = "handlandmarkcpu__ThresholdingCalculator.threshold"


@dataclass(frozen=True)
class RawHand:
    """One hand as MediaPipe reports it, side already that of an image that is not mirrored."""

    side: Side
    side_score: float
    score: float
    keypoints: np.ndarray
    """(21, 2) fractions of the image's width and height."""
    keypoints_rel_m: np.ndarray
    """(21, 3) m, camera axes, about the hand's centre."""


class HandGraph:
    """Palm detector, landmarks and landmark tracking on the CPU, with the wheel's own models."""

    def __init__(self, *, max_hands: int, palm_threshold: float, presence_threshold: float) -> None:
        defer_mediapipe_init()
        try:
            from mediapipe.python.solution_base import SolutionBase
        except ImportError as error:
            raise ImportError(_missing_solutions(error)) from error
        with known_noise_dropped():
            self._solution: Any = SolutionBase(
                graph_config=_edited_graph(),
                side_inputs={"num_hands": max_hands, "model_complexity": 1},
                calculator_params={
                    _PALM_THRESHOLD: palm_threshold,
                    _PRESENCE_THRESHOLD: presence_threshold,
                },
                outputs=[
                    "multi_hand_landmarks",
                    "multi_hand_world_landmarks",
                    "multi_handedness",
                    "multi_presence_score",
                ],
            )
            # Models are loaded on the graph's own threads; the first image waits for them.
            self.process(np.zeros((64, 64, 3), np.uint8), search=True, forget=True)

    def process(self, image: np.ndarray, *, search: bool, forget: bool) -> list[RawHand]:
        """Find hands near those of the last image and, if asked, anywhere.

        Args:
            image: (H, W, 3) uint8 RGB, contiguous.
            search: run the palm detector.
            forget: ignore the hands of the last image.
        """
        result = self._solution.process({"image": image, "search": search, "keep": not forget})
        if not result.multi_hand_landmarks:
            return []
        return [
            RawHand(
                side=unmirrored_side(handedness.classification[0].label),
                side_score=float(handedness.classification[0].score),
                score=float(score),
                keypoints=np.array([(p.x, p.y) for p in landmarks.landmark]),
                keypoints_rel_m=np.array([(p.x, p.y, p.z) for p in world.landmark]),
            )
            for landmarks, world, handedness, score in zip(
                result.multi_hand_landmarks,
                result.multi_hand_world_landmarks,
                result.multi_handedness,
                result.multi_presence_score,
                strict=True,
            )
        ]

    def close(self) -> None:
        """Stop the graph's threads."""
        self._solution.close()


def unmirrored_side(label: str) -> Side:
    """This graph names sides as in a selfie, a mirrored image; a camera's image is not mirrored."""
    return Side.RIGHT if label == "Left" else Side.LEFT


def _edited_graph() -> Any:
    """The wheel's graph with inputs `search` and `keep` and output `multi_presence_score`."""
    import mediapipe
    from mediapipe.framework.calculator_pb2 import (
        CalculatorGraphConfig,  # pyright: ignore[reportAttributeAccessIssue]
    )
    from mediapipe.python._framework_bindings import resource_util, validated_graph_config

    for name in _OPTION_MESSAGES:
        importlib.import_module(f"mediapipe.calculators.{name}_pb2")
    package = Path(mediapipe.__file__).parent
    resource_util.set_resource_dir(str(package.parent))
    stock = validated_graph_config.ValidatedGraphConfig()
    stock.initialize(binary_graph_path=str(package / _GRAPH_FILE))
    graph = CalculatorGraphConfig()
    graph.ParseFromString(stock.binary_config)

    palm_gate = _node_giving(graph, "palm_detection_image")
    palm_gate.input_stream[:] = ["image", "ALLOW:search"]
    palm_gate.options.Clear()
    memory_gate = _node_giving(graph, "gated_prev_hand_rects_from_landmarks")
    memory_gate.input_stream[:] = ["prev_hand_rects_from_landmarks", "ALLOW:keep"]
    memory_gate.input_side_packet[:] = []
    memory_gate.options.Clear()
    graph.input_stream.extend(["search", "keep"])
    # Without the image's size it assumes a square region, which ours is, and warns about it once.
    projection = _node_giving(graph, "single_hand_landmarks")
    projection.input_stream.append("IMAGE_DIMENSIONS:image_size_for_landmarks")
    graph.input_side_packet.remove("USE_PREV_LANDMARKS:use_prev_landmarks")

    _add_node(
        graph,
        "GateCalculator",
        ["handlandmarkcpu__hand_presence_score", "ALLOW:handlandmarkcpu__hand_presence"],
        "presence_score",
    )
    _add_node(
        graph,
        "EndLoopFloatCalculator",
        ["ITEM:presence_score", "BATCH_END:hand_rects_timestamp"],
        "ITERABLE:multi_presence_score",
    )
    # On the caller's thread, which waits anyway: hardly anything in the graph can run side by side,
    # and handing the image around among threads of its own took 1 to 5% longer.
    del graph.executor[:]
    graph.executor.add().type = "ApplicationThreadExecutor"
    return graph


def _node_giving(graph: Any, stream: str) -> Any:
    for node in graph.node:
        if stream in [output.split(":")[-1] for output in node.output_stream]:
            return node
    raise RuntimeError(
        f"mediapipe {importlib.metadata.version('mediapipe')} has a hand graph without "
        f"'{stream}'; expected that of 0.10.21: {INSTALL_LINE}, or give a hand_landmarker.task file"
    )


def _add_node(graph: Any, calculator: str, inputs: list[str], output: str) -> None:
    node = graph.node.add()
    node.calculator = calculator
    node.input_stream[:] = inputs
    node.output_stream[:] = [output]


def _missing_solutions(error: ImportError) -> str:
    try:
        version = importlib.metadata.version("mediapipe")
    except importlib.metadata.PackageNotFoundError:
        return f"hand detection needs mediapipe, which is not installed: {INSTALL_LINE}"
    return (
        f"mediapipe {version} could not be loaded ({error}); {INSTALL_LINE}, or, where a newer one "
        "must stay, give it its model with hand_landmarker_task"
    )
