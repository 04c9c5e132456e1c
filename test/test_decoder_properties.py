"""What holds for any input of the right kind; `test_fuzz.py` has the wrong kinds."""

import string
import warnings

import numpy as np
import pytest
import yaml
from camera_samples import STORE, camera_info
from fuzz_messages import IMAGE, image_of, use_camera

pytest.importorskip("hypothesis", reason="properties need hypothesis: pip install .[dev]")

from hypothesis import given, settings
from hypothesis import strategies as st

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.plain_yaml import read_yaml
from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.images import image_from_message
from hand_mesh_ros.ros.names import ArgumentError
from hand_mesh_ros.ros.parameters import SPECS, NodeParameters, ParameterError
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.typed_config import ConfigError, config_from_plain

# The same examples every time, as many as a second or two allow.
some = settings(max_examples=150, deadline=None, derandomize=True, database=None)

INT64 = st.integers(-(2**63), 2**63 - 1)
WORDS = st.text(string.ascii_letters + string.digits + " _./~:=-", max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
CHANNELS = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2], "bgra8": [2, 1, 0]}


def is_one_line(error):
    assert "\n" not in str(error)


@some
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
    st.sampled_from(sorted(CHANNELS)),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_pixels_come_through_whatever_their_padding(width, height, padding, encoding, cut, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, len(encoding) - 1))
    row = width * pixels.shape[2] + padding
    rows = np.zeros((height, row), np.uint8)
    rows[:, : row - padding] = pixels.reshape(height, -1)
    data = rows.reshape(-1)[: height * row - (padding if cut else 0)]
    cdr = STORE.encode(image_of(width, height, encoding, row, data))
    image = image_from_message(STORE.decode(cdr, IMAGE))
    np.testing.assert_array_equal(image, pixels[..., CHANNELS[encoding]])


@some
@given(
    st.lists(st.floats(), max_size=9),
    st.lists(st.floats(), min_size=9, max_size=9),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_messages_come_through_as_they_are(d, k, model, width):
    sent = camera_info(d=np.array(d), k=np.array(k), distortion_model=model, width=width)
    got = STORE.decode(STORE.encode(sent), "sensor_msgs/msg/CameraInfo")
    np.testing.assert_array_equal(got.d, sent.d)
    np.testing.assert_array_equal(got.k, sent.k)
    assert (got.distortion_model, got.width) == (model, width)


@some
@given(PLAIN)
def test_plain_values_come_through_yaml(value):
    assert read_yaml(yaml.safe_dump(value)) == value


@some
@given(st.dictionaries(st.sampled_from([s.name for s in SPECS]) | WORDS, PLAIN, max_size=4))
def test_parameters_are_taken_or_refused(overrides):
    try:
        parameters = NodeParameters.from_overrides(overrides)
    except ParameterError as error:
        is_one_line(error)
    else:
        for name, value in overrides.items():
            spec = next(s for s in SPECS if s.name == name)
            assert getattr(parameters, spec.field_name) == value


@some
@given(st.lists(WORDS | st.sampled_from(["-r", "-p", "--ros-args", "--", "a:=b"]), max_size=6))
def test_arguments_are_taken_or_refused(words):
    try:
        arguments = parse_ros_arguments(["--ros-args", *words], "hand_mesh")
    except ArgumentError as error:
        is_one_line(error)
    else:
        assert arguments.full_name.startswith("/")


@some
@given(st.dictionaries(st.sampled_from(sorted(TrainerConfig.__annotations__)), PLAIN, max_size=4))
def test_training_options_are_taken_or_refused(values):
    try:
        config = config_from_plain(TrainerConfig, values, "trainer")
    except ConfigError as error:
        is_one_line(error)
    else:
        assert config.steps >= 1


@some
@given(
    st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant"]),
    st.lists(st.floats(-100.0, 100.0), min_size=8, max_size=8),
    st.floats(1e-3, 1e5),
    st.floats(-1e4, 1e4),
)
def test_a_camera_that_is_taken_can_be_used(model, D, focal_px, centre_px):
    count = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}[model]
    K = np.array([[focal_px, 0.0, centre_px], [0.0, focal_px, centre_px], [0.0, 0.0, 1.0]])
    camera = Camera(64, 48, K, model, np.array(D[:count]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rays that run away end as NaN
        use_camera(camera)
        points = np.array([[0.0, 0.0, 1.0], [0.1, -0.05, 0.7]])
        pixels = camera.project(points)
        rays = camera.rays(pixels)
        again = camera.project(np.concatenate([rays, np.ones((2, 1))], axis=1))
    # A lens that bends more than any real one shows two points at one pixel: either will do.
    found = np.isfinite(again).all(axis=1)
    np.testing.assert_allclose(again[found], pixels[found], atol=1e-4 * focal_px)
