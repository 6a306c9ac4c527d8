"""Where a watermark's tile lies in a picture: by the signs that are known in advance, over sizes, places and turns.

What is searched, fields, has channels (H, W, 1) or (H, W, 3): what stands still, and, of a video, what goes with the
cosine and the sine of the changing part's course, whose phase is unknown. The scale is that of an expected size of
cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.provenance.mark_pattern import TILE, layout

Floats = NDArray[np.float32]

SAMPLES = 4  # a cell, in the picture that is searched; sizes are relative to a cell of so many samples
PHASES = 32
# Logarithms of sizes: smaller in copies with bars around them, larger in cropped ones.
_SIZES = np.arange(-0.30, 0.305, 0.01)
_SIZES_TURNED = np.arange(-0.12, 0.19, 0.02)
_TURNS = np.radians([-5, -3.75, -2.5, -1.25, 1.25, 2.5, 3.75, 5])
# Width to height of a copy that was stretched: 4:3 shown as 16:9 and 1:1 as 4:3, 1:1 as 16:9, and the other way.
_STRETCHED = (4 / 3, 16 / 9, 3 / 4, 9 / 16)
_CANDIDATES, _CANDIDATES_TURNED = 6, 4


@dataclass(frozen=True)
class Lattice:
    """Where the tile lies: a cell's width and height in units of `SAMPLES` samples, the tile's origin in cells, the
    turn in radians about the picture's centre; and the phase of the changing part's course, radians.
    """

    mirrored: bool
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0
    phase: float = 0.0


def cells_at(fields: Floats, place: Lattice) -> Floats:
    """(TILE, TILE): what is found in each cell, all of its repetitions added up, still and changing part together."""
    tile = _fold(fields, place, 1)
    return np.asarray(tile @ _mix(tile.shape[2], place.phase), np.float32)


def search(all_fields: Sequence[Floats], key: bytes, turned: bool) -> list[tuple[int, Lattice]]:
    """The places where the signs known in advance agree best, best first, each with the number of the fields that it is
    in. turned: turned and stretched pictures instead of upright ones in their own proportions.
    """
    found = [(*_best(one, place, key), number) for number, one in enumerate(all_fields) for place in _grid(turned)]
    found.sort(key=lambda one: -one[0])
    return [(number, place) for _, place, number in found[: _CANDIDATES_TURNED if turned else _CANDIDATES]]


def refine(fields: Floats, place: Lattice, key: bytes) -> Lattice:
    """Climbs to a better place by small steps of size, position and turn, by the signs known in advance."""
    signs, carries = layout(key)
    known = carries < 0

    def rate(place: Lattice) -> float:
        return likeness(cells_at(fields, place)[known], signs[known])

    place = with_phase(fields, place, key)
    best = rate(place)
    for step in (1.0, 0.5, 0.25):
        for _ in range(3):
            before = best
            for wide, high, right, down, round_ in _WAYS:
                for way in (-step, step):
                    moved = replace(
                        place,
                        width=place.width * math.exp(0.005 * wide * way),
                        height=place.height * math.exp(0.005 * high * way),
                        x=place.x + 0.25 * right * way,
                        y=place.y + 0.25 * down * way,
                        turn=place.turn + math.radians(0.6) * round_ * way,
                    )
                    rated = rate(moved)
                    if rated > best:
                        best, place = rated, moved
            if best == before:
                break
    return with_phase(fields, place, key)


_WAYS = ((1, 1, 0, 0, 0), (1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1))


def with_phase(fields: Floats, place: Lattice, key: bytes) -> Lattice:
    """The place with the phase, of `PHASES`, that fits the signs known in advance best."""
    signs, carries = layout(key)
    if fields.shape[2] == 1:
        return place
    tile = _fold(fields, place, 1)[carries < 0]
    _, cosine, sine = (tile * signs[carries < 0][:, None]).sum(0)
    part = 2 * math.pi / PHASES
    return replace(place, phase=round(math.atan2(sine, cosine) / part) * part)


def likeness(cells: Floats, signs: NDArray[np.int8]) -> float:
    """z of the docstring of `detector`."""
    return float((cells * signs).sum() / (np.linalg.norm(cells) + 1e-12))


def _mix(channels: int, phase: float) -> Floats:
    return np.array([1.0, math.cos(phase), math.sin(phase)][:channels], np.float32)


def _grid(turned: bool) -> Iterator[Lattice]:
    """Sizes, turns and stretches, mirrored and not."""
    for mirrored in (False, True):
        if not turned:
            yield from (Lattice(mirrored, size, size) for size in np.exp(_SIZES))
            continue
        for size in np.exp(_SIZES_TURNED):
            yield from (Lattice(mirrored, size, size, turn=turn) for turn in _TURNS)
            yield from (Lattice(mirrored, size * part**0.5, size / part**0.5) for part in _STRETCHED)


def _best(fields: Floats, place: Lattice, key: bytes) -> tuple[float, Lattice]:
    """The best position of the tile, to half a cell, and how well it agrees there."""
    tile = _fold(fields, place, 2)
    phases = np.stack([tile[y::2, x::2] for y in (0, 1) for x in (0, 1)]).transpose(0, 3, 1, 2)
    energy = np.sqrt((phases**2).sum((1, 2, 3)) + 1e-12)
    parts = np.fft.irfft2(np.fft.rfft2(phases) * _known(key), s=(TILE, TILE))
    match = parts[:, 0] if parts.shape[1] == 1 else parts[:, 0] + np.hypot(parts[:, 1], parts[:, 2])
    match /= energy[:, None, None]
    best = int(match.argmax())
    number, y, x = (int(one) for one in np.unravel_index(best, match.shape))
    return float(match.flat[best]), replace(place, x=x + (number % 2) / 2, y=y + (number // 2) / 2)


def _known(key: bytes) -> NDArray[np.complex128]:
    signs, carries = layout(key)
    return np.asarray(np.conj(np.fft.rfft2(np.where(carries < 0, signs, 0))))


def _fold(fields: Floats, place: Lattice, per_cell: int) -> Floats:
    """Samples of all repetitions of the tile added up, (per_cell * TILE, per_cell * TILE, channels), the tile's origin
    first.
    """
    if place.mirrored:
        fields = np.ascontiguousarray(fields[:, ::-1])
    height, width = fields.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    cosine, sine = math.cos(place.turn), math.sin(place.turn)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    step = SAMPLES * np.array([place.width, place.height])
    origin = np.array([place.x, place.y])
    # Cell c lies, before the turn, at step * (c + origin + 0.5) - 0.5. All cells that the picture touches are taken.
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]]) - centre
    cells = (corners @ turn + centre + 0.5) / step - origin - 0.5
    first, last = np.floor(cells.min(0) + 1e-6).astype(int), np.ceil(cells.max(0) - 1e-6).astype(int)
    size = (last - first + 1) * per_cell
    scale = turn * (step / per_cell)
    shift = turn @ (step * (first + origin + 0.5) - 0.5 - centre) + centre
    matrix = np.column_stack([scale, shift])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    samples = cv2.warpAffine(fields, matrix, (int(size[0]), int(size[1])), flags=flags).reshape(size[1], size[0], -1)
    side = per_cell * TILE
    samples = np.pad(samples, ((0, -size[1] % side), (0, -size[0] % side), (0, 0)))
    tile = samples.reshape(-1, side, samples.shape[1] // side, side, samples.shape[2]).sum((0, 2))
    return np.roll(tile, (int(first[1]) * per_cell, int(first[0]) * per_cell), (0, 1))
