"""Tells where one shot ends and the next begins, from tiny copies of the frames.

What separates a cut from movement is not how many pixels change (a face that turns fills the picture) but that
the arrangement changes at once, after frames that changed little: so the change is compared both with a fixed bound and
with what has been usual just before.
"""

from collections import deque
from enum import Enum

import cv2
import numpy as np

_SIDE = 32  # side of the tiny copy, pixels
_BINS = 24  # of its brightness histogram
# Change of the tiny copies, 0..2 (see `difference`). In 16,000 frames of single shots of a head it stayed
# below 0.24; between shots of different people it is above 0.3 in 99 of 100 pairs, 0.75 at the median; between shots of
# one person before one background (jump cuts) it is 0.04 to 0.2, so these are told by the face, see `Tracker`.
_POSSIBLE = 0.1
_POSSIBLE_AT_FIRST = 0.25  # while nothing is known of what is usual
CERTAIN = 0.4
_TIMES_USUAL = 4.0
_MEMORY = 12  # frames whose change is what is usual
# The same for copies of the face alone. From frame to frame it stays below 0.3 in 999 of 1,000; between faces of
# different people, brought to one place and size, it is above 0.32 in 99 of 100.
OTHER_FACE = 0.3

Tiny = tuple[np.ndarray, np.ndarray]


class Cut(Enum):
    """NO; MAYBE: look whether the face is still where it was; YES."""

    NO = 0
    MAYBE = 1
    YES = 2


class CutDetector:
    """Fed every frame of a video in turn; costs well under a millisecond a frame. `now` is the last frame's copy."""

    def __init__(self) -> None:
        self.now: Tiny | None = None
        self.change = 0.0
        self._usual: deque[float] = deque(maxlen=_MEMORY)

    def __call__(self, picture: np.ndarray) -> Cut:
        """picture: (H, W, 3) uint8 RGB. Whether a new shot begins with it; the first frame begins none."""
        last, self.now = self.now, tiny(picture)
        if last is None:
            return Cut.NO
        self.change = difference(last, self.now)
        history = sorted(self._usual)
        self._usual.append(self.change)
        if self.change >= CERTAIN:
            # A picture that always changes that much flickers; it is not cut at every frame.
            return Cut.YES if not history or self.change > 2 * history[len(history) // 2] else Cut.MAYBE
        if len(history) < _MEMORY // 3:
            return Cut.MAYBE if self.change >= _POSSIBLE_AT_FIRST else Cut.NO
        return Cut.MAYBE if self.change >= max(_POSSIBLE, _TIMES_USUAL * history[len(history) // 2]) else Cut.NO


def tiny(picture: np.ndarray) -> Tiny:
    """(32, 32, 3) float32 colours without the picture's brightness and contrast, and a (bins, 3) histogram."""
    step = max(1, min(picture.shape[:2]) // (4 * _SIDE))  # averaging every pixel of a large frame would cost more
    small = cv2.resize(np.ascontiguousarray(picture[::step, ::step]), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    colours = small.astype(np.float32)
    spread = max(float(colours.std()), 8.0)  # so that the noise of a black picture is not magnified
    bins = [np.bincount(small[..., k].ravel() // (256 // _BINS + 1), minlength=_BINS)[:_BINS] for k in range(3)]
    return (colours - colours.mean()) / spread, np.stack(bins, 1) / _SIDE**2


def difference(last: Tiny, now: Tiny) -> float:
    """0 for the same picture, about 1 for unrelated ones; brightness alone (a flash, a fade) counts little."""
    arrangement = float(np.abs(last[0] - now[0]).mean())
    colours = float(np.abs(last[1] - now[1]).sum(0).mean()) / 2
    return arrangement * (0.5 + 0.5 * colours)
