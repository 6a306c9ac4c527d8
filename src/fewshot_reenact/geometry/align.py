"""Upright square crops about a face, from three points: both eyes and the mouth."""

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import transform, upright_square
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE

CROP = 128  # side of the crop that the point network sees, pixels


def anchors(points: np.ndarray) -> np.ndarray:
    """Left eye, right eye and mouth, their points' means. (..., 83, 2) -> (..., 3, 2)."""
    return np.stack([points[..., part, :].mean(-2) for part in (LEFT_EYE, RIGHT_EYE, MOUTH)], -2)


def crop_matrix(three: np.ndarray, size: int = CROP) -> np.ndarray:
    """The (2, 3) similarity from crop to picture pixels. three: (3, 2), left eye, right eye, mouth, in pixels."""
    # Chin and hairline fit in.
    left, right, mouth = np.asarray(three, np.float64)
    return upright_square(left, right, mouth, size, span=0.27, down=0.9, eyes_share=0.5, least=2.0)


def cut(picture: np.ndarray, matrix: np.ndarray, size: int = CROP) -> np.ndarray:
    """The crop, (size, size, 3) uint8; beyond the picture its border goes on. Any matrix and any picture will do."""
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    # Only the part that the crop covers is handed on: OpenCV refuses to warp pictures wider than 32767 pixels.
    corners = transform(matrix, np.array([[0, 0], [size, 0], [0, size], [size, size]], float))
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
