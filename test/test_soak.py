"""Frames through one node, in short: `make soak` sends a million."""

import pytest
from soak_run import SoakError, _Identities, soak

from hand_mesh_ros.sources.base import NS_PER_S


def test_hands_that_come_and_go_are_never_mixed_up():
    result = soak(1000)
    assert result.frames == 1000
    assert result.hands > 1000
    assert result.track_ids > 5
    assert result.growth_mb < 20.0


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ([[(1, True), (1, False)]], "two hands of one image"),
        ([[(1, True)], [(1, False)]], "went over to the other hand"),
        ([[(1, True)], [], [(2, True)], [(1, True)]], "was used before"),
    ],
)
def test_what_the_soak_would_see(seen, words):
    identities = _Identities(lost_timeout_s=0.5)
    period_ns = NS_PER_S if len(seen) > 2 else 1
    for i, hands in enumerate(seen[:-1]):
        identities.see(hands, i * period_ns)
    with pytest.raises(SoakError, match=words):
        identities.see(seen[-1], len(seen) * period_ns)


def test_a_hand_that_is_back_in_time_keeps_its_id():
    identities = _Identities(lost_timeout_s=0.5)
    for stamp_ns in (0, NS_PER_S // 2):
        identities.see([(1, True)], stamp_ns)
    assert identities.count == 1
