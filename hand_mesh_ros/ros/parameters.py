"""Every parameter of the node: name, default, range and text exist here once, in the fields."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

When = Literal["live", "configure", "start"]
"""Until when a value may change: always; until the node is configured; until it starts."""

# Declared by ROS itself for every node: legal in a parameter file, and none of ours.
_OF_EVERY_NODE = re.compile(r"use_sim_time|start_type_description_service|qos_overrides\..*")


class ParameterError(ValueError):
    """A parameter has an unknown name, a wrong type or an impossible value."""


def _parameter(
    default: Any,
    text: str,
    *,
    name: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    when: When = "configure",
) -> Any:
    """A field with all that a ROS parameter descriptor says; `name` if it is not the field's."""
    metadata = {
        "name": name,
        "text": text,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "when": when,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter as a ROS descriptor needs it."""

    name: str
    field_name: str
    default: bool | int | float | str
    text: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    when: When

    @property
    def read_only(self) -> bool:
        """True where a node that is at work cannot change it."""
        return self.when != "live"

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if self.choices:
            return "one of " + ", ".join(f'"{c}"' for c in self.choices)
        kind = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
        text = kind[type(self.default)]
        if self.minimum is not None and self.maximum is not None:
            return f"{text} from {self.minimum:g} to {self.maximum:g}"
        return text

    def check(self, value: object) -> bool | int | float | str:
        """The value, an integer widened where a number is expected; raises ParameterError."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self._error(value)
        if isinstance(value, str) and self.choices and value not in self.choices:
            raise self._error(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            if not (math.isfinite(value) and low <= value <= high):
                raise self._error(value)
        return value  # type: ignore[return-value]  # narrowed by `kind`

    def _error(self, value: object) -> ParameterError:
        got = "true" if value is True else "false" if value is False else repr(value)
        return ParameterError(f"parameter {self.name}: got {got}, expected {self.expected}")


@dataclass(frozen=True)
class NodeParameters:
    """All parameters of one hand_mesh node, checked."""

    model: str = _parameter(
        "lifter",
        "reconstruction that turns detections into meshes: lifter; landmark_fit, which is less "
        "accurate and needs no weights; or an image network: fused (lifter and image together), "
        "m3dhmr, handmim, amvur, maskhand",
    )
    checkpoint: str = _parameter(
        "", "path of the model's weights (.safetensors); empty: those in the package"
    )
    backend: str = _parameter(
        "auto",
        "what runs an image network: auto takes the fastest that computes the right thing; torch, "
        "torch-compile, torch-graphs, onnx, onnx-tensorrt or tensorrt",
    )
    precision: str = _parameter(
        "fp32",
        "that an image network is computed in; fp32 where another one is too inexact",
        choices=("fp32", "fp16", "bf16"),
    )
    device: str = _parameter(
        "auto", "that image networks run on: cpu, cuda, cuda:1; auto: the GPU where there is one"
    )
    engine_cache_dir: str = _parameter(
        "", "folder for built engines; empty: $HAND_MESH_CACHE, or ~/.cache/hand_mesh_ros"
    )
    num_hypotheses: int = _parameter(
        1,
        "what maskhand says that each hand in view may be: the likeliest hand and others; from 2 "
        "on all that the landmarks allow are sent on hand_hypotheses",
        minimum=1,
        maximum=64,
    )
    hand_model: str = _parameter(
        "open_hand", "hand that the meshes are made of", choices=("open_hand", "mano")
    )
    mano_dir: str = _parameter("", "folder with MANO_RIGHT.pkl; needed by hand_model mano")
    max_hands: int = _parameter(2, "hands looked for in an image", minimum=1, maximum=16)
    min_hand_detection_confidence: float = _parameter(
        0.5, "score below which a palm detection is ignored", minimum=0.0, maximum=1.0
    )
    min_tracking_confidence: float = _parameter(
        0.5,
        "score below which a tracked hand is lost and looked for again",
        minimum=0.0,
        maximum=1.0,
    )
    hand_landmarker_task: str = _parameter(
        "", "path of MediaPipe's hand_landmarker.task; empty: the models in the mediapipe wheel"
    )
    lost_hand_timeout_s: float = _parameter(
        0.5,
        "s that a lost hand keeps its track id; then it counts as a new hand",
        minimum=0.0,
        maximum=10.0,
    )
    known_hand_length_m: float = _parameter(
        0.0,
        "m, wrist joint to middle fingertip of the flat hand; 0: unknown",
        minimum=0.0,
        maximum=0.4,
    )
    hand_calibration_file: str = _parameter(
        "", "YAML of hands' shapes and sizes; read at the start, written by ~/calibrate_hand"
    )
    smoothing_enabled: bool = _parameter(
        True, "smooth hands over time (One-Euro filter)", name="smoothing.enabled"
    )
    smoothing_min_cutoff_hz: float = _parameter(
        1.5,
        "Hz, cutoff of a resting hand; lower: steadier and later",
        name="smoothing.min_cutoff_hz",
        minimum=0.01,
        maximum=100.0,
    )
    smoothing_beta: float = _parameter(
        10.0,
        "Hz per m/s by which the cutoff rises with speed",
        name="smoothing.beta",
        minimum=0.0,
        maximum=1000.0,
    )
    safety_action: str = _parameter(
        "hold",
        "with a hand that breaks a safety limit: hold it back, or mark it with score 0 and a wider "
        "covariance and keep it out of tf and joint states; off: only broken numbers are held back",
        name="safety.action",
        choices=("hold", "mark", "off"),
    )
    safety_joint_margin_deg: float = _parameter(
        30.0,
        "deg that a joint may be read beyond its anatomical range, or twisted",
        name="safety.joint_margin_deg",
        minimum=0.0,
        maximum=360.0,
    )
    safety_max_speed_m_s: float = _parameter(
        5.0,
        "m/s that a wrist may move at, and a tenth of its distance more for noise",
        name="safety.max_speed_m_s",
        minimum=0.0,
        maximum=1000.0,
    )
    safety_max_turn_rate_rad_s: float = _parameter(
        30.0,
        "rad/s that a hand may turn at, and 0.35 rad more for noise",
        name="safety.max_turn_rate_rad_s",
        minimum=0.0,
        maximum=1000.0,
    )
    safety_max_reprojection_error: float = _parameter(
        0.15,
        "mean distance of projected keypoints from the landmarks, as a share of the hand's extent",
        name="safety.max_reprojection_error",
        minimum=0.0,
        maximum=100.0,
    )
    safety_min_side_score: float = _parameter(
        0.9,
        "probability of its side that a hand needs which was of the other side before",
        name="safety.min_side_score",
        minimum=0.5,
        maximum=1.0,
    )
    safety_max_future_s: float = _parameter(
        0.5,
        "s that an image's stamp may be ahead of the node's clock; such images are refused",
        name="safety.max_future_s",
        minimum=0.0,
        maximum=1e9,
        when="live",
    )
    image_transport: str = _parameter(
        "raw", "raw: topic image; compressed: topic image/compressed", choices=("raw", "compressed")
    )
    image_reliability: str = _parameter(
        "best_effort",
        "QoS of the image subscription; best_effort hears both kinds of camera",
        choices=("best_effort", "reliable"),
    )
    depth_slop_s: float = _parameter(
        0.01,
        "s that the stamps of an image and of its depth image may differ",
        minimum=0.0,
        maximum=0.5,
    )
    stale_timeout_s: float = _parameter(
        0.5,
        "s without images after which hands vanish; longer than the camera's period",
        minimum=0.05,
        maximum=60.0,
        when="live",
    )
    camera_info_timeout_s: float = _parameter(
        1.0,
        "s of images to wait for camera_info before a field of view is assumed",
        minimum=0.0,
        maximum=60.0,
    )
    assumed_fov_deg: float = _parameter(
        60.0,
        "deg, horizontal field of view of a camera without calibration",
        minimum=10.0,
        maximum=170.0,
    )
    publish_tf: bool = _parameter(True, "send hand frames on /tf", when="live")
    tf_prefix: str = _parameter("", "put before every hand frame's name", when="live")
    publish_markers: bool = _parameter(
        True, "send hand_markers while someone subscribes", when="live"
    )
    marker_colors: str = _parameter(
        "side",
        "what a mesh marker's colour tells: side; uncertainty: dark blue is certain, yellow 20 mm; "
        "texture; the last two where the model gives them",
        choices=("side", "uncertainty", "texture"),
        when="live",
    )
    autostart: bool = _parameter(
        True,
        "configure and activate at the start; without ROS the node always does",
        when="start",
    )

    def __post_init__(self) -> None:
        """Refuse what no field's range can see."""
        for spec in SPECS:
            object.__setattr__(self, spec.field_name, spec.check(getattr(self, spec.field_name)))
        if self.hand_model == "mano" and not self.mano_dir:
            raise ParameterError(
                "parameter mano_dir: got '', expected the folder of MANO_RIGHT.pkl, "
                'because hand_model is "mano"'
            )
        if self.tf_prefix.startswith("/") or re.search(r"\s", self.tf_prefix):
            raise ParameterError(
                f"parameter tf_prefix: got {self.tf_prefix!r}, "
                "expected no leading slash and no blanks (tf2 refuses such frames)"
            )

    @classmethod
    def from_overrides(cls, overrides: Mapping[str, object]) -> NodeParameters:
        """Defaults with some values replaced by name; raises ParameterError."""
        return cls()._with(overrides)

    def changed(
        self, changes: Mapping[str, object], *, is_configured: bool = True
    ) -> NodeParameters:
        """These parameters with changes; raises ParameterError also where it is too late for one.

        Args:
            changes: value by ROS name.
            is_configured: whether the node has been built by the present values.
        """
        for name in changes:
            when = SPEC_OF_NAME[name].when if name in SPEC_OF_NAME else "live"
            if when == "start":
                raise ParameterError(
                    f"parameter {name}: cannot change while running; restart with the new value"
                )
            if when == "configure" and is_configured:
                raise ParameterError(
                    f"parameter {name}: cannot change while running; restart with the new value, "
                    "or take the node through deactivate and cleanup first"
                )
        return self._with(changes)

    def _with(self, values: Mapping[str, object]) -> NodeParameters:
        known: dict[str, Any] = {}
        for name, value in values.items():
            if _OF_EVERY_NODE.fullmatch(name):
                continue
            if name not in SPEC_OF_NAME:
                near = difflib.get_close_matches(name, SPEC_OF_NAME, n=1, cutoff=0.5)
                hint = f'did you mean "{near[0]}"?' if near else "known: " + ", ".join(SPEC_OF_NAME)
                raise ParameterError(f'parameter "{name}" is unknown; {hint}')
            known[SPEC_OF_NAME[name].field_name] = value
        return dataclasses.replace(self, **known)


SPECS = tuple(
    ParameterSpec(
        **{**f.metadata, "name": f.metadata["name"] or f.name},
        field_name=f.name,
        default=f.default,  # type: ignore[arg-type]  # every field has one
    )
    for f in dataclasses.fields(NodeParameters)
)
SPEC_OF_NAME = {spec.name: spec for spec in SPECS}


def default_yaml() -> str:
    """The text of config/hand_mesh.yaml: every parameter, its default, range and meaning."""
    lines = [
        "# Every parameter of hand_mesh with its default. Written by:",
        "#   python -m hand_mesh_ros.ros.parameters > config/hand_mesh.yaml",
        "/**:",
        "  ros__parameters:",
    ]
    for spec in SPECS:
        value = f'"{spec.default}"' if isinstance(spec.default, str) else str(spec.default).lower()
        lines.append(f"    # {spec.text}; {spec.expected}")
        lines.append(f"    {spec.name}: {value}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(default_yaml(), end="")
