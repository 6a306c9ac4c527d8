"""A driver's motion at the times of a portrait's video: which frame of the video is shown when, and what drives it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from fewshot_reenact.media import timestamps
from fewshot_reenact.motion.motion import Motion

Fit = Literal["shortest", "loop", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)
_ALIKE = 0.1  # seconds by which two lengths differ before anybody need know


@dataclass(frozen=True)
class Pace:
    """motion: the driver's, a frame for each of the N of the output, at the output's times and in the portrait's clock.
    at: (N,), the driver's frame that is nearest to each. length: seconds of the output. tempo: by how much faster the
    driver goes, where it is stretched. notes: what the user should know.
    """

    motion: Motion
    at: np.ndarray
    length: Fraction
    tempo: Fraction
    notes: list[str]


def frames_shown(count: int, video: Motion) -> np.ndarray:
    """Which frame of a portrait's video each of `count` frames of an output is, (count,): it begins anew at its end."""
    return np.arange(count) % len(video)


def length_of(motion: Motion) -> Fraction:
    """Seconds until the end of the last frame."""
    return int(motion.pts[-1]) * motion.time_base + 1 / motion.fps


def paced(driver: Motion, video: Motion, fit: Fit = "shortest") -> Pace:
    """The driver's motion at the times of a portrait's video.

    fit: "shortest", the output ends with whichever ends first; "loop", with the longer one, the other begins anew;
    "stretch", the driver is made as long as the video.
    """
    own, theirs = length_of(video), length_of(driver)
    rounds = int(-(-theirs // own)) if fit == "loop" else 1
    turn = max(1, timestamps.to_ticks(own, video.time_base))
    pts = np.concatenate([video.pts + turn * k for k in range(max(1, rounds))])
    if fit == "shortest" or rounds > 1:
        pts = pts[: max(1, int(np.sum(pts < timestamps.to_ticks(theirs, video.time_base))))]
    times = pts * float(video.time_base)
    ends = int(pts[-1]) * video.time_base + 1 / video.fps
    tempo = theirs / own if fit == "stretch" else Fraction(1)
    again = np.floor(times / float(theirs) + 1e-9).astype(int) * (fit == "loop")
    at, motion = _resampled(driver, times * float(tempo) - again * float(theirs), again)
    motion = replace(motion, times=times, pts=pts, time_base=video.time_base, fps=video.fps)
    return Pace(motion, at, ends, tempo, _notes(own, theirs, fit))


def _resampled(driver: Motion, wanted: np.ndarray, again: np.ndarray) -> tuple[np.ndarray, Motion]:
    """The driver at the times `wanted`, (N,) seconds of its own clock. again: (N,), how often it began anew. Returns
    the nearest frames, and the motion, whose times are still the driver's.
    """
    last = len(driver) - 1
    before = np.clip(np.searchsorted(driver.times, wanted + 1e-9, "right") - 1, 0, last)
    after = np.minimum(before + 1, last)
    step = driver.times[after] - driver.times[before]
    share = np.clip((wanted - driver.times[before]) / np.where(step > 0, step, 1), 0, 1) * (step > 0)
    shot = np.searchsorted(driver.cuts, np.arange(len(driver)), "right")
    found = driver.found
    # Nothing lies between two shots, nor between a face and none.
    share = np.where((shot[before] == shot[after]) & (found[before] == found[after]), share, np.round(share))
    at = np.where(share > 0.5, after, before)
    points = np.where(
        np.isin(share, (0, 1))[:, None, None],
        driver.points[at],
        driver.points[before] + share[:, None, None] * (driver.points[after] - driver.points[before]),
    )
    cuts = 1 + np.flatnonzero((shot[at][1:] != shot[at][:-1]) | (again[1:] != again[:-1]))
    return at, replace(
        driver,
        points=points.astype(np.float32),
        confidence=driver.confidence[at],
        times=driver.times[at],
        pts=driver.pts[at],
        cuts=cuts.tolist(),
    )


def _notes(own: Fraction, theirs: Fraction, fit: Fit) -> list[str]:
    if abs(own - theirs) <= _ALIKE:
        return []
    lasts = f"the portrait's video lasts {float(own):.2f} s, the driver {float(theirs):.2f} s"
    if fit == "shortest":
        return [f"{lasts}: the output ends with the shorter one; --fit loop or --fit stretch uses all of both"]
    if fit == "stretch":
        return [f"{lasts}: the driver goes {float(theirs / own):.2f} times as fast"]
    who = "video" if own < theirs else "driver"
    return [f"{lasts}: the {who} begins anew at its end, which is seen as a cut"]
