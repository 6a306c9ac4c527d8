"""The mean face and the turn basis (geometry.shape), fitted to the points of clips: no pictures are read."""

from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.shape import Basis, openness, rotation, take_out, turn_features, turn_of
from fewshot_reenact.geometry.topology import FLIP, LEFT_EYE, N_POINTS, RIGHT_EYE


def read_points(folder: Path) -> list[np.ndarray]:
    """The points of every clip of a folder, (T, 83, 2) float64 pixels each. Raises InputError: none there."""
    clips = [np.load(path)["points"].astype(np.float64) for path in sorted(folder.glob("*.npz"))]
    if not clips:
        raise InputError(f"{folder}: no clips (NAME.npz)")
    return clips


def first_mean(clips: list[np.ndarray]) -> np.ndarray:
    """Mean of the clips' mean faces, each with the eyes on a level line, eye distance 1, origin between the eyes;
    symmetric.
    """
    rows = []
    for points in clips:
        left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
        across = right - left
        size = np.linalg.norm(across, axis=1)[:, None, None]
        turn = rotation(np.arctan2(across[:, 1], across[:, 0]))
        rows.append((((points - ((left + right) / 2)[:, None]) @ turn.transpose(0, 2, 1)) / size).mean(0))
    mean = np.mean(rows, 0)
    return symmetric(mean)


def symmetric(mean: np.ndarray) -> np.ndarray:
    """The mean of a face and its mirror image. (83, 2) -> (83, 2)."""
    return (mean + mean[FLIP] * [-1, 1]) / 2


def fit_shape_basis(clips: list[np.ndarray]) -> tuple[Basis, float]:
    """The basis, and which share of the shapes' variance within clips turn, lips and lids explain. clips: (T, 83, 2)
    pixels each.
    """
    faces = [
        *clips,
        *(np.stack([p[FLIP] * [-1, 1] for p in points]) for points in clips),
    ]  # symmetric data, symmetric basis
    mean = first_mean(faces)
    for _ in range(5):
        mean = symmetric(np.mean([take_out(p, mean).shape.mean(0) for p in faces], 0))
    rows, features = [], []
    for points in faces:
        shape = take_out(points, mean).shape
        # Mouth and lids are fitted too, and dropped: people who look down also tend to close their eyes.
        nuisance = np.column_stack([openness(shape), shape[:, 54, 0] - shape[:, 48, 0], shape[:, 17:27, 1].mean(1)])
        feature = np.column_stack([turn_features(turn_of(shape, mean)), nuisance])
        # Each clip against its own mean: what differs between people is not turning.
        rows.append((shape - shape.mean(0)).reshape(len(shape), -1))
        features.append(feature - feature.mean(0))
    x, y = np.concatenate(features), np.concatenate(rows)
    ridge = 1e-4 * np.eye(x.shape[1]) * np.trace(x.T @ x) / x.shape[1]
    fitted = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    explained = 1 - ((y - x @ fitted) ** 2).sum() / (y**2).sum()
    return Basis(mean, fitted[:5].reshape(5, N_POINTS, 2)), float(explained)
