"""A motion: the 83 points of one face over time. It holds no pictures.

`Motion` is what the tracker makes, what `reenact extract` writes, what the built-in motions are, and what drives a
portrait. `motion.files` reads and writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.solid import fit_track
from fewshot_reenact.geometry.topology import FLIP, N_POINTS

# How long the face takes to move to where it is found again after a gap; what is longer is held still before.
EASE_SECONDS = 0.6
# A video with a face in fewer of its frames than this is used, but the user is told.
FEW_FACES = 0.1


@dataclass(eq=False)
class Motion:
    """One face over time; T frames, one for every frame of the video, whether a face was found or not.

    points: (T, 83, 2) float32, pixels of the video's picture; NaN where no face was found.
    confidence: (T,) float32, 0..1; 0 where no face was found.
    times: (T,) float64, seconds, strictly increasing (the frame rate may vary).
    pts, time_base: (T,) int64 and a Fraction: the exact time of frame t is pts[t] * time_base.
    fps: the nominal frame rate. size: (width, height) of the picture in pixels.
    cuts: first frames of new shots, ascending, in 1..T-1. source: the name of the file it came from, without folders.
    notes: what the user should be told about how it was measured; not kept in files.
    most_faces: how many faces were seen at once, 0 where nobody counted; not kept in files.
    """

    points: np.ndarray
    confidence: np.ndarray
    times: np.ndarray
    pts: np.ndarray
    time_base: Fraction
    fps: Fraction
    size: tuple[int, int]
    cuts: list[int] = field(default_factory=list)
    source: str = ""
    notes: list[str] = field(default_factory=list)
    most_faces: int = 0

    def __post_init__(self) -> None:
        self.points = np.asarray(self.points, np.float32)
        self.confidence = np.asarray(self.confidence, np.float32)
        self.times = np.asarray(self.times, np.float64)
        self.pts = np.asarray(self.pts, np.int64)
        frames = len(self.points)
        if self.points.shape != (frames, N_POINTS, 2):
            raise ValueError(f"points have shape {self.points.shape}, not (frames, {N_POINTS}, 2)")
        for name in ("confidence", "times", "pts"):
            if getattr(self, name).shape != (frames,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not ({frames},) as the points have")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def found(self) -> np.ndarray:
        """(T,) bool: in which frames there is a face."""
        return ~np.isnan(self.points).any((1, 2))

    @property
    def shots(self) -> list[tuple[int, int]]:
        """(first frame, one past the last) of each shot."""
        edges = [0, *self.cuts, len(self)]
        return [(a, b) for a, b in pairwise(edges) if b > a]

    def mirrored(self) -> "Motion":
        """The same with left and right exchanged."""
        points = self.points[:, FLIP].copy()
        points[..., 0] = self.size[0] - 1 - points[..., 0]
        return replace(self, points=points)

    def angles(self) -> np.ndarray:
        """How the head is turned, (T, 3) degrees: yaw, pitch, roll as `geometry.rotation.angles_of` has them.

        NaN where no face was found. Each shot is fitted by itself: another may show somebody else.
        """
        found, out = self.found, np.full((len(self), 3), np.nan)
        for first, end in self.shots:
            if found[first:end].any():
                out[first:end] = fit_track(self.points[first:end]).angles
        return out

    def filled(self) -> "Motion":
        """The same motion without NaN: see `fill_gaps`. Raises InputError when no frame has a face."""
        return replace(self, points=fill_gaps(self.points, self.times, self.cuts))

    def slice(self, start: float | None = None, end: float | None = None) -> "Motion":
        """The frames with start <= time < end, in seconds; times and pts stay as they are.

        Raises UsageError when none are left.
        """
        keep = np.ones(len(self), bool)
        if start is not None:
            keep &= self.times >= start
        if end is not None:
            keep &= self.times < end
        if not keep.any():
            raise UsageError(
                f"{self.source or 'the motion'} runs from {self.times[0]:.2f} s to {self.times[-1]:.2f} s: "
                "no frame is left between --start and --end"
            )
        first, last = int(np.flatnonzero(keep)[0]), int(np.flatnonzero(keep)[-1])
        part = slice(first, last + 1)
        return replace(
            self,
            points=self.points[part],
            confidence=self.confidence[part],
            times=self.times[part],
            pts=self.pts[part],
            cuts=[cut - first for cut in self.cuts if first < cut <= last],
        )

    def missing_spans(self) -> list[tuple[float, float]]:
        """Where no face was found: (from, to) in seconds, `to` being the time of the next frame with a face."""
        ends = np.append(self.times, self.times[-1] + float(1 / self.fps))
        return [(float(self.times[a]), float(ends[b])) for a, b in runs(~self.found)]

    def report(self) -> dict[str, Any]:
        """What was found, for people and for --json; `warnings` are lines to show to the user."""
        found = int(self.found.sum())
        spans = self.missing_spans()
        warnings = list(self.notes)
        if found < FEW_FACES * len(self):
            warnings.append(
                f"a face was found in only {found} of {len(self)} frames of {self.source or 'the motion'}: "
                "most of the motion is held still"
            )
        if found < len(self):
            missing = f"{len(self) - found} of {len(self)} frames ({in_words(spans)})"
            warnings.append(f"no face in {missing}: the motion is held there")
        return {
            "source": self.source,
            "frames": len(self),
            "found": found,
            "missing": len(self) - found,
            "missing_spans": [[round(a, 6), round(b, 6)] for a, b in spans],
            "cuts": [float(self.times[cut]) for cut in self.cuts],
            "fps": str(self.fps),
            "duration": float(self.times[-1] - self.times[0] + 1 / self.fps),
            "size": list(self.size),
            "mean_confidence": float(self.confidence[self.found].mean()) if found else 0.0,
            "warnings": warnings,
        }


def runs(frames: np.ndarray) -> list[tuple[int, int]]:
    """Where frames (T,) bool are true without a gap: (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], frames, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def in_words(spans: Sequence[tuple[float, float]]) -> str:
    """Spans of seconds, five of them at most."""
    return ", ".join(f"{a:.2f}-{b:.2f} s" for a, b in spans[:5]) + (" and more" if len(spans) > 5 else "")


def fill_gaps(points: np.ndarray, times: np.ndarray, cuts: Sequence[int] = ()) -> np.ndarray:
    """Points for the frames without a face. (T, 83, 2) with NaN, (T,) seconds -> (T, 83, 2) without.

    In a gap the face stays where it was last seen and moves smoothly (zero speed at both ends) to where it is seen
    next, in the last `EASE_SECONDS` of the gap or in the whole of a shorter one. Before the first face the first is
    held, after the last the last. Nothing moves across a cut: what is missing before the cut stays with the shot
    before it, what is missing after with the shot after it. Raises InputError when there is no face at all.
    """
    out = points.copy()
    found = ~np.isnan(points).any((1, 2))
    if not found.any():
        raise InputError("there is no face in any frame: use a video in which a face is seen from the front")
    known = np.flatnonzero(found)
    out[: known[0]] = points[known[0]]
    out[known[-1] + 1 :] = points[known[-1]]
    for before, after in pairwise(known):
        if after == before + 1:
            continue
        cut = next((cut for cut in cuts if before < cut <= after), None)
        if cut is not None:
            out[before + 1 : cut] = points[before]
            out[cut:after] = points[after]
            continue
        begin = max(times[before], times[after] - EASE_SECONDS)
        part = np.clip((times[before + 1 : after] - begin) / (times[after] - begin), 0, 1)
        ease = smoothstep(part)[:, None, None]
        out[before + 1 : after] = points[before] + ease * (points[after] - points[before])
    return out
