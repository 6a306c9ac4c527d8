"""Charts of curves, drawn once and shown twice: as SVG for a page, as a picture for a file."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDE = 420  # pixels of a chart
_PLOT = 194  # of the height of what is within its axes
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 26, 26
_LEGEND = 14  # of each line of the legend
_COLOURS = ("#2f6fdf", "#e07b1a", "#2a9d57", "#c43d4b", "#8a5fd0", "#8c6d46", "#d45fa6", "#5f7480")
_GREY, _TEXT = "#8a8a8a", "#202020"
_MOST = 500  # points of a line: more than there are pixels
_LOG_FROM = 30.0  # the largest value over the smallest, from where on the axis is logarithmic
_FINE = 4  # times the size at which pictures are drawn before they are made small: smooth edges


@dataclass(frozen=True)
class Line:
    """Values over steps. label: what the legend says. steps, values: (N,) float64, finite; steps rise."""

    label: str
    steps: np.ndarray
    values: np.ndarray


@dataclass
class _Drawing:
    """What is drawn, in pixels from the top left."""

    high: int
    strokes: list[tuple[np.ndarray, str, float]] = field(default_factory=list)
    texts: list[tuple[float, float, str, str, str]] = field(default_factory=list)
    dots: list[tuple[float, float, str]] = field(default_factory=list)


def chart_svg(title: str, lines: Sequence[Line]) -> str:
    """A chart as an SVG element. Text and axes take the page's colour."""
    drawing = _drawn(title, lines)
    parts = [f'<svg viewBox="0 0 {WIDE} {drawing.high}" role="img" aria-label="{html.escape(title)}">']
    for points, colour, width in drawing.strokes:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y, colour in drawing.dots]
    for x, y, text, anchor, colour in drawing.texts:
        fill = "currentColor" if colour == _TEXT else colour
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}"'
        parts.append(f'<text {place} font-size="11">{html.escape(text)}</text>')
    return "".join([*parts, "</svg>"])


def chart_picture(title: str, lines: Sequence[Line]) -> np.ndarray:
    """A chart as a picture, (H, WIDE, 3) uint8 RGB on white; H grows with the number of lines."""
    drawing = _drawn(title, lines)
    canvas = np.full((drawing.high * _FINE, WIDE * _FINE, 3), 255, np.uint8)
    for points, colour, width in drawing.strokes:
        whole = np.round(points * _FINE).astype(np.int32)
        cv2.polylines(canvas, [whole], False, _rgb(colour), max(1, round(width * _FINE)))
    for x, y, colour in drawing.dots:
        cv2.circle(canvas, (round(x * _FINE), round(y * _FINE)), 3 * _FINE, _rgb(colour), -1)
    picture = cv2.resize(canvas, (WIDE, drawing.high), interpolation=cv2.INTER_AREA)
    image = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for x, y, text, anchor, colour in drawing.texts:
        pen.text((x, y), text, _rgb(colour), font, anchors[anchor])
    return np.array(image)


def _drawn(title: str, lines: Sequence[Line]) -> _Drawing:
    top = _TOP + _LEGEND * (len(lines) - 1)
    drawing = _Drawing(top + _PLOT + _BOTTOM)
    thin = [_thinned(line) for line in lines]
    steps, values = (np.concatenate([getattr(one, name) for one in thin]) for name in ("steps", "values"))
    log = bool(values.min() > 0 and values.max() / values.min() >= _LOG_FROM)
    low, high = _span(np.log10(values) if log else values)
    first, last = float(steps.min()), float(steps.max())
    right, bottom = WIDE - _RIGHT, top + _PLOT

    def across(x: np.ndarray) -> np.ndarray:
        return _LEFT + (right - _LEFT) * (x - first) / (last - first or 1.0)

    def down(y: np.ndarray) -> np.ndarray:
        return bottom - _PLOT * ((np.log10(y) if log else y) - low) / (high - low)

    drawing.texts.append((8, 16, title + (" (logarithmic)" if log else ""), "start", _TEXT))
    for tick in _log_ticks(low, high) if log else _ticks(low, high, 4):
        y = float(down(np.array(tick)))
        drawing.strokes.append((np.array([[_LEFT, y], [right, y]]), "#8a8a8a55", 0.75))
        drawing.texts.append((_LEFT - 6, y + 4, f"{tick:.6g}", "end", _GREY))
    for tick in _ticks(first, last, 4) if last > first else [first]:
        drawing.texts.append((float(across(np.array(tick))), drawing.high - 9, f"{tick:g}", "middle", _GREY))
    drawing.strokes.append((np.array([[_LEFT, top], [_LEFT, bottom], [right, bottom]]), _GREY, 1.0))
    for number, line in enumerate(thin):
        colour = _COLOURS[number % len(_COLOURS)]
        points = np.stack([across(line.steps), down(line.values)], 1)
        if len(points) > 1:
            drawing.strokes.append((points, colour, 1.6))
        if len(points) < 12:  # figures on what is held out are few
            drawing.dots += [(float(x), float(y), colour) for x, y in points]
        shown = f"{line.label}: {line.values[-1]:.4g}" if line.label else f"{line.values[-1]:.4g}"
        drawing.texts.append((right, 16 + _LEGEND * number, shown, "end", colour))
    return drawing


def _thinned(line: Line) -> Line:
    """At most _MOST points, each the mean of neighbours."""
    groups = np.array_split(np.arange(len(line.steps)), min(len(line.steps), _MOST))
    return Line(line.label, *(np.array([part[at].mean() for at in groups]) for part in (line.steps, line.values)))


def _span(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value with a margin; never empty."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-6)
    return low - margin, high + margin


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers between low and high, about so many."""
    rough = (high - low) / count
    unit = 10 ** math.floor(math.log10(rough))
    step = next((unit * factor for factor in (1, 2, 2.5, 5) if unit * factor >= rough * 0.999), unit * 10)
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [float(f"{number * step:.12g}") for number in numbers]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten within, or every so many powers where they are many."""
    first, last = math.floor(low), math.ceil(high)
    every = math.ceil((last - first) / 6)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [tick for tick in ticks if tick and low <= math.log10(tick) <= high]


def _rgb(colour: str) -> tuple[int, int, int]:
    """#rrggbb, or #rrggbbaa on white."""
    red, green, blue, *alpha = bytes.fromhex(colour[1:])
    share = alpha[0] / 255 if alpha else 1.0
    mixed = [round(255 + (part - 255) * share) for part in (red, green, blue)]
    return mixed[0], mixed[1], mixed[2]
