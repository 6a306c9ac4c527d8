"""Upright square crops about a face, from three points: both eyes and the mouth."""

import cv2
import numpy as np

from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE

CROP = 128  # side of the crop that the point network sees, pixels
_SPAN = (
    0.27  # the larger of eye distance and 0.9 eyes-to-mouth distance, as a share of the side: chin and hairline fit in
)
_PLACE = 0.5
_EYES_SHARE = 0.5


def anchors(points: np.ndarray) -> np.ndarray:
    """Left eye, right eye and mouth, their points' means. (..., 83, 2) -> (..., 3, 2)."""
    return np.stack([points[..., part, :].mean(-2) for part in (LEFT_EYE, RIGHT_EYE, MOUTH)], -2)


def crop_matrix(three: np.ndarray, size: int = CROP) -> np.ndarray:
    """The (2, 3) similarity from crop to picture pixels. three: (3, 2), left eye, right eye, mouth, in pixels."""
    left, right, mouth = np.asarray(three, np.float64)
    eyes = (left + right) / 2
    across, down = right - left, mouth - eyes
    # Turned heads shorten one, bowed heads the other: the longer steers the angle.
    axis = across + np.array([down[1], -down[0]])
    axis /= max(float(np.hypot(*axis)), 1e-6)
    span = max(float(np.hypot(*across)), 0.9 * float(np.hypot(*down)), 2.0)
    scale = span / (_SPAN * size)
    linear = scale * np.array([[axis[0], -axis[1]], [axis[1], axis[0]]])
    anchor = _EYES_SHARE * eyes + (1 - _EYES_SHARE) * mouth
    place = np.full(2, _PLACE * size - 0.5)
    return np.concatenate([linear, (anchor - linear @ place)[:, None]], 1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A (2, 3) affine matrix on (..., 2) points."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a (2, 3) affine matrix, (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], 1)


def cut(picture: np.ndarray, matrix: np.ndarray, size: int = CROP) -> np.ndarray:
    """The crop, (size, size, 3) uint8; beyond the picture its border goes on. Any matrix and any picture will do."""
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    # Only the part that the crop covers is handed on: OpenCV refuses to warp pictures wider than 32767 pixels.
    corners = apply(matrix, np.array([[0, 0], [size, 0], [0, size], [size, size]], float))
    high = np.array(picture.shape[1::-1])
    x0, y0 = np.clip(np.floor(corners.min(0)) - 2, 0, high - 1).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(0)) + 3, 1, high).astype(int)
    part = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    shift = matrix[:, 2] - [x0, y0]
    linear = matrix[:, :2]
    if shrink > 2:  # reduced by averaging first, or fine patterns alias
        h, w = (max(1, round(side / shrink)) for side in part.shape[:2])
        scale = np.array([w / part.shape[1], h / part.shape[0]])
        part = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA)
        linear, shift = linear * scale[:, None], (shift + 0.5) * scale - 0.5
    matrix = np.concatenate([linear, shift[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
