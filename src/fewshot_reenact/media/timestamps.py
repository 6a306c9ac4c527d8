"""Exact time: timestamps are integers in a rational time base, and stay so from the driver to the output.

A float never decides a timestamp. 29.97 frames a second is 30000/1001, and rounding it to 29 costs 20 seconds of drift
in ten minutes; variable frame rates have no rate at all, only timestamps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from fewshot_reenact.errors import InputError, UsageError

# Floats such as 0.1001 stand for rationals such as 3003/30000: two times nearer than this are the same time.
SAME_TIME = Fraction(1, 1_000_000)
# What containers claim beyond this is a clock, not a frame rate (WebM from browsers says 1000 frames a second).
HIGHEST_RATE = 1000
LONGEST_STEP = 2**31 - 1  # ticks between two frames of an MP4 file
FALLBACK_RATE = Fraction(25)


def to_ticks(seconds: Fraction | float, time_base: Fraction) -> int:
    """The tick nearest to a time in seconds (halves go up, for positive and negative times alike)."""
    return math.floor(Fraction(seconds) / time_base + Fraction(1, 2))


def frame_rate(average: Fraction | None, guessed: Fraction | None = None) -> Fraction:
    """Frames a second out of what a container claims: its average, else its guess, else 25.

    Claims of 0, below 0 or above 1000 frames a second are not believed.
    """
    for claim in (average, guessed):
        if claim is not None and 0 < claim < HIGHEST_RATE:
            return Fraction(claim)
    return FALLBACK_RATE


def frame_duration(rate: Fraction, time_base: Fraction) -> int:
    """Duration of one frame in ticks, at least 1: used where only the rate is known (a video's last frame)."""
    return max(1, to_ticks(1 / rate, time_base))


def is_variable(timestamps: Iterable[int], time_base: Fraction) -> bool:
    """Whether timestamps in ticks are unevenly spaced.

    A steady rate in a coarse clock alternates between two neighbouring steps (33 and 34 ms, even after it was copied
    into a finer clock), so steps that differ by up to two milliseconds are still steady.
    """
    steps = [b - a for a, b in itertools.pairwise(sorted(timestamps))]
    return bool(steps) and (max(steps) - min(steps)) * time_base > Fraction(2, 1000)


def origin(start: Fraction | None, arbitrary_clock: bool = False) -> Fraction:
    """The time in a container's own clock that counts as 0 seconds.

    Usually 0: a video that starts 33 ms after its sound does so in the output too. Broadcast formats and cut live
    streams start wherever their clock stood (`arbitrary_clock`, or a start of a second and more), and some files start
    below zero; there, the start of the earliest stream is 0. Pictures and sound are shifted alike: they stay in step.
    """
    if start is None:
        return Fraction(0)
    return start if arbitrary_clock or start < 0 or start >= 1 else Fraction(0)


def fit(ticks: Sequence[int], time_base: Fraction) -> tuple[list[int], Fraction]:
    """The same times in a clock in which MP4 can hold them: it counts from frame to frame in 31 bits of ticks.

    Strictly increasing ticks pass unchanged where they fit. Else the clock becomes as much coarser as it must.
    Raises InputError when two frames would then fall on one tick.
    """
    longest = max((b - a for a, b in itertools.pairwise(ticks)), default=0)
    if longest <= LONGEST_STEP:
        return list(ticks), time_base
    # One over a whole number: MP4's clocks are a number of ticks a second.
    coarser = Fraction(1, max(1, math.floor(LONGEST_STEP // 2 / (longest * time_base))))
    moved = [to_ticks(tick * time_base, coarser) for tick in ticks]
    if any(b <= a for a, b in itertools.pairwise(moved)):
        raise InputError(
            f"two frames lie {float(longest * time_base):.0f} s apart, and others so near to each other that an MP4 "
            "file cannot hold both times; cut the driver with --start and --end"
        )
    return moved, coarser


def rate_of_frames(fps: float | None) -> Fraction | None:
    """--fps as a fraction: 29.97 is 30000/1001, as everywhere. Raises UsageError outside 0.1 to 1000."""
    if fps is None:
        return None
    if not 0.1 <= fps < HIGHEST_RATE:
        raise UsageError(f"--fps {fps:g} is not between 0.1 and {HIGHEST_RATE}")
    for whole in (24, 30, 48, 60, 120):
        if abs(fps - whole * 1000 / 1001) < 0.005:
            return Fraction(whole * 1000, 1001)
    return Fraction(fps).limit_denominator(1000)


class Increasing:
    """Makes timestamps strictly increasing, because no frame may be dropped and MP4 holds no two frames at one time.

    Good timestamps pass unchanged. A missing one (None) follows the last by `step` ticks; one that does not increase
    comes one tick after the last. `mended` counts the changes.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.mended = 0
        self._last: int | None = None

    def __call__(self, pts: int | None) -> int:
        """The time at which this frame goes into the file."""
        if pts is None:
            pts = 0 if self._last is None else self._last + self.step
            self.mended += 1
        elif self._last is not None and pts <= self._last:
            pts = self._last + 1
            self.mended += 1
        self._last = pts
        return pts


class Continued:
    """Goes on where a clock jumps back: recordings joined by hand begin anew at each joint.

    What follows a jump is moved by one offset, so that its first frame follows the last by `step` ticks. A single frame
    whose time is wrong is no jump: the next one is where it would have been. `offsets` are those of the jumps so far,
    in ticks.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.offsets: list[int] = []
        self._last: int | None = None

    def __call__(self, pts: int) -> int:
        """The time at which this frame would stand, had the clock gone on."""
        offset = self.offsets[-1] if self.offsets else 0
        before = self.offsets[-2] if len(self.offsets) > 1 else 0
        now = pts + offset
        if (
            self._last is not None
            and self.offsets
            and abs(pts + before - self._last) <= self.step < abs(now - self._last)
        ):
            self.offsets.pop()  # it was one frame only
            now = pts + before
        elif self._last is not None and now <= self._last - 2 * self.step:
            self.offsets.append(self._last + self.step - pts)
            now = self._last + self.step
        self._last = now if self._last is None else max(self._last, now)
        return now
