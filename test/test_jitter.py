import pytest

from hand_mesh_ros.evaluation.jitter import still_hand_jitter
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.reconstruction.landmark_fit import LandmarkFit
from hand_mesh_ros.smoothing import HandSmoother

HAND = load_open_hand()


def test_smoothing_calms_a_still_hand():
    jitter = still_hand_jitter(LandmarkFit(HAND), HandSmoother(HAND), frames=45)
    assert jitter.after_mps2 < 0.4 * jitter.before_mps2
    assert jitter.before_mps2 > 1.0


def test_without_smoothing_both_are_the_same():
    jitter = still_hand_jitter(LandmarkFit(HAND), None, frames=30)
    assert jitter.after_mps2 == jitter.before_mps2


def test_a_hand_that_is_not_found_is_no_calm_hand():
    class Blind(LandmarkFit):
        def reconstruct(self, frame, tracks):
            return [None for _ in tracks]

    with pytest.raises(RuntimeError, match="0 times"):
        still_hand_jitter(Blind(HAND), None, frames=3)
