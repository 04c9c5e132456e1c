"""How light skin is, as dermatology says it: the individual typology angle, and groups by it."""

from __future__ import annotations

import numpy as np

TONES = ("light", "medium", "dark")
_LIGHTER_THAN_DEG = (41.0, 10.0)
"""The angle's usual borders (Chardon 1991, Del Bino 2006: 55, 41, 28, 10, -30 degrees), two classes
together: very light and light, intermediate and tan, brown and dark."""
_XYZ_OF_LINEAR_SRGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE_XYZ = np.array([0.95047, 1.0, 1.08883])  # D65


def individual_typology_angle_deg(srgb: np.ndarray) -> float:
    """atan((L* - 50) / b*) of CIE Lab: about 60 for the lightest skin, below -30 for dark skin.

    Args:
        srgb: (3,) colour of the skin under neutral light, 0 to 255.
    """
    share = np.asarray(srgb, float) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = _XYZ_OF_LINEAR_SRGB @ linear / _WHITE_XYZ
    _, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, yellow = 116.0 * y - 16.0, 200.0 * (y - z)
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def tone_of(ita_deg: float) -> str:
    """One of `TONES`."""
    return TONES[sum(ita_deg <= border for border in _LIGHTER_THAN_DEG)]
