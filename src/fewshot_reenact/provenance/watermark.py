"""An invisible mark in every frame: 64 bits in luma that outlast re-encoding, scaling, cropping and mirroring.

The mark is one fixed pseudo-random pattern, added to all frames alike, so that the mean over time collects it and
H.264 codes it once and then repeats it. It is a tile of 64 x 64 cells, repeated over the frame. A cell is a 96th of the
frame's side (the square root of its area); a 64th where the side is below 400 pixels, because smaller cells would not
survive compression there. As cells scale with the frame, a scaled copy is found like the original; cropping makes cells
larger relative to the frame, and the detector tries a range of sizes. A quarter of the cells, chosen by a key, holds
signs known in advance, by which size, position and mirroring are found. The others repeat the coded payload (module
`payload`) with signs from the key.

False alarms. The detector takes from the picture, without the key, a number x_i for every cell. With a payload's
signs k_i = -1 or 1 the measure is z = sum(k_i x_i) / sqrt(sum(x_i^2)). For a picture made without knowledge of the key
the k_i are independent coin throws, and Hoeffding's inequality gives P(z >= t) <= exp(-t^2 / 2), whatever the picture
is. Fewer than 2^40 geometries can be looked at (128 x 128 positions, fewer than 2^7 sizes, mirrored or not, fewer than
2^18 refinements about each) and there are 2^64 payloads: P(false alarm) <= 2^104 exp(-t^2 / 2), below 1e-6 from
t = 13.12 on. The payload's check of 8 bits, of which this makes no use, guards against a wrong payload where a mark is.

The key is public, as all of this tool is, unless one of the user's own is given: the mark tells honest people what they
see. Who knows the key can remove or forge it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.provenance.payload import CODED_BITS, PAYLOAD_BITS, decode, encode

Floats = NDArray[np.float32]

_TILE = 64  # cells
PUBLIC_KEY = b"fewshot-reenact watermark 1"
_SYNC_CELLS = _TILE * _TILE // 4

_SMALL_SIDE = 400  # pixels; frames below it have larger cells
_CELLS, _CELLS_SMALL = 96, 64  # along the square root of the frame's area
# Grey levels, root mean square; with the rounding 42.02 dB. The same everywhere, because encoders keep the mark best on
# still, even ground, but for even, light ground, where it is seen most easily and loses up to this share; less of it in
# small frames, which have less to lose.
_STRENGTH = 2.0
_SPARED, _SPARED_SMALL = 0.45, 0.3
_LIGHT = (120, 190)  # grey levels from which, and at which wholly, ground is light
_EVEN = (0.5, 2.0)  # grey levels of fine detail, root mean square, up to which ground is wholly, and at all, even

_SAMPLES = 4  # a cell, in the picture that is searched; sizes are relative to a cell of so many samples
_SIZES = np.exp(np.concatenate([np.arange(-0.12, 0.19, 0.01), np.arange(0.30, 0.60, 0.01)]))
_CANDIDATES = 5
_HYPOTHESES_LOG2 = 40 + PAYLOAD_BITS
_FALSE_ALARM = 1e-6


class Watermarker:
    """Stamps one payload (64 bits) into frames, under a key. Raises ValueError for a payload of more bits."""

    def __init__(self, payload: int, key: bytes = PUBLIC_KEY) -> None:
        self._signs = _signs(payload, key).astype(np.float32)
        self._shape: tuple[int, int] | None = None
        self._pattern = np.zeros((0, 0), np.float32)
        self._spared = 0.0
        self._small = (0, 0)

    def stamp(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 RGB with the mark, as a new picture; at least 42 dB from the given one.

        All three colours change by the same, so chroma stays. The mark is weaker on light, even ground.
        """
        height, width = picture.shape[:2]
        if self._shape != (height, width):
            self._prepare(height, width)
        grey = cv2.cvtColor(cv2.resize(picture, self._small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        ground = cv2.blur(grey.astype(np.float32), (5, 5))
        detail = grey - cv2.blur(grey.astype(np.float32), (3, 3))
        spread = np.sqrt(cv2.blur(detail * detail, (5, 5)))
        light = np.clip((ground - _LIGHT[0]) / (_LIGHT[1] - _LIGHT[0]), 0, 1)
        even = np.clip((_EVEN[1] - spread) / (_EVEN[1] - _EVEN[0]), 0, 1)
        gain = (1 - self._spared * light * even).astype(np.float32)
        delta = cv2.multiply(self._pattern, cv2.resize(gain, (width, height)))
        rounded = cv2.add(delta, (0.0,), dtype=cv2.CV_16S)  # type: ignore[call-overload]  # a scalar; faster than rint
        stamped = cv2.add(picture, cv2.merge([rounded, rounded, rounded]), dtype=cv2.CV_8U)
        return np.asarray(stamped, np.uint8)

    def _prepare(self, height: int, width: int) -> None:
        side = math.sqrt(height * width)
        cells, self._spared = (_CELLS, _SPARED) if side >= _SMALL_SIDE else (_CELLS_SMALL, _SPARED_SMALL)
        pitch = side / cells
        x = (((np.arange(width) + 0.5) / pitch - 0.5) % _TILE).astype(np.float32)
        y = (((np.arange(height) + 0.5) / pitch - 0.5) % _TILE).astype(np.float32)
        columns, rows = np.meshgrid(x, y)
        pattern = cv2.remap(self._signs, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        self._pattern = np.asarray(pattern * (_STRENGTH / np.sqrt((pattern * pattern).mean())), np.float32)
        self._small = (max(1, round(64 * width / side)), max(1, round(64 * height / side)))
        self._shape = (height, width)


@dataclass(frozen=True)
class Detection:
    """A mark that was found."""

    payload: int
    confidence: float
    """1 - an upper bound of the chance that a picture without a mark looks like this; at least 1 - 1e-6."""
    frames: int
    """How many pictures went into it."""
    mirrored: bool
    key: bytes = PUBLIC_KEY
    """Under which it was stamped."""


def detect(
    pictures: Iterable[NDArray[np.uint8]], false_alarm: float = _FALSE_ALARM, keys: Sequence[bytes] = (PUBLIC_KEY,)
) -> Detection | None:
    """Looks for a mark in frames of one video, or in one picture, each (H, W, 3) uint8 RGB; None if none is found.

    false_alarm: the chance that may be taken, of finding one where there is none, whatever the number of keys.
    keys: those looked for, in this order.

    The pictures are averaged one by one, so memory does not grow with their number; those of another size than the
    first are scaled to it. None means that no mark was found, not that the pictures are real.
    """
    total: NDArray[np.float64] | None = None
    frames = 0
    for picture in pictures:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if total is None:
            total = np.zeros(grey.shape)
        elif grey.shape != total.shape:
            grey = cv2.resize(grey, total.shape[::-1], interpolation=cv2.INTER_AREA)
        cv2.accumulate(grey, total)
        frames += 1
    if total is None or min(total.shape) < 16 or max(total.shape) > 8 * min(total.shape):
        return None  # nothing that could hold a mark
    white = _whiten((total / frames).astype(np.float32))
    for key in keys:
        for candidate in _search(white, key):
            place = _refine(white, candidate, key)
            cells = _cells(white, place)
            payload = _read(cells, key)
            if payload is None:
                continue
            z = _likeness(cells, _signs(payload, key))
            if z >= _threshold(false_alarm / len(keys)):
                chance = math.exp(min(0.0, _HYPOTHESES_LOG2 * math.log(2) + math.log(len(keys)) - z * z / 2))
                return Detection(payload, 1 - chance, frames, place.mirrored, key)
    return None


def _threshold(false_alarm: float) -> float:
    return math.sqrt(2 * (_HYPOTHESES_LOG2 * math.log(2) - math.log(false_alarm)))


@lru_cache(maxsize=4)
def _layout(key: bytes) -> tuple[NDArray[np.int8], NDArray[np.intp]]:
    """Per cell (TILE, TILE): the key's sign, and the coded bit it carries; -1 for signs known in advance.

    Drawn from a hash, because the streams of NumPy's generators may change from version to version.
    """
    count = _TILE * _TILE
    stream = hashlib.shake_256(key).digest(9 * count)
    order = np.argsort(np.frombuffer(stream[: 8 * count], "<u8"), kind="stable")
    signs = (np.frombuffer(stream[8 * count :], np.uint8) & 1).astype(np.int8) * 2 - 1
    bits = np.full(count, -1, np.intp)
    bits[order[_SYNC_CELLS:]] = np.arange(count - _SYNC_CELLS) % CODED_BITS
    return signs.reshape(_TILE, _TILE), bits.reshape(_TILE, _TILE)


def _signs(payload: int, key: bytes) -> NDArray[np.int8]:
    """(TILE, TILE) of -1 and 1: the pattern of a payload."""
    signs, bits = _layout(key)
    return signs * np.append(encode(payload), np.int8(1))[bits]


@dataclass(frozen=True)
class _Place:
    """Where the tile lies: a cell's width and height in units of `_SAMPLES` samples, the tile's origin in cells."""

    mirrored: bool
    width: float
    height: float
    x: float
    y: float


def _whiten(grey: Floats) -> Floats:
    """The picture scaled to `_SAMPLES` samples a cell, with what is the picture's own suppressed.

    What changes slowly is taken away and every place divided by its own variance: textured places say little about the
    mark, even ones much. Clipping bounds the say of single edges.
    """
    height, width = grey.shape
    factor = _SAMPLES * _CELLS / math.sqrt(height * width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    detail = scaled - cv2.GaussianBlur(scaled, (0, 0), 0.45 * _SAMPLES)
    fine = cv2.GaussianBlur(detail, (0, 0), 0.35 * _SAMPLES)
    spread = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 1.25 * _SAMPLES) + 0.05)
    return np.asarray(np.clip(fine / spread, -2.5, 2.5) / spread, np.float32)


def _fold(white: Floats, place: _Place, per_cell: int) -> Floats:
    """Samples of all repetitions of the tile added up, (per_cell * TILE, per_cell * TILE), the tile's origin first."""
    if place.mirrored:
        white = np.ascontiguousarray(white[:, ::-1])
    height, width = white.shape
    x, y = math.floor(place.x), math.floor(place.y)
    step_x, step_y = _SAMPLES * place.width, _SAMPLES * place.height
    # Begins one cell early, so that the cells cut by the picture's edge count; whole cells are rolled back at the end.
    matrix = np.array(
        [
            [step_x / per_cell, 0, step_x * (place.x - x - 0.5) - 0.5],
            [0, step_y / per_cell, step_y * (place.y - y - 0.5) - 0.5],
        ]
    )
    size = (math.ceil((width / step_x + 1) * per_cell), math.ceil((height / step_y + 1) * per_cell))
    samples = cv2.warpAffine(white, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    side = per_cell * _TILE
    samples = np.pad(samples, ((0, -size[1] % side), (0, -size[0] % side)))
    tile = samples.reshape(-1, side, samples.shape[1] // side, side).sum((0, 2))
    return np.roll(tile, (-(y + 1) * per_cell, -(x + 1) * per_cell), (0, 1))


def _cells(white: Floats, place: _Place) -> Floats:
    return _fold(white, place, 1)


def _search(white: Floats, key: bytes) -> list[_Place]:
    """The places where the signs known in advance agree best, best first: all sizes, half-cell positions, mirrored."""
    signs, bits = _layout(key)
    known = np.conj(np.fft.rfft2(np.where(bits < 0, signs, 0)))
    found = []
    for mirrored in (False, True):
        for size in _SIZES:
            tile = _fold(white, _Place(mirrored, size, size, 0, 0), 2)
            phases = np.stack([tile[y::2, x::2] for y in (0, 1) for x in (0, 1)])
            energy = np.sqrt((phases**2).sum((1, 2)) + 1e-12)
            match = np.fft.irfft2(np.fft.rfft2(phases) * known, s=(_TILE, _TILE)) / energy[:, None, None]
            best = int(match.argmax())
            phase, y, x = np.unravel_index(best, match.shape)
            place = _Place(mirrored, size, size, x + (phase % 2) / 2, y + (phase // 2) / 2)
            found.append((float(match.flat[best]), place))
    found.sort(key=lambda pair: -pair[0])
    return [place for _, place in found[:_CANDIDATES]]


def _refine(white: Floats, place: _Place, key: bytes) -> _Place:
    """Climbs to a better place by small steps of size and position, by the signs known in advance."""
    signs, bits = _layout(key)
    known = bits < 0

    def rate(place: _Place) -> float:
        return _likeness(_cells(white, place)[known], signs[known])

    best = rate(place)
    for step in (1.0, 0.5, 0.25):
        for _ in range(3):
            before = best
            for wide, high, right, down in ((1, 1, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
                for way in (-step, step):
                    moved = _Place(
                        place.mirrored,
                        place.width * (1 + 0.005 * wide * way),
                        place.height * (1 + 0.005 * high * way),
                        place.x + 0.25 * right * way,
                        place.y + 0.25 * down * way,
                    )
                    rated = rate(moved)
                    if rated > best:
                        best, place = rated, moved
            if best == before:
                break
    return place


def _read(cells: Floats, key: bytes) -> int | None:
    signs, bits = _layout(key)
    data = bits >= 0
    return decode(np.bincount(bits[data], (cells * signs)[data], CODED_BITS).astype(np.float64))


def _likeness(cells: Floats, signs: NDArray[np.int8]) -> float:
    """z of the module's docstring."""
    return float((cells * signs).sum() / (np.linalg.norm(cells) + 1e-12))
