"""Track ids and sides on simulated hands whose identity is known."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.tracking import Tracker, cheapest_pairs
from hand_mesh_ros.types import Detection

FRAME_NS = 33_333_333
RNG_SHAPE = np.random.default_rng(5).uniform(-0.5, 0.5, (21, 2))  # a hand one unit large
LEFT_SHAPE = RNG_SHAPE * [-1.0, 1.0]


def hand(center_px, *, side=Side.RIGHT, side_score=0.95, score=0.9, size_px=100.0, jitter=None):
    shape = RNG_SHAPE if side is Side.RIGHT else LEFT_SHAPE
    keypoints = np.asarray(center_px, float) + size_px * shape
    if jitter is not None:
        keypoints = keypoints + jitter.normal(0.0, 2.0, (21, 2))
    return Detection(
        side=side,
        side_score=side_score,
        score=score,
        keypoints_px=keypoints,
        keypoints_rel_m=None,
        box_px=np.concatenate([keypoints.min(0), keypoints.max(0)]),
    )


def ids(tracks):
    return [t.track_id for t in tracks]


def test_a_single_image_gives_its_hands_at_once():
    tracks = Tracker().update([hand((100, 100)), hand((400, 100), side=Side.LEFT)], 0)
    assert len(tracks) == 2
    assert all(t.is_new for t in tracks)
    assert {t.side for t in tracks} == {Side.LEFT, Side.RIGHT}
    assert all(t.side_score == pytest.approx(0.95, abs=1e-6) for t in tracks)


def test_a_moving_hand_keeps_its_id():
    tracker, rng = Tracker(), np.random.default_rng(0)
    for i in range(60):  # 25 px an image: a quarter of the hand, 1.3 m/s
        center = 300 + 250 * np.array([np.cos(0.1 * i), np.sin(0.1 * i)])
        (track,) = tracker.update([hand(center, jitter=rng)], i * FRAME_NS)
        assert track.track_id == 1
        assert track.is_new == (i == 0)


@pytest.mark.parametrize("other_side", [Side.LEFT, Side.RIGHT])
def test_two_hands_that_cross_keep_their_ids(other_side):
    tracker, rng = Tracker(), np.random.default_rng(1)
    first: dict[int, int] = {}
    for i in range(41):
        x = 15.0 * (i - 20)  # they meet in image 20, and pass 35 px above each other
        pair = [
            hand((300 + x, 200), jitter=rng, score=0.90),
            hand((300 - x, 235), jitter=rng, side=other_side, score=0.89),
        ]
        order = rng.permutation(2)
        tracks = tracker.update([pair[k] for k in order], i * FRAME_NS)
        assert len(tracks) == 2
        for track in tracks:
            k = next(k for k in range(2) if pair[k] is track.detection)
            assert track.track_id == first.setdefault(k, track.track_id)
    assert sorted(first.values()) == [1, 2]


def test_crossing_while_one_is_hidden():
    tracker, rng = Tracker(), np.random.default_rng(2)
    seen: dict[int, set[int]] = {0: set(), 1: set()}
    for i in range(41):
        x = 15.0 * (i - 20)
        pair = [hand((300 + x, 200), jitter=rng), hand((300 - x, 220), jitter=rng, side=Side.LEFT)]
        shown = [0] if abs(i - 20) <= 2 else [0, 1]  # the second passes behind the first
        for track in tracker.update([pair[k] for k in shown], i * FRAME_NS):
            k = next(k for k in shown if pair[k] is track.detection)
            seen[k].add(track.track_id)
    assert len(seen[0]) == len(seen[1]) == 1
    assert seen[0] != seen[1]


def test_a_hand_lost_for_three_images_gets_its_id_back():
    tracker = Tracker()
    for i in range(20):
        detections = [] if 10 <= i < 13 else [hand((100 + 12 * i, 200))]
        tracks = tracker.update(detections, i * FRAME_NS)
        assert ids(tracks) == ([] if 10 <= i < 13 else [1])
        assert all(t.is_new == (i == 0) for t in tracks)


def test_a_hand_lost_for_long_gets_a_new_id():
    tracker = Tracker(max_gap_s=0.5)
    tracker.update([hand((100, 100))], 0)
    assert ids(tracker.update([hand((100, 100))], 499_000_000)) == [1]
    (track,) = tracker.update([hand((100, 100))], 499_000_000 + 501_000_000)
    assert (track.track_id, track.is_new) == (2, True)


def test_a_hand_elsewhere_is_another_hand():
    tracker = Tracker()
    tracker.update([hand((100, 100))], 0)
    assert ids(tracker.update([hand((300, 100))], FRAME_NS)) == [2]
    assert ids(tracker.update([hand((100, 100)), hand((300, 100))], 2 * FRAME_NS)) == [1, 2]


def test_a_duplicate_is_not_a_new_track():
    tracker = Tracker()
    tracker.update([hand((100, 100))], 0)
    twice = [hand((104, 100), score=0.9), hand((99, 103), score=0.7)]
    tracks = tracker.update(twice, FRAME_NS)
    assert ids(tracks) == [1]
    assert tracks[0].detection is twice[0]
    assert ids(tracker.update([hand((104, 100)), hand((400, 100))], 2 * FRAME_NS)) == [1, 2]


def test_time_going_backwards_makes_all_hands_new_and_ids_are_not_reused():
    tracker = Tracker()
    tracker.update([hand((100, 100)), hand((400, 100))], 10 * FRAME_NS)
    (track,) = tracker.update([hand((100, 100))], 9 * FRAME_NS)
    assert (track.track_id, track.is_new) == (3, True)
    tracker.reset()
    (track,) = tracker.update([hand((100, 100))], 10 * FRAME_NS)
    assert (track.track_id, track.is_new) == (4, True)


def test_the_same_stamp_twice_is_harmless():
    tracker = Tracker()
    for center in ((100, 100), (103, 100), (106, 100)):
        (track,) = tracker.update([hand(center)], 0)
        assert track.track_id == 1


def test_one_wrong_image_does_not_change_the_side():
    tracker = Tracker()
    for i in range(12):
        wrong = i in (1, 6)  # also right after the start
        detection = hand((100, 100), side_score=0.97)
        if wrong:
            detection = Detection(
                Side.LEFT, 0.99, 0.9, detection.keypoints_px, None, detection.box_px
            )
        (track,) = tracker.update([detection], i * FRAME_NS)
        assert track.side is Side.RIGHT
        assert track.detection.side is (Side.LEFT if wrong else Side.RIGHT)
        assert 0.5 <= track.side_score <= 1.0


def test_a_side_that_was_wrong_is_mended_once_and_soon():
    tracker = Tracker()
    sides = []
    for i in range(40):
        right = hand((100, 100), side_score=0.98)
        detection = right
        if i < 10:
            detection = Detection(Side.LEFT, 0.98, 0.9, right.keypoints_px, None, right.box_px)
        sides.append(tracker.update([detection], i * FRAME_NS)[0].side)
    flips = [i for i in range(1, 40) if sides[i] is not sides[i - 1]]
    assert len(flips) == 1
    assert 10 < flips[0] < 20


def test_undecided_scores_do_not_make_the_side_flicker():
    tracker, rng = Tracker(), np.random.default_rng(3)
    sides = []
    for i in range(300):
        base = hand((100, 100))
        side = Side(int(rng.integers(2)))
        detection = Detection(
            side, rng.uniform(0.5, 0.6), 0.9, base.keypoints_px, None, base.box_px
        )
        sides.append(tracker.update([detection], i * FRAME_NS)[0].side)
    assert sum(a is not b for a, b in pairwise(sides)) <= 1


def test_pairs_are_the_cheapest_of_all():
    rng = np.random.default_rng(4)
    for _ in range(60):
        rows, columns = rng.integers(0, 5, 2)
        cost = rng.uniform(0.0, 1.2, (rows, columns))
        cost[rng.random(cost.shape) < 0.3] = np.inf
        pairs = cheapest_pairs(cost, 1.5)
        used = [c for c in pairs if c is not None]
        assert len(used) == len(set(used))

        def total(choice, cost=cost):
            return sum(1.5 if c is None else cost[r, c] for r, c in enumerate(choice))

        choices = set(permutations([*range(columns), *[None] * rows], int(rows)))
        assert total(pairs) == pytest.approx(min(map(total, choices)))


def test_it_refuses_a_negative_gap():
    with pytest.raises(ValueError, match="max_gap_s is -1"):
        Tracker(max_gap_s=-1)
