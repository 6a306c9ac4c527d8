"""A driver's points as they come: smoothed without looking ahead, held in gaps, and the reference found on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.solid import fit_track
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.motion.retarget import find_reference
from fewshot_reenact.motion.smoothing import OneEuro

SETTLE = 1.0  # seconds from a shot's first face in which its reference is looked for
_RETURN = 0.3  # seconds over which a face that was lost moves from where it was held to where it is
_TURN_OVER = 0.12  # seconds in which a better reference takes the place of the one before: nothing jumps
_SIZE_SECONDS = 0.4  # as in motion.retarget: a head's size changes no faster
_EVERY, _FRAMES = 0.1, 10  # seconds between frames that tell who the driver is, and how many of them count
_SAME = 1e-3  # pixels, and of the size's logarithm: nearer, the reference has arrived


class SteadyPoints:
    """The One-Euro filter over a stream with gaps: the face eases from where it was held to where it is seen again."""

    def __init__(self, strength: float) -> None:
        self._filter = OneEuro(strength)
        self.reset()

    def reset(self) -> None:
        """A new shot: forgets the past."""
        self._filter.reset()
        self._last: np.ndarray | None = None
        self._offset, self._since = np.zeros((1, 2)), 0.0
        self._lost = False

    def miss(self) -> None:
        """A frame without a face."""
        self._lost = True

    def __call__(self, points: np.ndarray, time: float) -> np.ndarray:
        """(83, 2) pixels at `time`, seconds -> (83, 2) float32, steady."""
        if self._lost:
            self._filter.reset()
        steady = self._filter(points, time)
        if self._lost and self._last is not None:
            self._offset, self._since = self._last - steady, time
        self._lost = False
        left = 1 - smoothstep(float(np.clip((time - self._since) / _RETURN, 0, 1)))
        self._last = (steady + left * self._offset).astype(np.float32)
        return self._last


@dataclass(frozen=True)
class Rest:
    """The driver's frame that counts as the portrait's own state: points (83, 2), and the logarithm of its size."""

    points: np.ndarray
    size: float


class DriverHead:
    """Who the driver is and what their rest is, as far as it is known: causal, for one shot.

    portrait: (83, 2), the portrait's points; the frame nearest to it is the rest. settle: seconds in which it is looked
    for. still: (83, 2), the points of a still picture of the driver, which is the rest from the start.
    """

    def __init__(self, portrait: np.ndarray, settle: float = SETTLE, still: np.ndarray | None = None) -> None:
        self.portrait, self.settle, self.still = portrait, settle, still
        self.reset()

    def reset(self) -> None:
        """A new shot: another head perhaps, and another place. The rest of a still picture stays."""
        self._began: float | None = None
        self._before = 0.0
        self._size: float | None = None
        self._sizes: list[tuple[float, float]] = []  # (time, logarithm of the size) while the rest is looked for
        self._best_at = 0.0
        self._seen: list[np.ndarray] = []
        self._noted = -np.inf
        self._identity: np.ndarray | None = None
        self._best: Rest | None = None
        self._rest: Rest | None = None
        if self.still is not None:
            pose = fit_track(self.still[None])
            self._identity = pose.identity
            self._best = self._rest = Rest(self.still, float(np.log(pose.scale[0])))

    def settled(self, time: float) -> bool:
        """Whether the rest is what it will be."""
        return self.still is not None or (self._began is not None and time - self._began >= self.settle)

    def take(self, points: np.ndarray, time: float) -> tuple[HeadMotion, np.ndarray, bool]:
        """points: (83, 2), steady, at `time`. Returns the driver's head at rest and now (two frames), the logarithms of
        its sizes, slowed (2,), and whether this frame is the best rest so far.
        """
        step = 0.0 if self._began is None else max(time - self._before, 0.0)
        if self._began is None:
            self._began = time
        self._before = time
        better = not self.settled(time) and self._is_better(points)
        if better or self._best is None:
            self._best, better = Rest(points, self._best.size if self._best else 0.0), True
        if self.still is None and not (self.settled(time) and self._identity is not None):
            self._note(points, time)
        start = self._best.points if self._rest is None else self._rest.points
        pose = fit_track(np.stack([start, points]), self._identity)
        now = float(np.log(pose.scale[1]))
        self._size = now if self._size is None else self._size + _share(step, _SIZE_SECONDS) * (now - self._size)
        if better:
            self._best, self._best_at = Rest(points, now), time
        if self.still is None and (better or not self.settled(time)):
            self._sizes.append((time, now))
            self._best = Rest(self._best.points, self._slowed())
        if self._rest is None:
            self._rest = self._best
        else:
            self._rest = self._nearer(step)
        return HeadMotion(pose, pose.lifted(np.stack([start, points]))), np.array([self._rest.size, self._size]), better

    def _is_better(self, points: np.ndarray) -> bool:
        return self._best is None or find_reference(np.stack([self._best.points, points]), self.portrait) == 1

    def _slowed(self) -> float:
        """The size about the best rest, before and after: one frame's error would stay in all others."""
        times, sizes = np.array(self._sizes).T
        weight = np.exp(-0.5 * ((times - self._best_at) / _SIZE_SECONDS) ** 2)
        return float((weight * sizes).sum() / weight.sum())

    def _nearer(self, step: float) -> Rest:
        """The rest in use, on its way to the best one."""
        assert self._rest is not None and self._best is not None
        way = self._best.points - self._rest.points
        if max(float(np.abs(way).max()), abs(self._best.size - self._rest.size)) < _SAME:
            return self._best
        share = _share(step, _TURN_OVER)
        points = (self._rest.points + share * way).astype(np.float32)
        return Rest(points, self._rest.size + share * (self._best.size - self._rest.size))

    def _note(self, points: np.ndarray, time: float) -> None:
        """One more look at who the driver is."""
        if time - self._noted < _EVERY and self._identity is not None:
            return
        self._noted = time
        self._seen = [*self._seen, points][-_FRAMES:]
        self._identity = fit_track(np.stack(self._seen)).identity


def _share(step: float, seconds: float) -> float:
    return float(1 - np.exp(-step / seconds))
