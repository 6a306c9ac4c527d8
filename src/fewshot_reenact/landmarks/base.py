"""What a landmark backend is, and how one is found by name.

A third backend is one module with a class that has `name`, `detect` and `refine`, and one line in `BACKENDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

from fewshot_reenact.errors import UsageError


@dataclass(frozen=True, eq=False)  # arrays have no one truth value: faces are compared by identity
class Face:
    """One face in one picture.

    points: (83, 2) float32, pixels (see topology). confidence: 0..1, that this is a face and the points are right.
    box: (4,) float32, x0 y0 x1 y1 in pixels, brows to chin.
    """

    points: np.ndarray
    confidence: float
    box: np.ndarray


class LandmarkBackend(Protocol):
    """Finds faces and their 83 points. Pictures are (H, W, 3) uint8 RGB."""

    name: str

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Every face in the picture, the largest first; an empty list when there is none."""
        ...

    def refine(self, picture: np.ndarray, points: np.ndarray) -> Face | None:
        """The face that was at `points` (83, 2) in the frame before: no detection, so much faster than `detect`.

        None when there is no face there any more.
        """
        ...


def _builtin(device: str) -> LandmarkBackend:
    return import_module("fewshot_reenact.landmarks.builtin").BuiltinLandmarks(device=device)


def _fan(device: str) -> LandmarkBackend:
    return import_module("fewshot_reenact.landmarks.fan").FanLandmarks(device=device)


BACKENDS: dict[str, Callable[[str], LandmarkBackend]] = {"builtin": _builtin, "fan": _fan}


def load_backend(name: str = "builtin", device: str = "cpu") -> LandmarkBackend:
    """The backend of that name, ready for use. Raises UsageError for an unknown name."""
    if name not in BACKENDS:
        raise UsageError(f"landmarks backend {name!r} is not known: choose one of {', '.join(BACKENDS)}")
    return BACKENDS[name](device)
