"""The face's own frame: an upright square from brows to chin in which eyes and mouth always stand at the same place.

The textured generator works there (DESIGN 4): it sees every face at the same size and angle, so what it learns about
one mouth holds for all. A frame is a (2, 3) similarity matrix that takes frame pixels to picture pixels.
"""

import numpy as np

from fewshot_reenact.geometry.align import apply as transform
from fewshot_reenact.geometry.align import inverse as invert
from fewshot_reenact.geometry.topology import LEFT_EYE, RIGHT_EYE

__all__ = ["chain", "face_frame", "invert", "transform"]

# Upper lip and corners: unlike the mouth's centre they hardly move when the jaw drops, so speech does not pump the
# frame.
_MOUTH_ANCHOR = [48, 49, 50, 51, 52, 53, 54, 60, 61, 62, 63, 64]
_EYES_SHARE = 0.45  # the frame's anchor: 0.45 eyes + 0.55 mouth
_PLACE = (0.50, 0.50)  # where the anchor stands in the square
_SPAN = 0.34  # the larger of eye distance and 0.95 eyes-to-mouth distance, as a share of the side


def face_frame(points: np.ndarray, size: int) -> np.ndarray:
    """The frame of one face.

    points: (83, 2) pixels of the picture. size: side of the frame in pixels.
    Returns (2, 3) float64: frame pixels (x, y, 1) -> picture pixels (x, y).
    """
    points = np.asarray(points, np.float64)
    left, right = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)
    eyes, mouth = (left + right) / 2, points[_MOUTH_ANCHOR].mean(0)
    across, down = right - left, mouth - eyes
    # Turned heads shorten `across`, bowed heads shorten `down`: the longer of the two steers the angle.
    axis = across + np.array([down[1], -down[0]])
    length = float(np.hypot(*axis))
    axis = axis / length if length > 1e-6 else np.array([1.0, 0.0])  # points in one place: upright
    span = max(float(np.hypot(*across)), 0.95 * float(np.hypot(*down)), 1.0)
    scale = span / (_SPAN * size)  # picture pixels per frame pixel
    linear = scale * np.array([[axis[0], -axis[1]], [axis[1], axis[0]]])
    anchor = _EYES_SHARE * eyes + (1 - _EYES_SHARE) * mouth
    place = np.array(_PLACE) * size - 0.5  # pixel centres are at integers
    return np.concatenate([linear, (anchor - linear @ place)[:, None]], axis=1)


def chain(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The (2, 3) affine matrix that does `first`, then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], 1)
