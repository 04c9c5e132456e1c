import numpy as np
import pytest
from scipy.stats import spearmanr

from hand_mesh_ros.evaluation.calibration import calibration, rank_correlation


def gaussian(factor: float = 1.0, samples: int = 4000):
    """Errors whose deviations differ, and predictions `factor` times as large as the truth."""
    rng = np.random.default_rng(0)
    stddev = rng.uniform(0.001, 0.02, (samples, 21))
    return rng.normal(size=(samples, 21, 3)) * stddev[..., None], factor * stddev


def test_right_deviations_are_found_right():
    report = calibration(*gaussian())
    assert report.samples == 4000 * 21
    assert report.within_one_stddev == pytest.approx(0.6827, abs=0.005)
    assert report.rank_correlation is not None
    assert report.rank_correlation > 0.6
    for row in report.reliability:
        assert row.actual_mm == pytest.approx(row.predicted_mm, rel=0.03)
    predicted = [row.predicted_mm for row in report.reliability]
    assert predicted == sorted(predicted)
    assert sum(row.samples for row in report.reliability) == report.samples


def test_too_small_deviations_rank_as_well_but_hold_fewer_errors():
    right, small = calibration(*gaussian()), calibration(*gaussian(0.5))
    assert small.rank_correlation == pytest.approx(right.rank_correlation)
    assert small.within_one_stddev == pytest.approx(0.3829, abs=0.005)  # half a deviation
    for row in small.reliability:
        assert row.actual_mm == pytest.approx(2.0 * row.predicted_mm, rel=0.03)


def test_deviations_of_each_coordinate_count_by_themselves():
    error = np.array([[0.001, 0.0, 0.010], [0.003, 0.0, 0.010]])
    stddev = np.array([[0.002, 0.002, 0.020], [0.002, 0.002, 0.020]])
    report = calibration(error, stddev, bins=1)
    assert report.within_one_stddev == pytest.approx(5 / 6)
    assert report.rank_correlation is None  # all deviations are equal: nothing is ranked
    assert report.reliability[0].predicted_mm == pytest.approx(np.sqrt((4 + 4 + 400) / 3))
    assert report.reliability[0].actual_mm == pytest.approx(np.sqrt((1 + 100 + 9 + 100) / 6))
    assert report.as_json()["reliability"][0]["samples"] == 2


def test_rank_correlation_equals_scipys_also_with_ties():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, 200), rng.integers(0, 9, 200)
    b = b + a
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    rising = np.array([1.0, 2.0, 5.0])
    assert rank_correlation(rising, np.exp(rising)) == pytest.approx(1.0)
    assert rank_correlation(rising, -rising) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("error", "stddev", "message"),
    [
        (np.zeros((2, 3)), np.ones(3), r"stddev_m \(3,\)"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), "deviations above 0"),
        (np.zeros((0, 3)), np.ones(0), "at least one"),
    ],
)
def test_bad_input_is_refused(error, stddev, message):
    with pytest.raises(ValueError, match=message):
        calibration(error, stddev)
