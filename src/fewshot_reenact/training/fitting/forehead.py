"""The map that completes 68 points by a forehead, for the `fan` backend (landmarks/fan.py): ridge regression."""

from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.landmarks.fan import KNOWN, forehead_frame


def read_faces(data: Path) -> np.ndarray:
    """The points of the stills and of every eighth frame of clips/train, (N, 83, 2) float64 pixels.

    Raises InputError: no stills there.
    """
    stills = data / "stills" / "stills.npz"
    if not stills.is_file():
        raise InputError(f"{stills}: no such file; give a folder of stills and clips")
    clips = sorted((data / "clips" / "train").glob("*.npz"))
    sets = [np.load(stills)["points"], *(np.load(path)["points"][::8] for path in clips)]
    return np.concatenate(sets).astype(np.float64)


def fit_forehead(points: np.ndarray, ridge: float) -> tuple[np.ndarray, str]:
    """Fit to nine tenths of the faces, and say how well it does on the rest. points: (N, 83, 2).

    Returns the matrix, float32, (known numbers and 1, 26), and a note.
    """
    held = np.arange(len(points)) % 10 == 0
    origin, turn = forehead_frame(points)
    own = (points - origin[:, None]) @ turn
    x = np.concatenate([own[:, KNOWN].reshape(len(own), -1), np.ones((len(own), 1))], 1)
    y = own[:, 68:81].reshape(len(own), -1)
    a, b = x[~held], y[~held]
    matrix = np.linalg.solve(a.T @ a + ridge * len(a) * np.diag([1.0] * (x.shape[1] - 1) + [0.0]), a.T @ b)
    inverse = np.linalg.inv(turn[held])
    off = (x[held] @ matrix - y[held]).reshape(-1, 13, 2) @ inverse
    error = (np.linalg.norm(off, axis=-1).mean(1) / eye_distance(points[held])).mean()
    note = f"{len(a)} faces; error on {held.sum()} others {100 * error:.2f} % of the eye distance"
    return matrix.astype(np.float32), note
