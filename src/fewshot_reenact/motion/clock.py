"""Times of frames that came from elsewhere: the exact clock and the rate that a motion needs."""

from fractions import Fraction

import numpy as np

RATES = tuple(Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60"))
_NEAR = 1e-3  # by which share of itself a measured rate may differ from one of these
_ON_TIME = 1e-3  # seconds by which frames may differ from a steady beat
_TICKS = 90_000  # a second
_USUAL = Fraction(25)  # frames a second of a single frame


def clock_of(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, Fraction, Fraction]:
    """times: (T,) seconds, strictly increasing, from 0. Returns them, pts (T,) int64, their time base and the rate.

    Frames that keep a usual rate's beat within a millisecond are given that beat exactly.
    """
    if len(times) == 1:
        return times, np.zeros(1, np.int64), 1 / _USUAL, _USUAL
    rate = 1 / float(np.median(np.diff(times)))
    nearest = min(RATES, key=lambda one: abs(float(one) - rate))
    if abs(float(nearest) - rate) <= _NEAR * rate:
        beats = np.round(times * float(nearest)).astype(np.int64)
        if np.abs(times - beats / float(nearest)).max() <= _ON_TIME and (np.diff(beats) > 0).all():
            return beats / float(nearest), beats, 1 / nearest, nearest
    else:
        nearest = Fraction(rate).limit_denominator(1001)
    pts = np.round(times * _TICKS).astype(np.int64)
    later = np.maximum.accumulate(pts - np.arange(len(pts))) + np.arange(len(pts))  # no two frames at one tick
    return times, later, Fraction(1, _TICKS), nearest
