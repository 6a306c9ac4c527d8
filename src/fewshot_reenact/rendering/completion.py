"""What a picture may show where something was taken out of it: patches of the rest, put together so that they agree.

The hole is filled from coarse to fine so that each small patch in it is like some patch of what is known: each round
finds the likest patches by propagation and random search (Barnes et al. 2009, "PatchMatch", section 3) and gives each
pixel the weighted mean of what the patches over it propose (Wexler et al. 2007, "Space-Time Completion of Video",
section 3.2). At the picture's own size pixels are copied from where their patches lie, so that grain and brush strokes
stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 192  # pixels of the longer side at which patches are looked for
_REACH = 3  # pixels from a patch's middle to its edge
_COARSEST = 24  # pixels of the longer side: there a patch is as large as what is missing
_ROUNDS, _LAST = 6, 3  # of search and mean at each size, and at the largest
_TRIES = 4  # rings of random search
_AT_ONCE = 1024  # patches that are compared at once: they stay in the processor's cache
_FEWEST = 30  # patches to learn from; with fewer the hole is filled smoothly
_TRUST = 1.35  # by how much less a patch counts for each pixel farther from what is known
_HOME = 0.6  # how much likelier a patch has to be, grey levels squared, for each pixel that it comes from farther
_SEED = 5  # the search's: the same picture gives the same ground
_PATCH = np.ones((2 * _REACH + 1,) * 2, np.uint8)

# Fills the hole of a picture: see `complete`.
Fill = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass
class _Level:
    """One size. picture: (h, w, 3) float32, filled or not. hole: (h, w) bool, what is filled. unknown: (h, w) bool,
    that and what is barred.
    """

    picture: np.ndarray
    hole: np.ndarray
    unknown: np.ndarray

    @classmethod
    def of(cls, picture: np.ndarray, hole: np.ndarray, unknown: np.ndarray, size: tuple[int, int]) -> _Level:
        """size: (width, height)."""
        usable = (~unknown).astype(np.float32)
        share = cv2.resize(usable, size, interpolation=cv2.INTER_AREA)
        colours = cv2.resize(picture * usable[..., None], size, interpolation=cv2.INTER_AREA)
        small = colours / np.maximum(share, 1e-3)[..., None]
        missing = share < 0.5
        touched = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
        return cls(small, missing & touched, missing)

    def sources(self) -> np.ndarray:
        """(h, w) bool: middles of patches that are wholly known."""
        taken = np.pad(self.unknown.astype(np.uint8), _REACH, constant_values=1)
        return cv2.dilate(taken, _PATCH)[_REACH:-_REACH, _REACH:-_REACH] == 0


def complete(picture: np.ndarray, hole: np.ndarray, barred: np.ndarray) -> np.ndarray:
    """Fill the hole of a picture with what the rest of it may go on as.

    picture: (H, W, 3) uint8. hole: (H, W) bool, what is filled. barred: (H, W) bool, what is neither filled nor learnt
    from. Returns (H, W, 3) uint8, the picture outside the hole.
    """
    h, w = hole.shape
    unknown = hole | barred
    shrink = min(1.0, SIDE / max(h, w))
    sizes = [(max(8, round(w * shrink)), max(8, round(h * shrink)))]
    while max(sizes[-1]) > 2 * _COARSEST:
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    drawn = np.random.default_rng(_SEED)
    filled, field = None, None
    for size in reversed(sizes):
        level = _Level.of(picture, hole, unknown, size)
        if level.sources().sum() < _FEWEST:
            if size == sizes[0]:
                return fill_smoothly(picture, hole, barred)
            continue
        if filled is None:
            start = _smooth_fill(level.picture, level.unknown)
        else:
            start = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR)
        level.picture[level.unknown] = start[level.unknown]
        field = _Field(level, drawn, field)
        for _ in range(_LAST if size == sizes[0] else _ROUNDS):
            field.improve()
            field.vote()
        filled = level.picture
    assert field is not None
    return _copied(picture, hole, field)


class _Field:
    """For each patch that touches the hole the likest one that is known: `source`, (h, w, 2), the row and column of its
    middle, by the patch's own middle.
    """

    def __init__(self, level: _Level, drawn: np.random.Generator, coarser: _Field | None):
        self.level, self.drawn = level, drawn
        h, w = level.hole.shape
        self.valid = level.sources()
        known = np.argwhere(self.valid)
        self.rows, self.columns = np.nonzero(cv2.dilate(level.hole.astype(np.uint8), _PATCH) > 0)
        self.source = known[drawn.integers(len(known), size=(h, w))]
        if coarser is not None:
            y, x = np.mgrid[:h, :w]
            rows, columns = coarser.source.shape[:2]
            at = np.minimum(y // 2, rows - 1), np.minimum(x // 2, columns - 1)
            finer = coarser.source[at] * 2 + np.stack([y % 2, x % 2], -1)
            inside = (finer < (h, w)).all(-1)
            finer = np.minimum(finer, (h - 1, w - 1))
            good = inside & self.valid[finer[..., 0], finer[..., 1]]
            self.source[good] = finer[good]
        # Patches beyond the picture or over what is barred are compared by the rest of them.
        self.counts = np.pad((~level.unknown | level.hole).astype(np.float32), _REACH)
        deep = cv2.distanceTransform(level.hole.astype(np.uint8), cv2.DIST_L2, 3)
        self.trust = _TRUST**-deep
        self.distance = np.full((h, w), np.inf, np.float32)

    def improve(self) -> None:
        """A round of search, after the picture has changed."""
        padded = np.pad(self.level.picture, ((_REACH,) * 2, (_REACH,) * 2, (0, 0)), mode="edge")
        at = self.rows, self.columns
        here = self._numbers(np.stack(at, 1))
        self.patches, weights = _patches(padded), _patches(self.counts[..., None])[here]
        weights /= np.maximum(weights.sum(1, keepdims=True), 1)
        self.wanted, self.weights = self.patches[here], np.repeat(weights, 3, 1)
        best = self.source[at]
        cost = self._cost(best, np.arange(len(best)))
        h, w = self.valid.shape
        for step in (4, 2, 1):
            for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
                self.source[at] = best
                y, x = np.clip(self.rows + dy, 0, h - 1), np.clip(self.columns + dx, 0, w - 1)
                offered = self.source[y, x] - np.stack([y - self.rows, x - self.columns], -1)
                best, cost = self._better(best, cost, offered)
        radius = float(max(h, w))
        for _ in range(_TRIES):
            away = np.rint(self.drawn.uniform(-radius, radius, best.shape)).astype(int)
            best, cost = self._better(best, cost, best + away)
            radius /= 3
        self.source[at], self.distance[at] = best, cost

    def _better(self, best: np.ndarray, cost: np.ndarray, offered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h, w = self.valid.shape
        inside = np.all((offered >= 0) & (offered < np.array([h, w])), axis=1)
        offered = np.where(inside[:, None], offered, 0)
        # Neighbours agree more and more: most of what they offer is known already.
        new = (offered != best).any(1)
        possible = np.flatnonzero(inside & new & self.valid[offered[:, 0], offered[:, 1]])
        there = self._cost(offered[possible], possible)
        won = there < cost[possible]
        best, cost = best.copy(), cost.copy()
        best[possible[won]], cost[possible[won]] = offered[possible[won]], there[won]
        return best, cost

    def _cost(self, source: np.ndarray, which: np.ndarray) -> np.ndarray:
        """How unlike the wanted patches those at (N, 2) are, and how far away."""
        numbers, unlike = self._numbers(source), np.empty(len(source), np.float32)
        for first in range(0, len(source), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            apart = self.patches[numbers[part]]
            apart -= self.wanted[which[part]]
            apart *= apart
            unlike[part] = np.einsum("nk,nk->n", apart, self.weights[which[part]])
        far = np.hypot(source[:, 0] - self.rows[which], source[:, 1] - self.columns[which])
        return (unlike + _HOME * far).astype(np.float32)

    def _numbers(self, places: np.ndarray) -> np.ndarray:
        """Rows and columns (N, 2) -> places in a row, (N,)."""
        return places[:, 0] * self.valid.shape[1] + places[:, 1]  # type: ignore[no-any-return]

    def vote(self) -> None:
        """The hole's pixels as the mean of what their patches propose."""
        h, w = self.valid.shape
        at = self.rows, self.columns
        cost = self.distance[at]
        spread = max(float(np.percentile(cost, 60)), 1.0)
        weight = np.exp(-cost / spread) * self.trust[at] + 1e-6
        high, wide, side = h + 2 * _REACH, w + 2 * _REACH, 2 * _REACH + 1
        reach = (np.arange(side)[:, None] * wide + np.arange(side)).ravel()
        places = ((self.rows * wide + self.columns)[:, None] + reach).ravel()
        found = self.patches[self._numbers(self.source[at])].reshape(len(weight), side * side, 3)
        proposed = [(weight[:, None] * found[..., k]).ravel() for k in range(3)]
        sums = [np.bincount(places, one, high * wide) for one in (*proposed, np.repeat(weight, side * side))]
        made = np.stack(sums, -1).reshape(high, wide, 4)[_REACH:-_REACH, _REACH:-_REACH]
        hole = self.level.hole
        self.level.picture[hole] = made[hole][:, :3] / made[hole][:, 3:]


def _patches(padded: np.ndarray) -> np.ndarray:
    """(h + 2 r, w + 2 r, C) -> (h w, (2 r + 1)^2 C), a patch a row."""
    found = np.lib.stride_tricks.sliding_window_view(padded, (2 * _REACH + 1,) * 2, (0, 1))
    return np.moveaxis(found, 2, -1).reshape(found.shape[0] * found.shape[1], -1)


def _copied(picture: np.ndarray, hole: np.ndarray, field: _Field) -> np.ndarray:
    """The hole filled at the picture's own size: pixels from where the patches of the nearest places lie."""
    y, x = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    part = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
    high, wide = (n / places for n, places in zip(hole.shape, field.valid.shape, strict=True))
    place = np.moveaxis(np.mgrid[: field.valid.shape[0], : field.valid.shape[1]], 0, -1)
    away = ((field.source - place)[..., ::-1] * [wide, high]).astype(np.float32)  # x and y, pixels
    rows, columns = np.arange(y[0], y[-1] + 1), np.arange(x[0], x[-1] + 1)
    here = np.stack(np.meshgrid(columns, rows), -1).astype(np.float32)
    made: np.ndarray = np.zeros((*here.shape[:2], 3), np.float32)
    total: np.ndarray = np.zeros(here.shape[:2], np.float32)
    for row, down in _beside(rows, high, field.valid.shape[0]):
        for column, across in _beside(columns, wide, field.valid.shape[1]):
            there = np.rint(here + away[row][:, column])
            # No map leads beyond the picture's edge: what is there is repeated.
            found = cv2.remap(picture, there, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]  # no second map
            share = down[:, None] * across + np.float32(1e-6)
            made += cv2.multiply(found, cv2.merge([share] * 3), dtype=cv2.CV_32F)
            total += share
    done = picture.copy()
    made /= total[..., None]
    done[part][hole[part]] = np.clip(np.rint(made[hole[part]]), 0, 255)
    return done


def _beside(pixels: np.ndarray, scale: float, places: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The places of a line, `scale` pixels each, before and after each pixel, (N,), and how much each counts, (N,)."""
    at = (pixels + 0.5) / scale - 0.5
    low = np.floor(at).astype(int)
    return [(np.clip(low + k, 0, places - 1), (1 - np.abs(at - low - k)).astype(np.float32)) for k in (0, 1)]


def _smooth_fill(picture: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32, what is missing filled from its edge inwards."""
    eight = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return cv2.inpaint(eight, missing.astype(np.uint8), 4, cv2.INPAINT_TELEA).astype(np.float32)


def fill_smoothly(picture: np.ndarray, hole: np.ndarray, barred: np.ndarray) -> np.ndarray:
    """As `complete`, but only softly: where there is too little to learn from, or another frame follows."""
    h, w = hole.shape
    shrink = min(1.0, SIDE / max(h, w))
    size = (max(2, round(w * shrink)), max(2, round(h * shrink)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    missing = cv2.resize((hole | barred).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    soft = cv2.GaussianBlur(_smooth_fill(small, missing), (0, 0), 2.0)
    large = cv2.resize(soft, (w, h), interpolation=cv2.INTER_CUBIC)
    done = picture.copy()
    done[hole] = np.clip(np.rint(large[hole]), 0, 255)
    return done
