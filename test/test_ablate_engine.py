"""The tool that asks photographs what an effect of the image engine is worth."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from hand_mesh_ros.rotations import rotation_from_axis_angle

pytest.importorskip("torch", reason="the torch extra is not installed")

TOOL = Path(__file__).parents[1] / "tools" / "ablate_engine.py"


@pytest.fixture(scope="module")
def tool():
    if not TOOL.exists():
        pytest.skip("tools are not installed with the package")
    spec = importlib.util.spec_from_file_location("ablate_engine", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablate_engine"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["ablate_engine"]


def test_turned_and_scaled_copies_of_a_hand_do_not_scatter(tool):
    hand = np.random.default_rng(0).normal(0.0, 0.05, (60, 3))
    turns = [rotation_from_axis_angle(np.array([0.3, -0.2, 0.5]) * k) for k in range(4)]
    copies = np.stack([(1.0 + 0.1 * k) * hand @ turn.T + 0.2 for k, turn in enumerate(turns)])
    assert tool._scatter_m(copies) < 1e-9
    noisy = copies + np.random.default_rng(1).normal(0.0, 0.002, copies.shape)
    assert 0.001 < tool._scatter_m(noisy) < 0.005


def test_the_scale_from_metres_to_the_crop_is_found(tool):
    points = np.random.default_rng(2).normal(0.0, 0.05, (3, 21, 3))
    uv = np.array([2.0, 3.0, 5.0])[:, None, None] * points[..., :2] + 0.4
    np.testing.assert_allclose(tool._uv_per_m(points, uv), [2.0, 3.0, 5.0])


def test_the_learning_rate_rises_and_falls(tool):
    rates = [tool._rate(step, 50) for step in range(50)]
    assert 0.0 < rates[0] < max(rates) <= 1.0
    assert rates[-1] < 0.01
    assert np.argmax(rates) < 12


@pytest.mark.parametrize("wrong", [["--without", "nonsense"], ["--steps", "0"]])
def test_wrong_arguments_are_refused_by_name(tool, wrong, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablate_engine.py", "photographs", *wrong])
    with pytest.raises(SystemExit) as error:
        tool._arguments()
    assert error.value.code == 2
    assert wrong[-1] in capsys.readouterr().err
