"""What people do with a hand, family by family: bends of the fingers and what the thumb touches.

Each family draws N hands in the language of `gestures.py`; `pose_prior.py` turns them into angles,
adds noise, closes the contacts and refuses what would press through itself. Finger 0 is the thumb.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hand_mesh_ros.hand_models.gestures import GESTURES
from hand_mesh_ros.hand_models.touch import Touch


class Drawn(NamedTuple):
    """N hands before noise, contact and refusal."""

    bends: np.ndarray
    """(N, 3, 5) base, tip and spread of each finger, thumb to little."""
    touch: Touch


class Family(NamedTuple):
    """One kind of pose."""

    share: float
    draw: Callable[[np.random.Generator, int], Drawn]


def _relaxed(rng: np.random.Generator, n: int) -> Drawn:
    """Nothing to do: fingers curl by themselves, the little one the most."""
    curl = rng.uniform(0.05, 0.45, (n, 1))
    base = curl * np.array([0.8, 0.7, 0.85, 1.0, 1.05]) + rng.normal(0.0, 0.05, (n, 5))
    tip = curl * np.array([0.6, 0.9, 1.0, 1.1, 1.1]) + rng.normal(0.0, 0.05, (n, 5))
    return _hands(base, tip, rng.normal(-0.2, 0.45, (n, 1)))


def _open(rng: np.random.Generator, n: int) -> Drawn:
    """Flat, fingers together or loosely apart, sometimes bent backwards, thumb in or out."""
    base, tip = _straight(rng, n)
    base[:, 0] = rng.uniform(-0.1, 0.6, n)
    spread = np.tile(np.clip(rng.uniform(-1.3, 0.6, (n, 1)), -1.0, None), (1, 5))
    spread[:, 0] = rng.uniform(-2.2, 0.8, n)
    return _hands(base, tip, spread)


def _spread(rng: np.random.Generator, n: int) -> Drawn:
    """All five as far apart as they go."""
    base, tip = _straight(rng, n)
    base[:, 0] = rng.uniform(-0.2, 0.2, n)
    return _hands(base, tip, rng.uniform(0.7, 1.6, (n, 1)))


def _fist(thumb_over: bool) -> Callable[[np.random.Generator, int], Drawn]:
    """Thumb over the index or middle finger, or beside the index finger."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        base, tip = _closed(rng, n)
        if thumb_over:
            base[:, 0], tip[:, 0] = rng.uniform(0.7, 1.1, n), rng.uniform(0.4, 1.0, n)
        side_deg = (140, 195) if thumb_over else (70, 120)
        touch = Touch(
            finger=1 + (rng.random(n) < 0.6) * thumb_over,
            bone=rng.integers(1, 3, n) if thumb_over else np.ones(n, int),
            along=rng.uniform(0.1, 0.8, n),
            turn_rad=np.radians(rng.uniform(*side_deg, n)),
            thumb_turn_rad=rng.normal(0.0, 0.3, n),
        )
        return _hands(base, tip, rng.uniform(-0.8, 0.2, (n, 1)), touch)

    return draw


def _counting(rng: np.random.Generator, n: int) -> Drawn:
    """Any of the 32 subsets of fingers stretched."""
    return _stretching(rng, rng.random((n, 5)) < 0.5)


def _pointing(rng: np.random.Generator, n: int) -> Drawn:
    """Index finger out; the thumb in or up."""
    stretched = np.tile([False, True, False, False, False], (n, 1))
    stretched[:, 0] = rng.random(n) < 0.3
    drawn = _stretching(rng, stretched)
    # A pointing finger need not be quite straight, nor in line with the palm.
    drawn.bends[:, 0, 1] += rng.uniform(0.0, 0.4, n)
    drawn.bends[:, 1, 1] += rng.uniform(0.0, 0.15, n)
    return drawn


def _power_grasp(rng: np.random.Generator, n: int) -> Drawn:
    """Fingers around things from a pencil (aperture 0) to a ball that fills the hand (1)."""
    aperture = rng.uniform(0.0, 1.0, (n, 1))
    # Round things bend all joints; boxes only the knuckles; handles on hooks only the others.
    where = np.clip(rng.normal(0.0, 0.25, (n, 1)), -0.5, 0.5)
    closing = 0.9 - 0.7 * aperture
    slope = rng.normal(0.03, 0.06, (n, 1)) * (np.arange(5) - 2.5)
    base = np.clip(closing + where, 0.0, 1.0) + slope + rng.normal(0.0, 0.05, (n, 5))
    tip = np.clip(closing - where, 0.0, 1.0) + slope + rng.normal(0.0, 0.05, (n, 5))
    base[:, 0] = rng.uniform(0.3, 1.0, n)
    tip[:, 0] = np.clip(0.6 * closing[:, 0] + rng.normal(0.0, 0.15, n), 0.0, 1.0)
    return _hands(
        base, tip, np.clip(1.5 * aperture - 0.5 + rng.normal(0.0, 0.3, (n, 1)), -0.8, 1.3)
    )


def _pinch(finger: int) -> Callable[[np.random.Generator, int], Drawn]:
    """Thumb to the tip of a finger, pulp to pulp; the others along with it, curled or away."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        others = rng.uniform(-0.05, 0.9, (n, 1))
        base = 0.8 * others + rng.normal(0.0, 0.07, (n, 5))
        tip = others + rng.normal(0.0, 0.07, (n, 5))
        near = 0.08 * (finger - 1)
        base[:, finger] = rng.uniform(0.35, 0.75, n) + near
        tip[:, finger] = rng.uniform(0.15, 0.6, n) + near
        # In a third of them a neighbour holds as well.
        beside = finger - 1 if finger > 1 else finger + 1
        joins = rng.random(n) < 0.35
        for bend in (base, tip):
            bend[:, beside] = np.where(joins, bend[:, finger], bend[:, beside])
        base[:, 0], tip[:, 0] = rng.uniform(0.5, 1.0, n), rng.uniform(0.1, 0.6, n)
        touch = Touch(
            finger=np.full(n, finger),
            bone=np.full(n, 2),
            along=rng.uniform(0.7, 1.05, n),
            turn_rad=rng.normal(0.15, 0.3, n),
            thumb_turn_rad=rng.normal(0.0, 0.3, n),
        )
        return _hands(base, tip, rng.uniform(-0.8, 0.6, (n, 1)), touch)

    return draw


def _key(rng: np.random.Generator, n: int) -> Drawn:
    """As a key is held: the thumb's pulp on the side of the bent index finger."""
    curl = rng.uniform(0.35, 0.8, (n, 1))
    base = 0.8 * curl + rng.normal(0.0, 0.06, (n, 5))
    tip = curl + rng.normal(0.0, 0.06, (n, 5))
    base[:, 0], tip[:, 0] = rng.uniform(0.1, 0.6, n), rng.uniform(0.0, 0.6, n)
    touch = Touch(
        finger=np.ones(n, int),
        bone=rng.integers(1, 3, n),
        along=rng.uniform(0.2, 0.9, n),
        turn_rad=np.radians(rng.uniform(60, 110, n)),
        thumb_turn_rad=rng.normal(0.0, 0.3, n),
    )
    return _hands(base, tip, rng.uniform(-0.4, 0.1, (n, 1)), touch)


def _opposition(rng: np.random.Generator, n: int) -> Drawn:
    """The thumb travels along the fingers and down the little one (Kapandji's ten stations)."""
    curl = rng.uniform(0.0, 0.5, (n, 1))
    base = curl + rng.normal(0.0, 0.08, (n, 5))
    tip = 0.8 * curl + rng.normal(0.0, 0.08, (n, 5))
    base[:, 0], tip[:, 0] = rng.uniform(0.5, 1.0, n), rng.uniform(0.1, 0.9, n)
    finger = rng.choice(5, n, p=[0.3, 0.2, 0.15, 0.15, 0.2])
    touch = Touch(
        finger=finger,
        bone=np.where(finger == 4, rng.integers(0, 3, n), rng.integers(1, 3, n)),
        along=rng.uniform(0.1, 0.9, n),
        turn_rad=rng.normal(0.2, 0.3, n),
        thumb_turn_rad=rng.normal(0.0, 0.4, n),
    )
    return _hands(base, tip, rng.uniform(-0.8, 0.6, (n, 1)), touch)


def _gesture(rng: np.random.Generator, n: int) -> Drawn:
    """The gestures of the synthetic camera, and whatever lies on the way from one to another."""
    table = np.array([gesture.bends for gesture in GESTURES.values()])
    one, other = table[rng.integers(len(table), size=(2, n))]
    amount = np.where(rng.random(n) < 0.4, 0.0, rng.uniform(0.0, 1.0, n))[:, None, None]
    bends = (1.0 - amount) * one + amount * other + rng.normal(0.0, 0.04, (n, 3, 5))
    return Drawn(bends, Touch.nothing(n))


def _any(rng: np.random.Generator, n: int) -> Drawn:
    """Anything: bends that agree between neighbours and, less, between knuckle and tip."""
    hand = rng.standard_normal((n, 2, 1))  # one value for all knuckles, one for all tips
    finger = rng.standard_normal((n, 2, 5))
    for f in range(2, 5):
        finger[:, :, f] = 0.6 * finger[:, :, f - 1] + 0.8 * finger[:, :, f]
    z = 0.75 * hand + 0.66 * finger
    z[:, 1] = 0.55 * z[:, 0] + 0.835 * z[:, 1]
    # From a Gaussian to nearly even between straight and bent.
    base, tip = np.moveaxis(0.5 + 0.55 * np.tanh(0.8 * z), 1, 0)
    return _hands(base, tip, rng.uniform(-1.0, 1.2, (n, 1)) + rng.normal(0.0, 0.2, (n, 5)))


FAMILIES = {
    "relaxed": Family(0.10, _relaxed),
    "open": Family(0.06, _open),
    "spread": Family(0.05, _spread),
    "fist": Family(0.06, _fist(thumb_over=True)),
    "fist_beside": Family(0.02, _fist(thumb_over=False)),
    "counting": Family(0.12, _counting),
    "pointing": Family(0.06, _pointing),
    "power_grasp": Family(0.14, _power_grasp),
    "pinch_index": Family(0.06, _pinch(1)),
    "pinch_middle": Family(0.04, _pinch(2)),
    "pinch_ring": Family(0.02, _pinch(3)),
    "pinch_little": Family(0.02, _pinch(4)),
    "key": Family(0.04, _key),
    "opposition": Family(0.06, _opposition),
    "gesture": Family(0.05, _gesture),
    "any": Family(0.10, _any),
}


# How far each finger moves where all go apart (spread 1) or together (spread -1): at rest the hand
# models spread their fingers, from the middle one by 16 (index), 10 and 17 degrees.
_APART = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
_TO_PARALLEL = np.array([1.0, 1.7, 0.0, 1.0, 1.8])


def _hands(
    base: np.ndarray, tip: np.ndarray, spread: np.ndarray, touch: Touch | None = None
) -> Drawn:
    """Hands of (N, 5) base and tip, and (N, 1) or (N, 5) spread."""
    spread = spread * np.where(spread < 0.0, _TO_PARALLEL, _APART)
    bends = np.stack([base, tip, np.broadcast_to(spread, base.shape)], axis=1)
    return Drawn(bends, touch or Touch.nothing(len(base)))


def _straight(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 5) base and (N, 5) tip of straight fingers, bent backwards at most a little."""
    base = rng.uniform(-0.22, 0.12, (n, 1)) + rng.normal(0.0, 0.03, (n, 5))
    return base, rng.uniform(-0.02, 0.1, (n, 1)) + rng.normal(0.0, 0.02, (n, 5))


def _closed(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 5) base and (N, 5) tip of fingers bent into the palm, the thumb towards them."""
    base = rng.uniform(0.6, 1.05, (n, 1)) + rng.normal(0.0, 0.05, (n, 5))
    tip = rng.uniform(0.65, 1.05, (n, 1)) + rng.normal(0.0, 0.05, (n, 5))
    base[:, 0], tip[:, 0] = rng.uniform(0.4, 1.0, n), rng.uniform(0.2, 0.9, n)
    return base, tip


def _stretching(rng: np.random.Generator, stretched: np.ndarray) -> Drawn:
    """Hands whose (N, 5) `stretched` fingers are straight and the others closed."""
    n = len(stretched)
    base, tip = _closed(rng, n)
    base_straight, tip_straight = _straight(rng, n)
    # Extensors are shared: middle to little finger do not come up all the way past a bent one.
    bent = np.pad(~stretched, ((0, 0), (0, 1)))
    held = bent[:, :5] * 0.0
    held[:, 2:] = 0.12 * bent[:, 1:4] + 0.12 * bent[:, 3:6]
    held *= rng.uniform(0.0, 1.0, (n, 1))
    base = np.where(stretched, base_straight + held, base)
    tip = np.where(stretched, tip_straight + held, tip)
    # A thumb that is not stretched holds down a bent finger, more often than not.
    holds = ~stretched[:, 0] & ~stretched[:, 1:].all(1) & (rng.random(n) < 0.6)
    touch = Touch(
        finger=np.where(holds, 1 + np.argmax(~stretched[:, 1:], axis=1), 0),
        bone=rng.integers(1, 3, n),
        along=rng.uniform(0.2, 0.8, n),
        turn_rad=np.radians(rng.uniform(130, 190, n)),
        thumb_turn_rad=rng.normal(0.0, 0.3, n),
    )
    return _hands(base, tip, rng.uniform(-0.8, 1.2, (n, 1)), touch)
