"""The protocol of Zakharov et al., section 4: T pictures of a person, held-out frames of the same video, and what a
method makes of them. Which frames and which people is decided here, from names and a seed alone.

Two things are stricter than in the paper: the pictures come from the first half of a video and the held-out frames from
the second, because neighbouring frames are nearly the same picture; and the sets are nested (one picture, the same and
seven others, the same and 24 others), because then the same picture moves for every T.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fewshot_reenact.errors import UsageError
from fewshot_reenact.evaluation.metrics import METRICS
from fewshot_reenact.motion.motion import Motion

SHOTS = (1, 8, 32)
HELD_OUT = 32  # groups of frames a video at most, as in the paper
GROUP = 3  # consecutive frames: the middle one is compared, all three tell how the output flickers


@dataclass(frozen=True)
class EvaluationTask:
    """What a method is given, and all that it may know of the person.

    portraits: T of them (renderer.Portrait); the first one's picture is the one that moves. moves: (N, 83, 2), the face
    wanted in each output frame, pixels of the first portrait. dense: (N, 2, S, S), the driver's dense motion, for
    models that correct a warp; None for others.
    """

    portraits: Sequence[Any]
    moves: np.ndarray
    dense: np.ndarray | None = None


class Method(Protocol):
    """Makes N pictures, (H, W, 3) uint8 RGB of the first portrait's size, out of a task."""

    def __call__(self, task: EvaluationTask) -> Iterable[np.ndarray]:
        """Pictures of the task's person, one for each of its moves."""
        ...


@dataclass(frozen=True)
class Choice:
    """Frames of one video. portraits: in the order in which T of them are taken. middles: of the groups compared."""

    portraits: list[int]
    middles: list[int]


def choose_frames(
    motion: Motion, name: str, shots: Sequence[int], *, seed: int, every: int, held_out: int = HELD_OUT
) -> Choice:
    """Portraits from the first half of a video and groups from the second.

    every: at least this many frames from one group to the next. Both lists may be short or empty.
    """
    half = len(motion) // 2
    found = motion.found
    candidates = np.flatnonzero(found[:half])
    order = random_for(seed, name).permutation(candidates)
    return Choice([int(t) for t in order[: max(shots)]], choose_groups(motion, half, every, held_out))


def choose_groups(motion: Motion, begin: int, every: int, held_out: int = HELD_OUT) -> list[int]:
    """Middles of groups from frame `begin` on: the face is in all frames of a group, and no cut."""
    found, reach = motion.found, GROUP // 2
    middles: list[int] = []
    for t in range(begin + reach, len(motion) - reach):
        inside = range(t - reach, t + reach + 1)
        cut = any(one in motion.cuts for one in inside[1:])
        if found[inside[0] : inside[-1] + 1].all() and not cut and (not middles or t >= middles[-1] + every):
            middles.append(t)
    if len(middles) > held_out:
        middles = [middles[round(at)] for at in np.linspace(0, len(middles) - 1, held_out)]
    return middles


def pair_people(clips: Sequence[str], people: Sequence[str], seed: int) -> dict[str, str]:
    """For cross-identity: which clip drives which, by name. A clip that no other person can drive is left out.

    Raises UsageError when there are not two people.
    """
    pairs = {}
    for clip, person in zip(clips, people, strict=True):
        others = [other for other, who in zip(clips, people, strict=True) if who != person]
        if others:
            pairs[clip] = others[int(random_for(seed, f"driver of {clip}").integers(len(others)))]
    if not pairs:
        raise UsageError("--cross needs clips of two people or more")
    return pairs


def random_for(seed: int, name: str) -> np.random.Generator:
    """Random numbers that are the same for a name whatever other names there are, on any machine."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@dataclass
class Scores:
    """Rows of measurements: one for each clip, T and method. of_sets: (T, method) -> what is measured of all frames of
    all clips at once (FID, KID), which therefore stands among the means only.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    of_sets: dict[tuple[int, str], dict[str, float]] = field(default_factory=dict)

    def add(self, clip: str, shots: int, method: str, frames: Sequence[dict[str, float]], **more: Any) -> None:
        """frames: a dict of metrics for each frame compared; those that a frame lacks do not count for it."""
        self.rows.append(
            {"clip": clip, **more, "shots": shots, "method": method, "frames": len(frames), **mean(frames)}
        )

    def means(self) -> list[dict[str, Any]]:
        """Means over clips for each T and method, in the order in which they came."""
        keys = dict.fromkeys((row["shots"], row["method"]) for row in self.rows)
        out = []
        for shots, method in sorted(keys, key=lambda key: key[0]):
            rows = [row for row in self.rows if (row["shots"], row["method"]) == (shots, method)]
            numbers = [{key: row[key] for key in METRICS if key in row} for row in rows]
            words = {key: rows[0][key] for key in ("motion",) if key in rows[0]}
            sets = self.of_sets.get((shots, method), {})
            out.append({"shots": shots, "method": method, **words, "clips": len(rows), **mean(numbers), **sets})
        return out

    def table(self) -> str:
        """The means as a Markdown table; the best of each T in bold, except where all are the same."""
        means = self.means()
        shown = [key for key in METRICS if any(key in row for row in means)]
        arrows = {True: "↑", False: "↓"}
        told = any("motion" in row for row in means)
        lines = [
            f"| T | method | clips | {'motion from | ' if told else ''}"
            + " | ".join(f"{METRICS[key].title} {arrows[METRICS[key].higher]}" for key in shown)
            + " |",
            f"|---:|---|---:|{'---|' if told else ''}" + "---:|" * len(shown),
        ]
        for row in means:
            cells = [_cell(row, key, [one for one in means if one["shots"] == row["shots"]]) for key in shown]
            words = [row["shots"], row["method"], row["clips"], *([row.get("motion", "")] if told else [])]
            lines.append(f"| {' | '.join([*map(str, words), *cells])} |")
        return "\n".join(lines)


def _cell(row: dict[str, Any], key: str, group: list[dict[str, Any]]) -> str:
    if key not in row:
        return ""
    metric = METRICS[key]
    texts = [f"{one[key] * metric.scale:.{metric.decimals}f}" for one in group if key in one]
    text = f"{row[key] * metric.scale:.{metric.decimals}f}"
    best = (max if metric.higher else min)(texts, key=float)
    return f"**{text}**" if text == best and len(set(texts)) > 1 else text


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each key over the rows that have it."""
    keys: Iterator[str] = iter(dict.fromkeys(key for row in rows for key in row))
    return {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}
