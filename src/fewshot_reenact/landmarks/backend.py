"""What a landmark backend is."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, eq=False)  # arrays have no one truth value: faces are compared by identity
class Face:
    """One face in one picture.

    points: (83, 2) float32, pixels (see topology). confidence: 0..1, that this is a face and the points are right.
    box: (4,) float32, x0 y0 x1 y1 in pixels, brows to chin. spread: (83,) float32, how far apart the places lie that
    the backend thinks possible for each point, in 1 / 128 of its crop; it grows where something covers the face. None
    where a backend cannot tell.
    """

    points: np.ndarray
    confidence: float
    box: np.ndarray
    spread: np.ndarray | None = None


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


@runtime_checkable
class LooksClosely(Protocol):
    """A backend that can take more time for a picture that is used for long."""

    def look_closely(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Better points than `points`, (83, 2) float32 both, of a face that was found there."""
        ...


def look_closely(backend: LandmarkBackend, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points of a portrait's face, (83, 2) float32, as well as the backend can measure them."""
    points = np.asarray(points, np.float32)
    return backend.look_closely(picture, points) if isinstance(backend, LooksClosely) else points
