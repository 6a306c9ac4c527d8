"""Where in the moving box a person is seen in one pose: the rest is ground, neither warped nor blended.

Told from the few places of the flow's grid, never too little: what a pixel may show is looked for in all that the
places about it come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fewshot_reenact.geometry.smoothstep import smoothstep

_BLOCK = 8  # pixels a side, in which a person is or is not
_ABOUT = 3  # places a side of the grid that are looked at together: what is between two of them lies between theirs
# The same near a fold, of whose two sides pixels may be; what is no fold for head_flow, surely; places that are near.
_ABOUT_FOLD, _LEAP, _NEAR = 7, 1.25, 17
_ROOM = 4.0  # pixels beyond them: cubic interpolation looks at two
_BAND = 64  # pixels of a band's height
_FADE = 0.06  # the flow fades to none over this share of the box at sides that lie inside the picture


Pair = tuple[np.ndarray, np.ndarray]
Corners = tuple[Pair, Pair]
"""x and y of the first block, and of the last."""


@dataclass(frozen=True)
class Span:
    """A part of the box: rows and columns, pixels. solid: all of it is wholly the person."""

    rows: slice
    columns: slice
    solid: bool = False

    @property
    def part(self) -> tuple[slice, slice]:
        """As an index."""
        return self.rows, self.columns


class Spans:
    """person: (H, W) uint8, how much of each pixel of a picture is the person. box: x0, y0, x1, y1, the part of the
    picture that may move.
    """

    def __init__(self, person: np.ndarray, box: tuple[int, int, int, int]):
        self.box, (self.height, self.width) = box, person.shape
        self.shown, self.lacking = _Blocks(person > 0), _Blocks(person < 255)
        none = np.zeros((0, 0, 2), np.float32)
        self._known: tuple[tuple[int, ...], np.ndarray, np.ndarray] = (0, 0), none, none

    def of(
        self, offset: np.ndarray, covered: np.ndarray, face: tuple[int, int, int, int], away: float = 0.0
    ) -> list[Span]:
        """Where the person is seen, from top to bottom and from left to right; no two overlap.

        offset: (rows, columns, 2) over the box, its outer samples on the outer pixels, what a pixel comes from less its
        own place. covered: (rows, columns), less than 1 where the person shows nothing. face: x0, y0, x1, y1 of the
        picture, within which another flow counts, up to `away` pixels from this one: all of it belongs to the spans.
        """
        x0, y0, x1, y1 = self.box
        step = ((y1 - y0 - 1) / (offset.shape[0] - 1), (x1 - x0 - 1) / (offset.shape[1] - 1))
        low, high = self._sources(offset, step)
        corners = self._blocks(low, high)
        seen, lacks = self.shown.touched(corners), self.lacking.touched(corners)
        if covered.min() < 1:
            lacks |= cv2.dilate((covered < 1).astype(np.uint8), _square(3)) > 0
        if face[2] > face[0] and face[3] > face[1]:
            rows, columns = (
                slice(max(0, int((a - away - start) / s)), max(0, int((b + away - start) / s) + 2))
                for a, b, start, s in ((face[1], face[3], y0, step[0]), (face[0], face[2], x0, step[1]))
            )
            seen[rows, columns] = True
            near = self._blocks(low[rows, columns] - away, high[rows, columns] + away)
            lacks[rows, columns] |= self.lacking.touched(near)
        return self._bands(seen, seen & ~lacks, step)

    def _sources(self, offset: np.ndarray, step: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest x and y, (rows, columns, 2), that the pixels about each place come from."""
        shape = offset.shape[:2]
        if self._known[0] != shape:
            x0, y0, _, _ = self.box
            across, down = fades_of(self.box, (self.width, self.height), (shape[1], shape[0]))
            fade = cv2.merge([down[:, None] * across] * 2)
            own = np.meshgrid(x0 + np.arange(shape[1]) * step[1], y0 + np.arange(shape[0]) * step[0])
            self._known = shape, fade, cv2.merge([one.astype(np.float32) for one in own])
        _, fades, here = self._known
        places = np.ascontiguousarray(offset, np.float32) * fades + here
        low, high = cv2.erode(places, _square(_ABOUT)), cv2.dilate(places, _square(_ABOUT))
        folds = _leaps(offset, step)
        if folds is not None:
            cv2.copyTo(cv2.erode(places, _square(_ABOUT_FOLD)), folds, low)
            cv2.copyTo(cv2.dilate(places, _square(_ABOUT_FOLD)), folds, high)
        return low - np.float32(_ROOM), high + np.float32(_ROOM)

    def _blocks(self, low: np.ndarray, high: np.ndarray) -> Corners:
        """In which blocks corners (..., 2), pixels of the picture, lie, which goes on beyond its edges."""
        last = ((self.width - 1) // _BLOCK, (self.height - 1) // _BLOCK)
        found = [
            tuple(np.minimum(np.maximum(one[..., k] / _BLOCK, 0).astype(np.int32), last[k]) for k in (0, 1))
            for one in (low, high)
        ]
        return found[0], found[1]  # type: ignore[return-value]  # pairs

    def _bands(self, seen: np.ndarray, solid: np.ndarray, step: tuple[float, float]) -> list[Span]:
        h, w = self.box[3] - self.box[1], self.box[2] - self.box[0]
        count = max(1, round(h / _BAND))
        made: list[Span] = []
        for k in range(count):
            rows = slice(h * k // count, h * (k + 1) // count)
            first, last = int(rows.start / step[0]), int(np.ceil((rows.stop - 1) / step[0]))
            columns = np.flatnonzero(seen[first : last + 1].any(0))
            if not len(columns):
                continue
            a = max(0, int((columns[0] - 1) * step[1]))
            d = min(w, int((columns[-1] + 1) * step[1]) + 2)
            b, c = _longest(np.asarray(solid[first : last + 1].all(0)))
            b, c = int(np.ceil(b * step[1])), int(c * step[1])
            if c - b < _BAND:
                made.append(Span(rows, slice(a, d)))
                continue
            parts = (slice(a, b), False), (slice(b, c), True), (slice(c, d), False)
            made += [Span(rows, one, whole) for one, whole in parts if one.stop > one.start]
        return made


class _Blocks:
    """Which blocks of a picture hold any of the places marked, (H, W) bool."""

    def __init__(self, marked: np.ndarray):
        h, w = marked.shape
        padded = np.pad(marked, ((0, -h % _BLOCK), (0, -w % _BLOCK)))
        blocks = padded.reshape(padded.shape[0] // _BLOCK, _BLOCK, padded.shape[1] // _BLOCK, _BLOCK).any((1, 3))
        self.sums = cv2.integral(np.asarray(blocks, np.uint8))

    def touched(self, corners: Corners) -> np.ndarray:
        """Whether any lies between two blocks, both included."""
        (a, b), (c, d) = corners
        across, sums = self.sums.shape[1], self.sums.ravel()
        a, c = b * across + a, (d + 1) * across + c + 1
        apart = (d + 1 - b) * across
        return (sums.take(c) - sums.take(c - apart) - sums.take(a + apart) + sums.take(a)) > 0


def _square(side: int) -> np.ndarray:
    return np.ones((side, side), np.uint8)


def _leaps(offset: np.ndarray, step: tuple[float, float]) -> np.ndarray | None:
    """(rows, columns) uint8: the places about which an offset grows so much that the flow may fold; None without."""
    found = np.zeros(offset.shape[:2], np.uint8)
    found[:, 1:] |= offset[:, 1:, 0] - offset[:, :-1, 0] > _LEAP * step[1]
    found[1:] |= offset[1:, :, 1] - offset[:-1, :, 1] > _LEAP * step[1]
    return cv2.dilate(found, _square(_NEAR)) if found.any() else None


def _longest(marked: np.ndarray) -> tuple[int, int]:
    """The first and the last place of the longest run of marks in a line; 0, 0 without."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]])))
    if not len(edges):
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    k = int(np.argmax(ends - starts))
    return int(starts[k]), int(ends[k]) - 1


def fades_of(
    box: tuple[int, int, int, int], size: tuple[int, int], places: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """How much of the flow counts, along x and along y: 1, falling to 0 at those sides of the box that lie inside a
    picture of `size`. places: how many, its outer pixels among them, (columns, rows).
    """
    sides = []
    for low, high, limit, count in ((box[0], box[2], size[0], places[0]), (box[1], box[3], size[1], places[1])):
        n = high - low
        reach = max(1.0, _FADE * n)
        at = np.linspace(0, n - 1, count, dtype=np.float32)
        ramp = np.ones(count, np.float32)
        if low > 0:
            ramp = np.minimum(ramp, at / reach)
        if high < limit:
            ramp = np.minimum(ramp, (n - 1 - at) / reach)
        sides.append(smoothstep(ramp))
    return sides[0], sides[1]
