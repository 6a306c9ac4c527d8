"""Tells slow transitions from one shot to the next: dissolves, wipes and fades, in which no single frame is a cut.

In a transition every pixel lies between what it was before and what it is afterwards, and the ends are two pictures.
Whatever moves before a camera shows pixels that are in neither. In a wipe every pixel changes at once, each at its own
time. In a fade there is no picture for a while.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from fewshot_reenact.landmarks.cuts import difference, tiny

_SIDE = 32  # side of the small copies, pixels
_LENGTHS = (6, 10, 16, 24, 36, 54, 80)  # frames in which a transition is looked for, the shortest first
# Both ends are different pictures: of the tiny copies' difference (`cuts.difference`), and in most values.
_OTHER_PICTURE = 0.5
_CHANGED, _MOSTLY = 20.0, 0.4  # levels of 255; share of the colour values
_SLACK = 10.0  # levels by which a value may lie outside what it was and what it becomes
# Bounds of what a transition does on its way. Measured on dissolves of 5, 12, 25 and 50 frames and a wipe of 25 between
# two talking people, against a lively clip of one, which the other bounds would not refuse: share of changed values
# outside 0.02 to 0.07, and 0.14 and more; length of the way over its ends' distance 1.1 to 1.4, and 1.9 and more.
_OUTSIDE, _WAY = 0.1, 1.5
# Where people are lively the way is longer. Then the change must be large (levels of 255 at the mean) and go on without
# a return (shares of the change), with fewer values outside, or all values must jump as in a wipe (the share of the
# change in two frames, and how many do). Measured: of 8 pairs of talking people 6 to 8 are told at 12 to 75 frames,
# where the bounds above tell 0 to 6; of 231 clips of one shot 6 are taken for a transition before faces are compared.
_LARGE, _RETURN, _OUTSIDE_LIVELY = 40.0, 0.05, 0.25
_JUMP, _JUMPING = 0.6, 0.8
_BEGUN, _DONE = 0.12, 0.88  # shares of the new picture between which a frame shows both
_AT_ONCE = 0.4  # share of the change that one frame of a slow transition brings at most
_BLACK = 10.0  # a picture whose values spread less is no picture: a fade, during which nobody is seen
# A fade: the pictures before and after it differ by this much, have this share of the contrast about them, and on one
# side at least so many frames lead to or from the frames without a picture.
_OTHER_SHOT, _FULL, _FADING = 0.3, 0.9, 2
_GROWS = 1.03  # times the contrast of three frames before: the new picture is still coming
_CALM = 0.5  # of the mean change from frame to frame: less, and the transition is over


@dataclass(frozen=True)
class Transition:
    """A slow transition that is over: begin, middle, end are frames ago; what lies between begin and end shows both.
    sure: nothing else looks like it; otherwise faces must tell.
    """

    begin: int
    middle: int
    end: int
    sure: bool = True


class TransitionDetector:
    """Fed every frame of a video in turn; costs about a third of a millisecond a frame."""

    def __init__(self) -> None:
        self._small: deque[np.ndarray] = deque(maxlen=_LENGTHS[-1] + 1)
        self._under_way: list[np.ndarray] = []  # the frames of a transition that has been seen, until it is over
        self._waiting, self._sure = 0, True
        self._fade: _Fade | None = None

    def __call__(self, picture: np.ndarray) -> Transition | None:
        """picture: (H, W, 3) uint8 RGB. The transition that ended with one of the last frames, told once."""
        step = max(1, min(picture.shape[:2]) // (4 * _SIDE))
        small = cv2.resize(np.ascontiguousarray(picture[::step, ::step]), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        now = small.astype(np.float32)
        if self._fade is None and now.std() < _BLACK:
            self._fade = _Fade([*self._under_way, *self._small])
            self._under_way = []
        if self._fade is not None:
            if not self._fade.over(now):
                return None
            fade, self._fade = self._fade, None
            self._small.clear()
            self._small.append(now)
            return fade.transition(now)
        if self._under_way:
            return self._wait(now)
        self._small.append(now)
        known = list(self._small)
        for length in _LENGTHS:
            if len(known) <= length:
                break
            frames = known[-1 - length :]
            sure = _is_transition(frames)
            if sure is not None:
                self._under_way, self._waiting, self._sure = frames, length // 2, sure
                self._small.clear()  # what follows belongs to the new shot
                break
        return None

    def _wait(self, now: np.ndarray) -> Transition | None:
        """Whether a transition that has been seen is over with this frame."""
        frames = self._under_way
        usual = float(np.mean([np.abs(b - a).mean() for a, b in pairwise(frames)]))
        calm = float(np.abs(now - frames[-1]).mean()) < _CALM * usual
        frames.append(now)
        self._waiting -= 1
        if not calm and self._waiting > 0:
            return None
        self._under_way = []
        self._small.append(now)
        shares, last = _shares(frames), len(frames) - 1
        begin = max((t for t, share in enumerate(shares) if share < _BEGUN), default=0)
        end = min((t for t, share in enumerate(shares) if share > _DONE and t > begin), default=last)
        middle = next((t for t in range(begin + 1, end + 1) if shares[t] >= 0.5), end)
        return Transition(last - begin, last - middle, last - end, self._sure)


class _Fade:
    """From one picture through none to another. Made with the frames before the first without a picture."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        spreads = [float(frame.std()) for frame in frames]
        full = max(spreads, default=0.0)
        last = max((t for t, spread in enumerate(spreads) if spread >= _FULL * full), default=0)
        self._before = frames[last] if full >= _BLACK else None
        self._leading = len(frames) - 1 - last
        self._blank, self._following = 0, 0
        self._spreads: deque[float] = deque(maxlen=4)

    def over(self, now: np.ndarray) -> bool:
        """Whether the new picture is there: its contrast grows no more."""
        spread = float(now.std())
        if spread < _BLACK:
            self._blank, self._following = self._blank + 1 + self._following, 0
        else:
            self._following += 1
        self._spreads.append(spread)
        grows = spread > _GROWS * self._spreads[0]
        return spread >= _BLACK and (not grows or self._following > _LENGTHS[-1])

    def transition(self, now: np.ndarray) -> Transition | None:
        """None where a shot only went dark, or was cut to black and back."""
        if self._before is None or max(self._leading, self._following - 1) < _FADING:
            return None
        if difference(tiny(self._before.astype(np.uint8)), tiny(now.astype(np.uint8))) < _OTHER_SHOT:
            return None
        begin = self._leading + self._blank + self._following
        return Transition(begin, self._following + self._blank // 2, 0)


def _shares(frames: list[np.ndarray]) -> list[float]:
    """How far each frame is on the way from the first to the last, 0 to 1."""
    change = frames[-1] - frames[0]
    square = max(float((change**2).sum()), 1e-6)
    return [float(((frame - frames[0]) * change).sum()) / square for frame in frames]


def _is_transition(frames: list[np.ndarray]) -> bool | None:
    """Whether the first frame turns slowly into the last: True for sure, False perhaps, None not.

    frames: (32, 32, 3) float32 each, 0 to 255.
    """
    before, after = frames[0], frames[-1]
    size = float(np.abs(after - before).mean())
    if size < _CHANGED * _MOSTLY:
        return None
    changed = np.abs(after - before) > _CHANGED
    if changed.mean() < _MOSTLY or min(float(before.std()), float(after.std())) < _BLACK:
        return None
    if difference(tiny(before.astype(np.uint8)), tiny(after.astype(np.uint8))) < _OTHER_PICTURE:
        return None
    steps = np.diff(_shares(frames))
    if steps.max() > _AT_ONCE:  # a cut, which CutDetector tells
        return None
    low, high = np.minimum(before, after) - _SLACK, np.maximum(before, after) + _SLACK
    outside = max(float(((now < low) | (now > high))[changed].mean()) for now in frames[1:-1])
    if outside <= _OUTSIDE and sum(float(np.abs(b - a).mean()) for a, b in pairwise(frames)) <= _WAY * size:
        return True
    back = -float(steps[steps < 0].sum())
    if size < _LARGE or back > 2 * _RETURN:
        return None
    if back <= _RETURN and outside <= _OUTSIDE_LIVELY:
        return False
    jump = np.max([np.abs(b - a) for a, b in zip(frames, frames[2:], strict=False)], axis=0)
    return False if float((jump > _JUMP * np.abs(after - before))[changed].mean()) >= _JUMPING else None
