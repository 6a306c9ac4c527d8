"""Upright square crops about a face, from three points: both eyes and the mouth."""

import cv2
import numpy as np

from fewshot_reenact.landmarks.topology import LEFT_EYE, MOUTH, RIGHT_EYE

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
    """The (2, 3) similarity from crop pixels to picture pixels. three: (3, 2), left eye, right eye, mouth, in pixels."""
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
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], 1)


def cut(picture: np.ndarray, matrix: np.ndarray, size: int = CROP) -> np.ndarray:
    """The crop, (size, size, 3) uint8. Faces much larger than the crop are reduced by averaging, or fine patterns alias."""
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink > 2:
        corners = apply(matrix, np.array([[0, 0], [size, 0], [0, size], [size, size]], float))
        x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int) - 2, 0)
        x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int) + 3, [picture.shape[1], picture.shape[0]])
        if x1 - x0 > 2 and y1 - y0 > 2:
            part = picture[y0:y1, x0:x1]
            w, h = max(1, round((x1 - x0) / shrink)), max(1, round((y1 - y0) / shrink))
            picture = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA)
            scale = np.array([w / (x1 - x0), h / (y1 - y0)])
            shift = (matrix[:, 2] - [x0, y0] + 0.5) * scale - 0.5
            matrix = np.concatenate([matrix[:, :2] * scale[:, None], shift[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
