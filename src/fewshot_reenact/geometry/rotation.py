"""Rotations in three dimensions, and the three angles by which people tell them.

Coordinates: x to the right of the picture, y down, z out of the picture towards the viewer. A rotation is a (3, 3)
matrix with determinant 1 that takes the head's own axes to those of the picture.
"""

import numpy as np


def angles_of(rotation: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 3) degrees: yaw, pitch, roll; rotation = Rz(roll) Ry(yaw) Rx(pitch).

    Positive yaw: the face looks towards the right side of the picture. Positive pitch: upwards. Positive roll:
    clockwise in the picture, the angle of the line through the eyes. Yaw lies between -90 and 90, the others between
    -180 and 180.
    """
    rotation = np.asarray(rotation, np.float64)
    yaw = np.arcsin(np.clip(-rotation[..., 2, 0], -1, 1))
    pitch = np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], -1))


def rotation_from(angles: np.ndarray) -> np.ndarray:
    """The inverse of `angles_of`: (..., 3) degrees -> (..., 3, 3)."""
    yaw, pitch, roll = np.moveaxis(np.radians(np.asarray(angles, np.float64)), -1, 0)
    return about(2, roll) @ about(1, yaw) @ about(0, pitch)


def about(axis: int, angle: np.ndarray) -> np.ndarray:
    """The rotation about one axis (0: x, 1: y, 2: z) by an angle in radians. (...) -> (..., 3, 3)."""
    vector = np.zeros((*np.shape(angle), 3))
    vector[..., axis] = angle
    return exponential(vector)


def exponential(vector: np.ndarray) -> np.ndarray:
    """The rotation about a vector by its length in radians (Rodrigues). (..., 3) -> (..., 3, 3)."""
    vector = np.asarray(vector, np.float64)
    square = (vector**2).sum(-1)[..., None, None]
    length = np.sqrt(square)
    cross = np.zeros((*vector.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -vector[..., 2], vector[..., 1], -vector[..., 0]
    cross -= np.swapaxes(cross, -1, -2)
    # sin(x) / x and (1 - cos(x)) / x^2 = sinc(x / 2)^2 / 2, both exact at 0; numpy's sinc has a factor pi inside.
    first, second = np.sinc(length / np.pi), np.sinc(length / (2 * np.pi)) ** 2 / 2
    return np.eye(3) + first * cross + second * (cross @ cross)


def logarithm(rotation: np.ndarray) -> np.ndarray:
    """The inverse of `exponential` for turns of less than half a circle. (..., 3, 3) -> (..., 3) radians."""
    rotation = np.asarray(rotation, np.float64)
    skew = (rotation - np.swapaxes(rotation, -1, -2)) / 2
    vector = np.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    sine = np.linalg.norm(vector, axis=-1)
    cosine = (np.trace(rotation, axis1=-2, axis2=-1) - 1) / 2
    angle = np.arctan2(sine, cosine)
    return vector * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-12), 1.0)[..., None]


def angle_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By how many degrees the one is turned against the other, about whatever axis. (..., 3, 3) twice -> (...)."""
    trace = np.einsum("...ij,...ij->...", one, other)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def nearest_rotation(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scaled rotation whose first two rows are nearest to a linear map. (..., 2, 3) -> (..., 3, 3) and the scale
    (...): the mean of the map's singular values.
    """
    left, stretch, right = np.linalg.svd(rows, full_matrices=False)
    two = left @ right
    third = np.cross(two[..., 0, :], two[..., 1, :])
    return np.concatenate([two, third[..., None, :]], -2), stretch.mean(-1)


def views_apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees between where two heads look; leaning to a side is no turning. (..., 3, 3) rotations -> (...)."""
    cosine = (one[..., :, 2] * other[..., :, 2]).sum(-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
