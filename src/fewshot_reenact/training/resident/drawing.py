"""Landmark pictures of many faces at once, on any device: what geometry.raster draws one by one with OpenCV.

A stroke is walked as OpenCV's anti-aliased lines are: pixel by pixel along the longer of its two directions, with three
pixels across. So the work grows with the strokes' length and not with the picture. The profiles below are fits to
OpenCV's own output; a test says how far the pictures differ.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.raster import (
    FILLS,
    FRACTION_BITS,
    IRISES,
    STYLES,
    Colour,
    iris_radius,
    limit_points,
    strokes,
)

_PEAK, _STEEPER = 0.91, 0.1  # cover in a level line's middle; how much more there is of it on a diagonal
_ACROSS = (0.966, 0.465)  # cover falls off across a line as exp(-a d^2 - b d^4)
_END = 1.45  # and beyond its ends as 1 - ((1 - t) / 2)^p, t pixels inside
_DIAMOND = 3  # pixels of radius, below which OpenCV's circles are diamonds


@dataclass(frozen=True)
class _Lines:
    """What is drawn in one style. start, end: (E,) numbers of the points of each line. stroke: (E,), the stroke that it
    is part of. colours: of each stroke. fills: of each filled shape its stroke, its lines and its colour.
    """

    start: Tensor
    end: Tensor
    stroke: Tensor
    colours: list[Colour]
    fills: list[tuple[int, slice, Colour]]


@lru_cache(maxsize=8)
def _lines(style: str, device: torch.device) -> _Lines:
    start: list[int] = []
    end: list[int] = []
    stroke: list[int] = []
    where: dict[tuple[int, int], tuple[int, slice]] = {}
    drawn = strokes(style)
    for number, (part, closed, _) in enumerate(drawn):
        points = list(range(part.start, part.stop))
        after = points[1:] + points[:1] if closed else points[1:]
        where[part.start, part.stop] = number, slice(len(start), len(start) + len(after))
        start += points[: len(after)]
        end += after
        stroke += [number] * len(after)
    fills = [(*where[part.start, part.stop], colour) for part, colour in (FILLS if style == "filled" else [])]
    first, last, part_of = (torch.tensor(one, device=device) for one in (start, end, stroke))
    return _Lines(first, last, part_of, [colour for _, _, colour in drawn], fills)


def fixed_points(points: np.ndarray, size: int) -> np.ndarray:
    """Points (..., 83, 2) as they are drawn: kept near the picture and rounded to what OpenCV is told. float32."""
    unit = 1 << FRACTION_BITS
    return (np.round(limit_points(points, size) * unit) / unit).astype(np.float32)


def longest_line(points: np.ndarray, size: int, style: str) -> int:
    """The `reach` that `draw` needs for these points (..., 83, 2): pixels that the longest line walks."""
    lines = _lines(style, torch.device("cpu"))
    inside = np.clip(points, -1, size)
    span = np.abs(inside[..., lines.end.numpy(), :] - inside[..., lines.start.numpy(), :]).max(initial=0)
    return min(size, int(np.ceil(span)) + 2)


def draw(points: Tensor, size: int, style: str, reach: int | None = None) -> Tensor:
    """Draw faces on black.

    points: (R, 83, 2) in pixels of the pictures, from `fixed_points`. style: see geometry.raster. reach: pixels along a
    line, at most; None: any line. Returns (R, 3, size, size), whole numbers 0..255, float32. Raises ValueError for an
    unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"raster style {style!r} is not one of {STYLES}")
    lines, count = _lines(style, points.device), len(points)
    a, b = points[:, lines.start], points[:, lines.end]
    walked = _walk(a, b, size, reach or size)
    lenses = list(IRISES) if style == "filled" else []
    stroke = lines.stroke.view(1, -1, 1, 1).expand_as(walked[0])
    marks = [(stroke, *walked)]
    if lenses:
        discs = _discs(points[:, lenses], size)
        number = torch.arange(len(lenses), device=points.device).view(1, -1, 1, 1) + len(lines.colours)
        marks.append((number.expand_as(discs[0]), *discs))
    # What strokes, and the lines that meet in them, leave uncovered of each pixel is a product.
    free = points.new_ones(count, (len(lines.colours) + len(lenses)) * size * size)
    layer, pixel, cover = (torch.cat([mark[k].flatten(1) for mark in marks], 1) for k in range(3))
    free.scatter_reduce_(1, pixel + layer * (size * size), 1 - cover, "prod")
    free = free.view(count, -1, size, size)
    layers = [
        (torch.where(_inside(a[:, own], b[:, own], size), 0.0, free[:, stroke]), colour)
        for stroke, own, colour in lines.fills
    ]
    layers += [(free[:, len(lines.colours) + k], (255, 255, 255)) for k in range(len(lenses))]
    layers += [(free[:, k], colour) for k, colour in enumerate(lines.colours)]
    return _compose(layers).round_()


def _compose(layers: list[tuple[Tensor, Colour]]) -> Tensor:
    """Layers on black, the first at the bottom: what each leaves free (R, H, W), 0..1, and its colour. From the top
    down, so that each colour is touched once, by what is still seen of it. Returns (R, 3, H, W).
    """
    seen = torch.ones_like(layers[0][0])
    canvas = seen.new_zeros(len(seen), 3, *seen.shape[1:])
    for free, colour in reversed(layers):
        below = seen * free
        share = seen - below
        for channel, value in enumerate(colour):
            if value:
                canvas[:, channel].add_(share, alpha=value)
        seen = below
    return canvas


def _fall_off(away: Tensor) -> Tensor:
    """Cover at a distance across a line."""
    square = away.square()
    return torch.exp(-_ACROSS[0] * square - _ACROSS[1] * square.square())


def _walk(a: Tensor, b: Tensor, size: int, reach: int) -> tuple[Tensor, Tensor]:
    """The pixels that lines from a to b, (R, E, 2), touch, as numbers y * size + x, and how much they cover of them,
    0..1. Both (R, E, reach, 3).
    """
    apart = (b - a).abs()
    steep = (apart[..., 1] >= apart[..., 0])[..., None]
    long_a, short_a = torch.where(steep, a.flip(-1), a).unbind(-1)
    long_b, short_b = torch.where(steep, b.flip(-1), b).unbind(-1)
    slope = (short_b - short_a) / torch.where(long_b == long_a, 1.0, long_b - long_a)
    low, high = torch.minimum(long_a, long_b), torch.maximum(long_a, long_b)
    tilt = slope.abs()
    gain = _PEAK * (1 + _STEEPER * tilt.square() * (3 - 2 * tilt))
    along = low.floor().clamp(min=0)[..., None] + torch.arange(reach, device=a.device)  # (R, E, reach)
    middle = short_a[..., None] + slope[..., None] * (along - long_a[..., None])
    ends = _end(along - low[..., None]) * _end(high[..., None] - along) * gain[..., None]
    across = middle.round()[..., None] + torch.arange(-1, 2, device=a.device)  # (R, E, reach, 3)
    cover = _fall_off(across - middle[..., None]) * ends[..., None]
    shown = (across >= 0) & (across < size) & (along < size)[..., None]
    pixel = torch.where(steep[..., None], along[..., None] * size + across, across * size + along[..., None])
    return torch.where(shown, pixel, 0).long(), torch.where(shown, cover, 0.0)


def _end(inside: Tensor) -> Tensor:
    """Cover at that many pixels inside a line's end, along it."""
    return 1 - ((1 - inside) / 2).clamp(0, 1).pow(_END)


def _inside(a: Tensor, b: Tensor, size: int) -> Tensor:
    """Which pixels are inside the shapes with these edges, (R, E, 2) each -> (R, size, size) bool: even-odd rule."""
    row = torch.arange(size, device=a.device, dtype=a.dtype)
    (x0, y0), (x1, y1) = a[..., None].unbind(2), b[..., None].unbind(2)  # (R, E, 1)
    crossing = (y0 <= row) != (y1 <= row)
    x = x0 + (row - y0) * (x1 - x0) / torch.where(y1 == y0, 1.0, y1 - y0)
    column = torch.where(crossing, x.ceil().clamp(0, size), size).long()  # (R, E, size)
    turns = torch.zeros(len(a), size, size + 1, dtype=torch.int8, device=a.device)
    turns.scatter_add_(2, column.transpose(1, 2), torch.ones_like(column.transpose(1, 2), dtype=torch.int8))
    return turns[..., :size].cumsum(2, dtype=torch.int8).bitwise_and_(1).bool()


def _discs(centres: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Filled circles about (R, N, 2), as `_walk` gives lines: pixels and cover, both (R, N, h, w)."""
    radius = iris_radius(size)
    near = torch.arange(-radius - 2, radius + 3, device=centres.device)
    x, y = ((centres[..., k].round()[..., None] + near) for k in (0, 1))
    away_x, away_y = (x - centres[..., :1]).abs()[..., None, :], (y - centres[..., 1:]).abs()[..., None]
    beyond = (away_x + away_y if radius < _DIAMOND else torch.hypot(away_x, away_y)) - radius
    cover = torch.where(beyond <= 0, 1.0, _fall_off(beyond) * _PEAK * (1 + _STEEPER))
    shown = ((x >= 0) & (x < size))[..., None, :] & ((y >= 0) & (y < size))[..., None]
    pixel = y[..., None] * size + x[..., None, :]
    return torch.where(shown, pixel, 0).long(), torch.where(shown, cover, 0.0)
