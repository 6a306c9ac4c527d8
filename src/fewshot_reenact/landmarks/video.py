"""A whole video -> the motion of one face: tracked, and believed only where a whole face was seen."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.topology import N_POINTS, eye_distance
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.selection import LARGEST, no_face
from fewshot_reenact.landmarks.tracker import Known, TrackedFrame, Tracker
from fewshot_reenact.landmarks.whole import drop_torn, look_over
from fewshot_reenact.motion.motion import Motion, in_words, runs
from fewshot_reenact.progress import Count

if TYPE_CHECKING:
    from fewshot_reenact.media.reader import VideoReader

_NOTHING = np.full((N_POINTS, 2), np.nan, np.float32)
# The mean movement of a face's points about their middle places, in eye distances: what moves less over a whole video
# is a picture. Measured: 0.0002 for paintings in compressed videos; of 61 clips of people one 0.0018 (an actor who
# holds still; nobody else is there), the others 0.013 and more.
_STILL, _STILL_FRAMES = 0.006, 10
_ENOUGH = 0.3  # share of the frames in which another face must be seen to be followed instead


@dataclass
class _Track:
    """What a tracker saw, frame by frame."""

    points: list[np.ndarray] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    spread: list[np.ndarray | None] = field(default_factory=list)
    redness: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def add(self, seen: TrackedFrame, time: float, pts: int) -> None:
        now = len(self.points)
        if seen.slow is not None and now:
            # What lies between shows two pictures at once; the new shot begins in its middle.
            begin, middle = max(0, now - seen.slow.begin), max(1, now - seen.slow.middle)
            self.cuts = [cut for cut in self.cuts if cut <= begin]
            self.forget(range(begin + 1, now))
            if not self.cuts or middle > self.cuts[-1]:
                self.cuts.append(middle)
        elif seen.cut and now:
            self.cuts.append(now)
        self.points.append(seen.points if seen.found else _NOTHING)
        self.confidence.append(seen.confidence)
        self.spread.append(None if seen.spread is None else seen.spread.astype(np.float16))
        self.redness.append(seen.redness)
        self.times.append(time)
        self.pts.append(pts)

    def forget(self, frames: range | np.ndarray) -> None:
        """No face in these frames."""
        for at in frames:
            self.points[at], self.confidence[at] = _NOTHING, 0.0

    def spreads(self) -> np.ndarray | None:
        """(T, 83), NaN where there is no face; None where the backend does not tell."""
        if all(one is None for one in self.spread):
            return None
        empty = np.full(N_POINTS, np.nan, np.float16)
        return np.stack([empty if one is None else one for one in self.spread]).astype(np.float32)

    def still(self) -> bool:
        """Whether the face never moves."""
        seen = np.stack([p for p, c in zip(self.points, self.confidence, strict=True) if c] or [_NOTHING])
        if len(seen) < _STILL_FRAMES:
            return False
        return movement(seen) < _STILL


def movement(points: np.ndarray) -> float:
    """How far points move about their middle places, (T, 83, 2) pixels -> eye distances."""
    unit = max(float(np.median(eye_distance(points))), 1e-6)
    return float(np.linalg.norm(points - np.median(points, 0), axis=2).mean() / unit)


def track_video(
    reader: "VideoReader",
    backend: LandmarkBackend,
    face: str | int = LARGEST,
    progress: Count | None = None,
    *,
    option: str = "--face",
    whole: bool = True,
) -> Motion:
    """Reads a whole video and returns the motion of one face, with NaN where it is not seen; no picture is kept.

    progress: called after each frame with the frames done and the number expected, None where that is not known.
    option: the name by which the user chooses a face, for messages. whole: only frames that show a whole face count;
    without it every measurement does, for judging what was made. Where nobody in particular was asked for and the face
    followed is a picture on the wall, the video is read again to follow who moves.
    Raises InputError when the face is in no frame.
    """
    name = Path(reader.path).name
    tracker = Tracker(backend, face)
    track = _follow(reader, tracker, progress)
    if not track.points:
        cut = " between --start and --end" if getattr(reader, "audio_end", None) is not None else ""
        raise InputError(f"{name}: the video has no frames{cut}")
    if not any(track.confidence):
        raise no_face(name, f"any of its {len(track.points)} frames", tracker.face, tracker.most_faces, option)
    several = tracker.most_faces > 1
    who = "the largest" if tracker.face == LARGEST else f"number {tracker.face} from the left"
    who += " is followed"
    if tracker.others_seen and track.still():
        several, instead = True, None
        if tracker.face == LARGEST and tracker.followed is not None:
            instead = _who_moves(reader, backend, tracker.followed, len(track.points))
        if instead is None:
            who += ", which never moves (a picture on the wall?)"
        else:
            track, who = instead, "the largest never moves (a picture on the wall?), so the one that does is followed"
    elif tracker.larger_seen:
        several, who = True, who + ", though another becomes larger"
    notes = []
    if several:
        count = max(tracker.most_faces, 2)
        notes.append(f"{name}: up to {count} faces at once; {who}, choose another with {option} N")
    if whole:
        notes += _believe(track, (reader.info.width, reader.info.height), name)
    drop_torn(track.points, track.confidence)
    return Motion(
        np.stack(track.points),
        np.array(track.confidence),
        np.array(track.times),
        np.array(track.pts),
        Fraction(reader.info.time_base),
        Fraction(reader.info.fps),
        (reader.info.width, reader.info.height),
        track.cuts,
        name,
        notes=notes,
        most_faces=tracker.most_faces,
    )


def _follow(reader: "VideoReader", tracker: Tracker, progress: Count | None = None) -> _Track:
    track, total = _Track(), getattr(reader.info, "frames", None)
    for frame in reader:
        track.add(tracker.update(frame.picture), frame.time, frame.pts)
        if progress is not None:
            progress(len(track.points), total)
    return track


def _who_moves(reader: "VideoReader", backend: LandmarkBackend, still: Known, frames: int) -> _Track | None:
    """The largest face beside the one that never moves; None where it moves no more, or is hardly seen."""
    track = _follow(reader, Tracker(backend, LARGEST, [still]))
    found = sum(1 for confidence in track.confidence if confidence)
    return track if len(track.points) == frames and found >= _ENOUGH * frames and not track.still() else None


def _believe(track: _Track, size: tuple[int, int], name: str) -> list[str]:
    """Forgets the frames that show less than a whole face, unless none is left. Returns what the user should know."""
    points, confidence = np.stack(track.points), np.array(track.confidence)
    seen = look_over(points, confidence, track.spreads(), np.array(track.redness), size, track.cuts)
    found = confidence > 0
    notes = ["something seems to cover the mouth all along: its motion is guessed"] if seen.always else []
    for frames, what in ((seen.covered, "something covers the face"), (seen.leaving, "a part of the face is cut off")):
        if frames.any() and (found & ~frames).any():
            times = in_words([(track.times[a], track.times[b - 1]) for a, b in runs(frames)])
            where = f"{int(frames.sum())} of {len(found)} frames ({times})"
            notes.append(f"{what} in {where}: the whole face is held there")
    gone = seen.covered | seen.leaving
    if (found & ~gone).any():
        track.forget(np.flatnonzero(gone))
    return [f"{name}: {note}" for note in notes]
