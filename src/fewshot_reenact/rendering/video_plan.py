"""From two motions, a portrait's video and its driver, to what is rendered of each frame of the video."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from fewshot_reenact.motion.bounds import Bounds, limit_turn, limit_way
from fewshot_reenact.motion.heads import HeadMotion, Lift
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.neutral import at_rest, unrest
from fewshot_reenact.motion.pacing import frames_shown
from fewshot_reenact.motion.replaced import FaceAtRest, replaced, shared, turned_too
from fewshot_reenact.motion.retarget import Retargeting, find_reference
from fewshot_reenact.motion.smoothing import smooth_motion
from fewshot_reenact.rendering.dense_motion import presence

_CANDIDATES = 12  # frames of a shot that may be shown to the networks, of which the sharpest are
_BEST = 0.4  # share of a shot's frames, those nearest to rest, among which they are


@dataclass(frozen=True)
class VideoShot:
    """A shot of a portrait's video. first, end: its frames, the last one exclusive. rest: the face at rest in it, in
    the frame `reference` of the video, and `track`, the head in all its frames.
    candidates: frames that show the person well, the best first; none where there is no face.
    """

    first: int
    end: int
    reference: int
    rest: FaceAtRest
    candidates: list[int]

    @property
    def track(self) -> HeadMotion:
        """The head in all its frames."""
        return self.rest.track


@dataclass(frozen=True)
class Video:
    """A portrait's video, measured. motion: as it was tracked. steady: (T, 83, 2), without gaps and smoothed."""

    motion: Motion
    steady: np.ndarray
    shots: list[VideoShot]

    @classmethod
    def of(cls, motion: Motion, smooth: float, neutral: bool = False) -> Video:
        """neutral: what the mouth does in the reference frame is taken out of the face at rest, see motion.neutral."""
        steady = smooth_motion(motion.filled().points, motion.times, smooth, motion.cuts)
        return cls(motion, steady, [_shot(motion, steady, a, b, neutral) for a, b in motion.shots])


@dataclass(frozen=True)
class VideoPlan:
    """What is rendered of N frames.

    frames: (N,), which of the video's each is. shots: (N,), the number of its shot. own: the head as it is in that
    frame; heads: as it is to be. share: (N,), how much of what is made counts, 0 where the frame shows no face.
    moves: whether heads turn, or else only change their expression in place. references: the driver's, for each pair
    of shots. region: see motion.retarget.
    """

    frames: np.ndarray
    shots: np.ndarray
    own: HeadMotion
    heads: HeadMotion
    share: np.ndarray
    moves: bool
    references: list[int]
    region: str
    bounds: Bounds

    def report(self) -> dict[str, Any]:
        """The head's angles, and what was kept within bounds: plain data, for JSON."""
        return self.bounds.report(self.heads)


def plan_video(video: Video, driver: Motion, how: Retargeting, smooth: float) -> VideoPlan:
    """driver: at the output's times, see motion.pacing."""
    count = len(driver)
    frames = frames_shown(count, video.motion)
    starts = [shot.first for shot in video.shots]
    shots = np.searchsorted(starts, frames, "right") - 1
    steady = smooth_motion(driver.filled().points, driver.times, smooth, driver.cuts)
    # Where the video begins anew its shot begins anew, too.
    again = np.flatnonzero(np.diff(frames) < 0) + 1
    edges = sorted({0, count, *again.tolist(), *driver.cuts, *(np.flatnonzero(np.diff(shots)) + 1).tolist()})
    theirs = {first: HeadMotion.of(steady[first:end]) for first, end in driver.shots}
    parts, owns, references, bounds = [], [], [], []
    for first, end in pairwise(edges):
        begin, stop = next((a, b) for a, b in driver.shots if a <= first < b)
        shot = video.shots[int(shots[first])]
        sure = driver.confidence[begin:stop]
        reference = find_reference(steady[begin:stop], video.steady[shot.reference], sure)
        own = shot.track[frames[first:end] - shot.first]
        part = _part(
            shot, own, theirs[begin], slice(first - begin, end - begin), reference, driver.times[begin:stop], how
        )
        if how.region in ("all", "pose"):
            part, found = _within(part, own, shot, video.motion.size)
        else:
            found = Bounds.none(end - first)
        parts.append(part)
        owns.append(own)
        bounds.append(found)
        references.append(begin + reference)
    share = presence(video.motion)[frames]
    own = HeadMotion.joined(owns)
    return VideoPlan(
        frames,
        shots,
        own,
        shared(own, HeadMotion.joined(parts), share),
        share,
        how.region in ("all", "pose"),
        references,
        how.region,
        Bounds.joined(bounds),
    )


def _shot(motion: Motion, steady: np.ndarray, first: int, end: int, neutral: bool) -> VideoShot:
    track = HeadMotion.of(steady[first:end])
    score = unrest(track)
    found = np.flatnonzero(motion.found[first:end])
    # At the edges of a gap points are guesses.
    sure = found[motion.confidence[first:end][found] >= 0.5 * motion.confidence[first:end].max()]
    known = sure if len(sure) else np.arange(len(track))
    reference = int(known[np.argmin(score[known])])
    own = Lift(track.pose_of(reference), track.solid[reference])
    rest = FaceAtRest.at(track, reference, at_rest(own).solid if neutral else None)
    best = sure[np.argsort(score[sure], kind="stable")[: max(1, round(_BEST * len(sure)))]]
    spread = (
        np.sort(best)[np.unique(np.linspace(0, len(best) - 1, _CANDIDATES).round().astype(int))] if len(best) else best
    )
    return VideoShot(first, end, first + reference, rest, [first + int(one) for one in spread])


def _part(
    shot: VideoShot,
    own: HeadMotion,
    driver: HeadMotion,
    part: slice,
    reference: int,
    times: np.ndarray,
    how: Retargeting,
) -> HeadMotion:
    """The head in some frames of a shot. driver: in its own shot, of which `part` goes with them."""
    made = replaced(own, shot.rest, driver[part], FaceAtRest.at(driver, reference), how)
    if how.region not in ("all", "pose"):
        return made
    pose = turned_too(own.pose, driver, np.arange(part.start, part.stop), reference, times, how)
    return HeadMotion(pose, made.solid)


def _within(made: HeadMotion, own: HeadMotion, shot: VideoShot, size: tuple[int, int]) -> tuple[HeadMotion, Bounds]:
    """Turns and ways within what each frame can show, see motion.bounds."""
    made, turned, limits = limit_turn(made, Lift(own.pose, own.solid))
    at = shot.reference - shot.first
    still = Lift(shot.track.pose_of(at), shot.track.solid[at])
    way = (made.pose.translation - own.pose.translation) / own.pose.scale[:, None]
    ratio = made.pose.scale / own.pose.scale
    there = replace(
        made.pose,
        translation=still.pose.translation + way * still.pose.scale,
        scale=still.pose.scale * ratio,
    )
    kept, farther = limit_way(HeadMotion(there, made.solid), still, size)
    way = (kept.pose.translation - still.pose.translation) / still.pose.scale
    pose = replace(
        made.pose,
        translation=own.pose.translation + way * own.pose.scale[:, None],
        scale=own.pose.scale * kept.pose.scale / still.pose.scale,
    )
    return HeadMotion(pose, made.solid), Bounds(turned, limits, farther)
