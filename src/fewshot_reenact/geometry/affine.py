"""Affine maps of the plane as (2, 3) matrices: pixel centres are at integers, points are (..., 2) as x, y."""

import numpy as np


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The map on points (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """The map back, (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], 1)


def chain(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map that does `first`, then `second`, (2, 3)."""
    return np.concatenate([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], 1)


def upright_square(
    left: np.ndarray,
    right: np.ndarray,
    mouth: np.ndarray,
    size: int,
    *,
    span: float,
    down: float,
    eyes_share: float,
    least: float,
) -> np.ndarray:
    """The similarity from pixels of an upright square about a face to those of its picture, (2, 3) float64.

    left, right, mouth: (2,) pixels, the eyes as seen in the picture, and the mouth. size: side of the square. span:
    what share of the side the larger of the eyes' distance and `down` times that from eyes to mouth is, `least` pixels
    at least.
    eyes_share: where between mouth (0) and eyes (1) the square's middle lies.
    """
    left, right, mouth = np.asarray(left, np.float64), np.asarray(right, np.float64), np.asarray(mouth, np.float64)
    eyes = (left + right) / 2
    across, below = right - left, mouth - eyes
    # Turned heads shorten `across`, bowed heads shorten `below`: the longer of the two steers the angle.
    axis = across + np.array([below[1], -below[0]])
    length = float(np.hypot(*axis))
    axis = axis / length if length > 1e-6 else np.array([1.0, 0.0])  # points in one place: upright
    reach = max(float(np.hypot(*across)), down * float(np.hypot(*below)), least)
    scale = reach / (span * size)  # picture pixels in one of the square's
    linear = scale * np.array([[axis[0], -axis[1]], [axis[1], axis[0]]])
    anchor = eyes_share * eyes + (1 - eyes_share) * mouth
    middle = np.full(2, 0.5) * size - 0.5
    return np.concatenate([linear, (anchor - linear @ middle)[:, None]], axis=1)
