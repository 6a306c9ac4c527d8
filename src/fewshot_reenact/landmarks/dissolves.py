"""Tells slow transitions from one shot to the next: dissolves and wipes, in which no single frame is a cut.

In a transition every pixel lies between what it was before and what it is afterwards, and the ends are two pictures.
Whatever moves before a camera shows pixels that are in neither.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from fewshot_reenact.landmarks.cuts import difference, tiny

_SIDE = 32  # side of the small copies, pixels
_LENGTHS = (6, 10, 16, 24, 36, 54, 80)  # frames in which a transition is looked for, the shortest first
# Both ends are different pictures (`cuts.difference`; between people 0.3 and more in 99 of 100 pairs), in most pixels.
_OTHER_PICTURE = 0.3
_CHANGED, _MOSTLY = 20.0, 0.4  # levels of 255; share of the colour values
_SLACK = 10.0  # levels by which a value may lie outside what it was and what it becomes
_OUTSIDE = 0.12  # share of the changed values that may lie farther outside
_BEGUN, _DONE = 0.15, 0.85  # shares of the new picture between which a frame shows both
_AT_ONCE = 0.4  # share of the change that one frame of a slow transition brings at most
_LOOKS = 5  # frames of the transition that are compared
_BLACK = 10.0  # a picture whose values spread less is no picture: a fade, during which nobody is seen
_STEADY = 0.12  # share of the whole change by which the picture may still change at either end


@dataclass(frozen=True)
class Transition:
    """A slow transition that is over: begin, middle, end are frames ago; what lies between begin and end shows both."""

    begin: int
    middle: int
    end: int


class TransitionDetector:
    """Fed every frame of a video in turn; costs about a third of a millisecond a frame."""

    def __init__(self) -> None:
        self._small: deque[np.ndarray] = deque(maxlen=_LENGTHS[-1] + 1)

    def __call__(self, picture: np.ndarray) -> Transition | None:
        """picture: (H, W, 3) uint8 RGB. The transition that ended with one of the last frames, told once."""
        step = max(1, min(picture.shape[:2]) // (4 * _SIDE))
        small = cv2.resize(np.ascontiguousarray(picture[::step, ::step]), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        self._small.append(small.astype(np.float32))
        for length in _LENGTHS:
            if len(self._small) <= length:
                return None
            found = self._look(length)
            if found is not None:
                self._small.clear()  # what follows belongs to the new shot
                self._small.append(small.astype(np.float32))
                return found
        return None

    def _look(self, length: int) -> Transition | None:
        frames = self._small
        before, after = frames[-1 - length], frames[-1]
        change = after - before
        size = float(np.abs(change).mean())
        if size < _CHANGED * _MOSTLY:
            return None
        # At either end the picture is nearly still, measured against the whole change.
        for a, b in ((frames[-1 - length], frames[-length]), (frames[-2], frames[-1])):
            if float(np.abs(b - a).mean()) > _STEADY * size:
                return None
        changed = np.abs(change) > _CHANGED
        if changed.mean() < _MOSTLY or min(float(before.std()), float(after.std())) < _BLACK:
            return None
        low, high = np.minimum(before, after) - _SLACK, np.maximum(before, after) + _SLACK
        for share in np.linspace(0, 1, _LOOKS + 2)[1:-1]:
            now = frames[-1 - length + round(float(share) * length)]
            if float(((now < low) | (now > high))[changed].mean()) > _OUTSIDE:
                return None
        if difference(tiny(before.astype(np.uint8)), tiny(after.astype(np.uint8))) < _OTHER_PICTURE:
            return None
        square = float((change**2).sum())
        shares = [float(((frames[-1 - length + t] - before) * change).sum()) / square for t in range(length + 1)]
        begin = max((t for t in range(length + 1) if shares[t] < _BEGUN), default=0)
        end = min((t for t in range(begin + 1, length + 1) if shares[t] > _DONE), default=length)
        if max(b - a for a, b in pairwise(shares)) > _AT_ONCE:  # a cut, which CutDetector tells
            return None
        middle = next((t for t in range(begin + 1, end + 1) if shares[t] >= 0.5), end)
        return Transition(length - begin, length - middle, length - end)
