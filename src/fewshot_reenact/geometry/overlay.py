"""Draws points over a picture, for people to look at (`raster` draws them for the networks)."""

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
    eye_distance,
)

_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV
Colour = tuple[int, int, int]
_LINES: list[tuple[slice, bool, Colour]] = [
    (JAW, False, (120, 220, 255)),
    (FOREHEAD, False, (90, 150, 190)),
    (LEFT_BROW, False, (255, 200, 80)),
    (RIGHT_BROW, False, (255, 200, 80)),
    (NOSE_BRIDGE, False, (150, 255, 150)),
    (NOSE_BASE, False, (150, 255, 150)),
    (LEFT_EYE, True, (255, 255, 255)),
    (RIGHT_EYE, True, (255, 255, 255)),
    (OUTER_LIP, True, (255, 120, 160)),
    (INNER_LIP, True, (255, 60, 90)),
]
_DOT: Colour = (255, 255, 0)
_IRIS: Colour = (80, 160, 255)


def draw_points(picture: np.ndarray, points: np.ndarray, found: bool = True) -> np.ndarray:
    """A copy of the picture with the 83 points and the lines between them.

    picture: (H, W, 3) uint8 RGB. points: (83, 2) pixels; nothing is drawn if they are NaN. found: False draws in grey,
    for points that are held or eased over a frame without a face. Line width follows the size of the face.
    """
    canvas = np.array(picture, np.uint8, order="C")
    if np.isnan(points).any():
        return canvas
    # Points far outside would overflow OpenCV's fixed-point coordinates, and there is nothing to see.
    reach = max(canvas.shape[:2])
    fixed = np.round(np.clip(points, -4 * reach, 5 * reach) * (1 << _SHIFT)).astype(np.int32)
    size = min(float(eye_distance(points)), reach)  # OpenCV refuses lines hundreds of pixels wide
    width = max(1, round(size / 110))
    for part, closed, colour in _LINES:
        shade = colour if found else (128, 128, 128)
        cv2.polylines(canvas, [fixed[part, None]], closed, shade, width, cv2.LINE_AA, _SHIFT)
    radius = round(max(1.0, size / 90) * (1 << _SHIFT))
    for index, centre in enumerate(fixed.tolist()):
        iris = index in (LEFT_IRIS, RIGHT_IRIS)
        shade = (_IRIS if iris else _DOT) if found else (128, 128, 128)
        cv2.circle(canvas, centre, radius * (2 if iris else 1), shade, -1, cv2.LINE_AA, _SHIFT)
    return canvas
