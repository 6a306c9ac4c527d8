"""Looks for the watermark in pictures and in videos, with a bound on false alarms.

What stands still is found in the mean over time. What changes is found in the frames' agreement with the cosine and
the sine of its course (`mark_pattern`), from which the mean, and with it all of the picture that stands still, is taken
away. Both are weighed by place: where the picture varies much it says little about the mark.

False alarms. The detector takes from the picture, without the key, a number x_i for every cell. With a payload's
signs k_i = -1 or 1 the measure is z = sum(k_i x_i) / sqrt(sum(x_i^2)). For a picture made without knowledge of the key
the k_i are independent coin throws, and Hoeffding's inequality gives P(z >= t) <= exp(-t^2 / 2), whatever the picture
is. With b bits of payload and 2^g places that can be looked at P(false alarm) <= 2^(b + g) exp(-t^2 / 2). The chance
that may be taken is shared by four kinds of looks, b = 32 or 64, at the frame as a whole or anywhere:
- The frame as a whole, as a copy has it that was scaled but not cropped: two sizes of cells, mirrored or not, 32
  phases of the course: g = 7. From t = 9.2 on (32 bits) or 11.4 (64) the quarter of 1e-6 is kept.
- Anywhere: 2^14 positions, fewer than 2^7 sizes, 2^4 turns and stretches, mirrored or not, the phases, and fewer than
  2^30 refinements about each (85 widths, 85 heights, 43 places across, 43 down, 43 turns): g = 61. From t = 12.7 (32
  bits) or 14.3 (64).
The payload's check of 8 bits, of which this makes no use, guards against a wrong payload where a mark is.

Marks of the first version, which stand still everywhere and hold 64 bits, are found as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.provenance.mark_pattern import CELLS, CELLS_SMALL, PUBLIC_KEY, layout, pattern_signs, phase
from fewshot_reenact.provenance.mark_search import (
    SAMPLES,
    Floats,
    Lattice,
    cells_at,
    likeness,
    refine,
    search,
    with_phase,
)
from fewshot_reenact.provenance.payload import PAYLOAD_BITS, SHORT_BITS, coded_bits, decode

Picture = NDArray[np.uint8]

_FALSE_ALARM = 1e-6
_KINDS = 4
_PLACES_LOG2 = {True: 7, False: 61}  # of the frame as a whole, of anywhere
_RATE = 25  # frames a second where no times are given
_CHANGES = 0.05  # how much of a frame the course has to vary over the frames, mean square


@dataclass(frozen=True)
class Detection:
    """A mark that was found."""

    payload: int
    bits: int
    """Of the payload: 64, or 32, the first half of it, in frames that were stamped small."""
    confidence: float
    """1 - an upper bound of the chance that a picture without a mark looks like this; at least 1 - 1e-6."""
    frames: int
    """How many pictures went into it."""
    mirrored: bool
    key: bytes = PUBLIC_KEY
    """Under which it was stamped."""

    @property
    def id(self) -> str:
        """The payload in hexadecimal, 16 digits or the first 8 of them."""
        return f"{self.payload:0{self.bits // 4}x}"


def detect(
    pictures: Iterable[Picture | tuple[Picture, float]],
    false_alarm: float = _FALSE_ALARM,
    keys: Sequence[bytes] = (PUBLIC_KEY,),
    turned: bool = False,
) -> Detection | None:
    """Looks for a mark in frames of one video, or in one picture, each (H, W, 3) uint8 RGB, or a pair of it and its
    time in seconds; None if none is found. Without times there are 25 frames a second.

    false_alarm: the chance that may be taken, of finding one where there is none, whatever the number of keys.
    keys: those looked for, in this order. turned: pictures turned by up to 5 degrees, or stretched, are looked for too,
    which takes a second or two.

    The pictures are averaged one by one, so memory does not grow with their number; those of another size than the
    first are scaled to it. None means that no mark was found, not that the pictures are real.
    """
    sums = _Sums()
    for number, one in enumerate(pictures):
        sums.add(*(one if isinstance(one, tuple) else (one, number / _RATE)))
    if not sums.frames or min(sums.total.shape) < 16 or max(sums.total.shape) > 8 * min(sums.total.shape):
        return None  # nothing that could hold a mark
    pictures_of_cells = [sums.fields(cells) for cells in (CELLS, CELLS_SMALL)]
    for key in keys:
        for fields, place, whole in _places(pictures_of_cells, key, turned):
            z, payload, bits = _read(cells_at(fields, place), key)
            chance = _chance(z, bits, whole, len(keys))
            if chance <= false_alarm:
                return Detection(payload, bits, 1 - chance, sums.frames, place.mirrored, key)
    return None


def _places(all_fields: Sequence[Floats], key: bytes, turned: bool) -> Iterator[tuple[Floats, Lattice, bool]]:
    """In what and where to look, likely places first, and whether it is the frame as a whole."""
    for fields in all_fields:
        for mirrored in (False, True):
            yield fields, with_phase(fields, Lattice(mirrored, 1.0, 1.0), key), True
    for turn in (False, True)[: 1 + turned]:
        for number, place in search(all_fields, key, turn):
            yield all_fields[number], refine(all_fields[number], place, key), False


def _chance(z: float, bits: int, whole: bool, keys: int) -> float:
    """A bound on the chance of such a z, for any of the kinds of looks and any of the keys, without a mark."""
    if z <= 0:
        return 1.0
    return math.exp(min(0.0, (bits + _PLACES_LOG2[whole]) * math.log(2) + math.log(_KINDS * keys) - z * z / 2))


def _read(cells: Floats, key: bytes) -> tuple[float, int, int]:
    """z, payload and its bits, of the length that fits better: the cells known in advance fit both. z is 0 for none."""
    best = (0.0, 0, PAYLOAD_BITS)
    for bits in (SHORT_BITS, PAYLOAD_BITS):
        signs, carries = layout(key, bits)
        data = carries >= 0
        soft = np.bincount(carries[data], (cells * signs)[data], coded_bits(bits)).astype(np.float64)
        payload = decode(soft, bits)
        if payload is not None:
            best = max(best, (likeness(cells, pattern_signs(payload, key, bits)), payload, bits))
    return best


@dataclass
class _Sums:
    """Sums over frames: of the picture's luma, and of it times the cosine and the sine of the course."""

    frames: int = 0
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    waves: list[NDArray[np.float64]] = field(default_factory=list)
    turns: list[tuple[float, float]] = field(default_factory=list)

    def add(self, picture: Picture, seconds: float) -> None:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if not self.frames:
            self.total, self.waves = np.zeros(grey.shape), [np.zeros(grey.shape), np.zeros(grey.shape)]
        elif grey.shape != self.total.shape:
            grey = cv2.resize(grey, self.total.shape[::-1], interpolation=cv2.INTER_AREA)
        turn = math.cos(phase(seconds)), math.sin(phase(seconds))
        cv2.accumulate(grey, self.total)
        for wave, part in zip(self.waves, turn, strict=True):
            cv2.scaleAdd(grey.astype(np.float64), part, wave, wave)
        self.turns.append(turn)
        self.frames += 1

    def fields(self, cells: int) -> Floats:
        """What is searched for a tile of which so many cells go along the side, (H, W, 1), or (H, W, 3) where the
        frames last long enough to tell what changes.
        """
        mean = self.total / self.frames
        still = _whiten([mean.astype(np.float32)], cells, _STILL)
        turns = np.array(self.turns)
        varies = float(((turns - turns.mean(0)) ** 2).sum()) / 2
        if varies < _CHANGES * self.frames:
            return np.ascontiguousarray(np.dstack(still))
        waves = [wave - mean * part for wave, part in zip(self.waves, turns.sum(0), strict=True)]
        return np.ascontiguousarray(
            np.dstack([*still, *_whiten([(one / varies).astype(np.float32) for one in waves], cells, _CHANGING)])
        )


@dataclass(frozen=True)
class _Filter:
    """smooth, reach: standard deviations in cells, of what is left as fine detail and of what is near. noise: variance
    that is taken to be there everywhere, squared grey levels.
    """

    smooth: float
    reach: float
    noise: float


# Without the picture beneath it what changes is best told from what encoders leave by its coarser parts.
_STILL, _CHANGING = _Filter(0.35, 1.25, 0.05), _Filter(0.5, 0.8, 0.1)


def _whiten(pictures: Sequence[Floats], cells: int, how: _Filter) -> list[Floats]:
    """The pictures scaled to `SAMPLES` samples a cell, with what is the picture's own suppressed.

    What changes slowly is taken away and every place divided by its own variance, which the pictures share: textured
    places say little about the mark, even ones much. Clipping bounds the say of single edges.
    """
    height, width = pictures[0].shape
    factor = SAMPLES * cells / math.sqrt(height * width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    fine = []
    for picture in pictures:
        scaled = cv2.resize(picture, size, interpolation=way)
        detail = scaled - cv2.GaussianBlur(scaled, (0, 0), 0.45 * SAMPLES)
        fine.append(cv2.GaussianBlur(detail, (0, 0), how.smooth * SAMPLES))
    power = np.mean([one * one for one in fine], 0)
    spread = np.sqrt(cv2.GaussianBlur(power, (0, 0), how.reach * SAMPLES) + how.noise)
    return [np.asarray(np.clip(one / spread, -2.5, 2.5) / spread, np.float32) for one in fine]
