"""Faces as shapes: out of the picture into a frame of their own, and the part of a shape's change that turning the
head makes.

`shape_basis.npz` (made by scripts/build/fit_shape_basis.py from the points of training clips, no pictures) holds the
mean face and how the 83 points move, in the face's own frame, as the nose tip moves against the nose bridge: the
two-dimensional trace of yaw and pitch. With it a change splits into pose and expression.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, N_POINTS, RIGHT_LIDS
from fewshot_reenact.weights import WEIGHTS

BASIS = WEIGHTS / "shape_basis.npz"
# Nose and eye corners: what expressions move least and detectors know best.
RIGID = [27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45]
_BRIDGE, _TIP = 27, 30


@dataclass(frozen=True)
class Basis:
    """mean: (83, 2), the mean face, eye distance 1, origin between the eyes. turn: (5, 83, 2), see `turn_features`."""

    mean: np.ndarray
    turn: np.ndarray


@cache
def basis() -> Basis:
    """The mean face and how points move when the head turns, read once."""
    with np.load(BASIS, allow_pickle=False) as data:
        return Basis(data["mean"].astype(np.float64), data["turn"].astype(np.float64))


@dataclass(frozen=True)
class Placed:
    """Faces taken out of their pictures.

    shape: (T, 83, 2) in the face's own frame. angle (T,) radians, log_size (T,) of the frame's unit in pixels, and
    centre (T, 2) pixels: where the frame was.
    """

    shape: np.ndarray
    angle: np.ndarray
    log_size: np.ndarray
    centre: np.ndarray

    def points(self) -> np.ndarray:
        """Back into the picture, (T, 83, 2) float32."""
        return place(self.shape, self.angle, self.log_size, self.centre)


def take_out(points: np.ndarray, mean: np.ndarray | None = None) -> Placed:
    """Align faces with the mean face on the rigid points (least-squares similarity). points: (T, 83, 2) pixels."""
    points = np.asarray(points, np.float64)
    mean = basis().mean if mean is None else mean
    here, there = points[:, RIGID], mean[RIGID]
    mid_here, mid_there = here.mean(1, keepdims=True), there.mean(0)
    a, b = there - mid_there, here - mid_here
    norm = max(float((a**2).sum()), 1e-9)
    p = (a * b).sum((1, 2)) / norm
    q = (a[:, 0] * b[..., 1] - a[:, 1] * b[..., 0]).sum(1) / norm
    angle, size = np.arctan2(q, p), np.maximum(np.hypot(p, q), 1e-6)
    turn = rotation(angle)
    shape = (points - mid_here) @ turn.transpose(0, 2, 1) / size[:, None, None] + mid_there
    centre = mid_here[:, 0] - size[:, None] * np.einsum("tij,i->tj", turn, mid_there)
    return Placed(shape, angle, np.log(size), centre)


def place(shape: np.ndarray, angle: np.ndarray, log_size: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The inverse of `take_out`: (T, 83, 2) float32 pixels."""
    placed = np.exp(log_size)[:, None, None] * (shape @ rotation(angle)) + centre[:, None]
    return placed.astype(np.float32)


def rotation(angle: np.ndarray) -> np.ndarray:
    """(T,) -> (T, 2, 2) such that row vectors times it are turned by the angle (x towards y)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)


def turn_of(shape: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
    """The trace of yaw and pitch: nose tip against nose bridge, less the mean face's. (..., 83, 2) -> (..., 2)."""
    mean = basis().mean if mean is None else mean
    return (shape[..., _TIP, :] - shape[..., _BRIDGE, :]) - (mean[_TIP] - mean[_BRIDGE])


def turn_features(turn: np.ndarray) -> np.ndarray:
    """x, y, x^2, y^2, x y of (..., 2) -> (..., 5): turning is not quite linear in the plane."""
    x, y = turn[..., 0], turn[..., 1]
    return np.stack([x, y, x * x, y * y, x * y], -1)


def turned(turn: np.ndarray) -> np.ndarray:
    """How far a turn moves every point from the frontal face. (..., 2) -> (..., 83, 2)."""
    # Far outside what was seen the squares run away.
    features = turn_features(np.clip(turn, -0.45, 0.45))
    return (features @ basis().turn.reshape(5, -1)).reshape(*turn.shape[:-1], N_POINTS, 2)


def openness(shape: np.ndarray) -> np.ndarray:
    """Signed gaps of lips and lids over the widths of mouth and eyes: (..., 83, 2) -> (..., 3), mouth, left eye, right
    eye.
    """
    rows = []
    for pairs, corners in ((LIP_PAIRS, (48, 54)), (LEFT_LIDS, (36, 39)), (RIGHT_LIDS, (42, 45))):
        width = np.linalg.norm(shape[..., corners[1], :] - shape[..., corners[0], :], axis=-1)
        gap = np.mean([shape[..., low, 1] - shape[..., up, 1] for up, low in pairs], axis=0)
        rows.append(gap / np.maximum(width, 1e-6))
    return np.stack(rows, -1)


def descriptor(shape: np.ndarray, *, turn: float, opening: float, width: float | None = None) -> np.ndarray:
    """Pose and expression as numbers that mean the same on every face: how the head is turned, how open mouth and eyes
    are and, with `width`, how wide the mouth is. (T, 83, 2) of `take_out` -> (T, 5 or 6).

    Each number is in units of a clear difference, which the caller gives: they weigh the parts against each other.
    """
    parts = [turn_of(shape) / turn, openness(shape) / opening]
    if width is not None:
        parts.append(np.linalg.norm(shape[:, 54] - shape[:, 48], axis=1)[:, None] / width)
    return np.concatenate(parts, 1)
