"""Which part of a picture is animated, and square crops about a head."""

import cv2
import numpy as np

_ROOM = 0.55  # about the face's points, in face heights: hair and neck, and space for the picture to give way
_CROP_ROOM = 0.42


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Corners of the points' bounds and the face's height, from points (..., 83, 2)."""
    flat = points.reshape(-1, points.shape[-2], 2)
    low, high = flat.min((0, 1)), flat.max((0, 1))
    height = float(np.median(np.ptp(flat[..., 1], axis=1)))
    return low, high, height


def room_about(points: np.ndarray) -> np.ndarray:
    """(x0, y0, x1, y1) about heads with these points (..., 83, 2): the faces, hair and neck, and room to move."""
    low, high, height = _bounds(points)
    return np.concatenate([low - _ROOM * height, high + _ROOM * height])


def head_box(points: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box that may move while the head takes all these positions: fixed for a whole video.

    points: (T, 83, 2) pixels of the picture, the portrait's own among them. size: (width, height) of the picture.
    Returns x0, y0, x1, y1, whole pixels inside the picture, x1 and y1 exclusive.
    """
    corners = room_about(points)
    return box_within(corners[:2], corners[2:], size)


def box_within(low: np.ndarray, high: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels between two corners that lie in a picture of `size` (width, height): x0, y0, x1, y1, the last
    two exclusive.
    """
    # A face beyond the edge still gets a box with an inside.
    x0, y0 = (int(np.clip(np.floor(v), 0, max(0, limit - 2))) for v, limit in zip(low, size, strict=True))
    x1, y1 = (
        int(np.clip(np.ceil(v), min(start + 2, limit), limit))
        for v, start, limit in zip(high, (x0, y0), size, strict=True)
    )
    return x0, y0, x1, y1


def square_about(points: np.ndarray, picture_size: tuple[int, int]) -> tuple[float, float, float]:
    """A square about the head at rest: x0, y0, side in pixels. Inside the picture where the picture is large enough."""
    low, high, height = _bounds(points)
    side = float(max(high - low) + 2 * _CROP_ROOM * height)
    side = min(side, float(min(picture_size)))
    centre = (low + high) / 2
    x0, y0 = (
        float(np.clip(c - side / 2, 0, max(0.0, limit - side))) for c, limit in zip(centre, picture_size, strict=True)
    )
    return x0, y0, side


def cut_square(picture: np.ndarray, square: tuple[float, float, float], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample a square of a picture to size x size. Returns it and the (2, 3) matrix from picture to crop pixels.

    Much smaller crops are averaged from whole pixels, so the square may be off by less than one; the matrix tells.
    """
    x0, y0, side = square
    scale = size / side
    # Half pixels: the square spans x0 .. x0 + side as areas, pixel centres are at integers.
    matrix = np.array([[scale, 0, (0.5 - x0) * scale - 0.5], [0, scale, (0.5 - y0) * scale - 0.5]])
    if scale < 0.7:  # smaller: average first, or fine patterns alias
        left, top = int(x0), int(y0)
        right, bottom = (
            min(limit, int(np.ceil(v + side))) for v, limit in ((x0, picture.shape[1]), (y0, picture.shape[0]))
        )
        part = picture[top:bottom, left:right]
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA), _onto((left, top, right, bottom), size)
    crop = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return crop, matrix


def _onto(box: tuple[int, int, int, int], size: int) -> np.ndarray:
    """The (2, 3) matrix from the picture's pixels to those of a box x0, y0, x1, y1 resized to size x size."""
    sx, sy = size / (box[2] - box[0]), size / (box[3] - box[1])
    return np.array([[sx, 0, (0.5 - box[0]) * sx - 0.5], [0, sy, (0.5 - box[1]) * sy - 0.5]])
