"""The face's own frame: an upright square from brows to chin in which eyes and mouth always stand at the same place.

The textured generator works there: it sees every face at the same size and angle, so what it learns about
one mouth holds for all. A frame is a (2, 3) similarity matrix that takes frame pixels to picture pixels.
"""

import numpy as np

from fewshot_reenact.geometry.affine import upright_square
from fewshot_reenact.geometry.topology import LEFT_EYE, RIGHT_EYE

# Parts stand still in the frame: x0, y0, x1, y1 as shares of its side.
PARTS = {"mouth": (0.25, 0.4375, 0.75, 0.9375), "eyes": (0.125, 0.15, 0.875, 0.5)}
# Upper lip and corners: unlike the mouth's centre they hardly move when the jaw drops, so speech does not pump the
# frame.
MOUTH_ANCHOR = [48, 49, 50, 51, 52, 53, 54, 60, 61, 62, 63, 64]

SPAN, DOWN, EYES_SHARE, LEAST = 0.34, 0.95, 0.45, 1.0  # see geometry.affine.upright_square


def face_frame(points: np.ndarray, size: int) -> np.ndarray:
    """The frame of one face, or of each of several.

    points: (..., 83, 2) pixels of the picture. size: side of the frame in pixels.
    Returns (..., 2, 3) float64: frame pixels (x, y, 1) -> picture pixels (x, y).
    """
    points = np.asarray(points, np.float64)
    left, right, mouth = (points[..., part, :].mean(-2) for part in (LEFT_EYE, RIGHT_EYE, MOUTH_ANCHOR))
    return upright_square(left, right, mouth, size, span=SPAN, down=DOWN, eyes_share=EYES_SHARE, least=LEAST)


def part_box(part: str, side: int) -> tuple[int, int, int, int]:
    """A part's pixels of a face frame of that side: x0, y0, x1, y1, the last two exclusive."""
    x0, y0, x1, y1 = (round(share * side) for share in PARTS[part])
    return x0, y0, x1, y1
