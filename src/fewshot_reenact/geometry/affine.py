"""Affine maps of the plane as (2, 3) matrices: pixel centres are at integers, points are (..., 2) as x, y."""

import numpy as np


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The map on points (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """The map back, (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], 1)


def transform_each(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps (..., 2, 3), each on its own points (..., N, 2)."""
    return points @ np.swapaxes(matrices[..., :2], -1, -2) + matrices[..., None, :, 2]


def invert_each(matrices: np.ndarray) -> np.ndarray:
    """The maps back, (..., 2, 3)."""
    linear = np.linalg.inv(matrices[..., :2])
    return np.concatenate([linear, -linear @ matrices[..., 2:]], -1)


def chain(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map that does `first`, then `second`, (2, 3)."""
    return np.concatenate([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], 1)


def whole_frame(side: int, size: int) -> np.ndarray:
    """The (2, 3) matrix from pixels of a square resized to size x size to pixels of the square itself."""
    scale = side / size
    return np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])


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
    """The similarity from pixels of an upright square about a face to those of its picture, (..., 2, 3) float64.

    left, right, mouth: (..., 2) pixels, the eyes as seen in the picture, and the mouth. size: side of the square. span:
    what share of the side the larger of the eyes' distance and `down` times that from eyes to mouth is, `least` pixels
    at least.
    eyes_share: where between mouth (0) and eyes (1) the square's middle lies.
    """
    left, right, mouth = np.asarray(left, np.float64), np.asarray(right, np.float64), np.asarray(mouth, np.float64)
    eyes = (left + right) / 2
    across, below = right - left, mouth - eyes
    # Turned heads shorten `across`, bowed heads shorten `below`: the longer of the two steers the angle.
    x, y = across[..., 0] + below[..., 1], across[..., 1] - below[..., 0]
    length = np.hypot(x, y)
    together = length <= 1e-6  # points in one place: upright
    length = np.where(together, 1.0, length)
    x, y = np.where(together, 1.0, x / length), np.where(together, 0.0, y / length)
    reach = np.maximum(np.hypot(across[..., 0], across[..., 1]), down * np.hypot(below[..., 0], below[..., 1]))
    scale = np.maximum(reach, least) / (span * size)  # picture pixels in one of the square's
    linear = scale[..., None, None] * np.stack([np.stack([x, -y], -1), np.stack([y, x], -1)], -2)
    anchor = eyes_share * eyes + (1 - eyes_share) * mouth
    middle = np.full(2, 0.5) * size - 0.5
    return np.concatenate([linear, (anchor - linear @ middle)[..., None]], axis=-1)
