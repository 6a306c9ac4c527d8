"""Landmark pictures: the points drawn as strokes and filled shapes, the networks' view of a pose and an expression.

Unlike the paper's rasters these draw the inner lips and the irises, fill the opened mouth and the eyes,
and keep sub-pixel positions, so that a lid or lip that moves by a quarter of a pixel changes the picture.
The style's name is stored in the checkpoint: training and use cannot differ.
"""

import cv2
import numpy as np

from fewshot_reenact.geometry.topology import (
    FOREHEAD,
    INNER_LIP,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    NOSE_BASE,
    NOSE_BRIDGE,
    OUTER_LIP,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)

FRACTION_BITS = 4  # of the coordinates handed to OpenCV
Colour = tuple[int, int, int]

# (points, closed, colour) in RGB. Neighbouring shapes differ in hue; left and right differ, so a mirrored face shows.
_STROKES: list[tuple[slice, bool, Colour]] = [
    (JAW, False, (255, 255, 255)),
    (FOREHEAD, False, (128, 128, 128)),
    (LEFT_BROW, False, (255, 0, 0)),
    (RIGHT_BROW, False, (0, 255, 0)),
    (NOSE_BRIDGE, False, (0, 0, 255)),
    (NOSE_BASE, False, (0, 0, 255)),
    (LEFT_EYE, True, (255, 0, 255)),
    (RIGHT_EYE, True, (0, 255, 255)),
    (OUTER_LIP, True, (255, 255, 0)),
    (INNER_LIP, True, (255, 128, 0)),
]
FILLS: list[tuple[slice, Colour]] = [(LEFT_EYE, (96, 0, 96)), (RIGHT_EYE, (0, 96, 96)), (INNER_LIP, (128, 0, 0))]
IRISES = (LEFT_IRIS, RIGHT_IRIS)
STYLES = ("strokes", "filled")


def strokes(style: str) -> list[tuple[slice, bool, Colour]]:
    """What a style draws, in order: points, whether they close, colour."""
    return [one for one in _STROKES if style == "filled" or one[0] != FOREHEAD]


def iris_radius(size: int) -> int:
    """Pixels, in a picture of that side."""
    return max(1, round(size / 64))


def limit_points(points: np.ndarray, size: int) -> np.ndarray:
    """Far outside there is nothing to see, and OpenCV's fixed-point coordinates would overflow."""
    return np.clip(points, -4 * size, 5 * size)


def raster(points: np.ndarray, size: int, style: str = "filled", thickness: int = 1) -> np.ndarray:
    """Draw one face on black.

    points: (83, 2) in pixels of the raster. size: its side. style: "filled" (strokes, filled eyes and mouth, irises) or
    "strokes" (68 points, as the paper's). Returns (size, size, 3) uint8 RGB. Raises ValueError for an unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"raster style {style!r} is not one of {STYLES}")
    canvas = np.zeros((size, size, 3), np.uint8)
    fixed = np.round(limit_points(points, size) * (1 << FRACTION_BITS)).astype(np.int32)
    if style == "filled":
        for part, colour in FILLS:
            cv2.fillPoly(canvas, [fixed[part]], colour, cv2.LINE_AA, FRACTION_BITS)
        radius = iris_radius(size) << FRACTION_BITS
        for iris in IRISES:
            x, y = (int(v) for v in fixed[iris])
            cv2.circle(canvas, (x, y), radius, (255, 255, 255), -1, cv2.LINE_AA, FRACTION_BITS)
    for part, closed, colour in strokes(style):
        cv2.polylines(canvas, [fixed[part]], closed, colour, thickness, cv2.LINE_AA, FRACTION_BITS)
    return canvas
