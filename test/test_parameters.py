import dataclasses
from pathlib import Path

import pytest
import yaml

from hand_mesh_ros.ros.parameters import (
    SPEC_OF_NAME,
    SPECS,
    NodeParameters,
    ParameterError,
    default_yaml,
)

CONFIG = Path(__file__).parents[1] / "config" / "hand_mesh.yaml"


def test_the_config_file_holds_every_field_with_its_default():
    values = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert list(values) == [spec.name for spec in SPECS]
    assert NodeParameters.from_overrides(values) == NodeParameters()
    assert all(type(values[s.name]) is type(s.default) for s in SPECS)
    assert CONFIG.read_text() == default_yaml()


def test_every_default_lies_in_its_own_range_and_has_a_text():
    for spec in SPECS:
        assert spec.check(spec.default) == spec.default
        assert len(spec.text) > 10


def test_overrides_replace_defaults_by_ros_name():
    got = NodeParameters.from_overrides(
        {"max_hands": 1, "smoothing.beta": 0.25, "assumed_fov_deg": 75, "tf_prefix": "left_cam_"}
    )
    assert got.max_hands == 1
    assert got.smoothing_beta == 0.25
    assert got.assumed_fov_deg == 75.0
    assert type(got.assumed_fov_deg) is float
    assert got.tf_prefix == "left_cam_"
    assert got.model == NodeParameters().model


def test_parameters_that_ros_adds_to_every_node_are_ignored():
    overrides = {"use_sim_time": True, "qos_overrides./tf.publisher.depth": 5}
    assert NodeParameters.from_overrides(overrides) == NodeParameters()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"max_hand": 2}, ["max_hand", 'did you mean "max_hands"?']),
        ({"smoothing.min_cutof": 2.0}, ['did you mean "smoothing.min_cutoff_hz"?']),
        ({"zzzz": 1}, ["zzzz", "known: model, checkpoint"]),
        ({"max_hands": "two"}, ["max_hands", "'two'", "an integer from 1 to 16"]),
        ({"max_hands": 2.0}, ["max_hands", "2.0", "an integer"]),
        ({"max_hands": True}, ["max_hands", "true", "an integer"]),
        ({"max_hands": 0}, ["max_hands", "got 0", "from 1 to 16"]),
        ({"publish_tf": 1}, ["publish_tf", "got 1", "true or false"]),
        ({"assumed_fov_deg": float("nan")}, ["assumed_fov_deg", "nan", "from 10 to 170"]),
        ({"min_tracking_confidence": 1.5}, ["min_tracking_confidence", "1.5", "from 0 to 1"]),
        ({"image_transport": "h264"}, ["image_transport", "'h264'", '"raw", "compressed"']),
        ({"hand_model": "mano"}, ["mano_dir", "MANO_RIGHT.pkl"]),
        ({"tf_prefix": "/robot"}, ["tf_prefix", "'/robot'", "leading slash"]),
    ],
)
def test_bad_values_are_refused_in_one_clear_line(overrides, words):
    with pytest.raises(ParameterError) as error:
        NodeParameters.from_overrides(overrides)
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_direct_construction_is_checked_too():
    with pytest.raises(ParameterError, match="max_hands"):
        NodeParameters(max_hands=-1)
    assert NodeParameters(hand_model="mano", mano_dir="/data/mano").hand_model == "mano"


def test_live_changes_are_limited_to_live_parameters():
    start = NodeParameters()
    assert start.changed({"tf_prefix": "a_", "publish_tf": False}) == dataclasses.replace(
        start, tf_prefix="a_", publish_tf=False
    )
    assert SPEC_OF_NAME["model"].read_only
    with pytest.raises(ParameterError, match="model: cannot change while running"):
        start.changed({"model": "other"})
