"""A landmark backend that reads a painted marker, so that tracking is tested without networks and to the pixel.

A face is a bright red rectangle on a dark picture; its 83 points are those of the built-in motions' face, stretched
over the rectangle. H.264 blurs its edges a little; tests of videos allow for that.
"""

import cv2
import numpy as np

from fewshot_reenact.landmarks.backend import Face
from fewshot_reenact.motion.builtins import load_builtin_motion

REST = load_builtin_motion("blink").points[0]
_LOW, _HIGH = REST.min(0), REST.max(0)


def points_in(x: float, y: float, width: float, height: float) -> np.ndarray:
    """(83, 2) float32: the face that fills the rectangle with that top left corner."""
    return ((REST - _LOW) / (_HIGH - _LOW) * [width, height] + [x, y]).astype(np.float32)


def paint(*rectangles: tuple[int, int, int, int], size: tuple[int, int] = (160, 120), ground: int = 40) -> np.ndarray:
    """A picture (H, W, 3) with faces at (x, y, width, height); `ground` tells shots apart by a striped background."""
    width, height = size
    picture = np.full((height, width, 3), 30, np.uint8)
    picture[:, :: max(2, ground // 4)] = ground
    if ground >= 60:
        picture[: height // 2] = 90 - picture[: height // 2]
    for x, y, w, h in rectangles:
        picture[y : y + h, x : x + w] = (250, 20, 20)
    return picture


class PaintedFaces:
    """The backend. `detections` and `refinements` count the calls."""

    name = "painted"

    def __init__(self) -> None:
        self.detections = self.refinements = 0

    def detect(self, picture: np.ndarray) -> list[Face]:
        self.detections += 1
        return self._faces(picture)

    def refine(self, picture: np.ndarray, points: np.ndarray) -> Face | None:
        """The marker that overlaps most with where the face was; None when there is none."""
        self.refinements += 1
        low, high = points.min(0), points.max(0)

        def overlap(face: Face) -> float:
            return float(np.prod(np.clip(np.minimum(high, face.box[2:]) - np.maximum(low, face.box[:2]), 0, None)))

        return max((face for face in self._faces(picture) if overlap(face) > 0), key=overlap, default=None)

    def _faces(self, picture: np.ndarray) -> list[Face]:
        mask = ((picture[..., 0] > 150) & (picture[..., 1] < 110)).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [stats[i, :4] for i in range(1, count) if stats[i, 4] > 60]
        faces = [
            Face(points_in(x, y, w - 1, h - 1), 0.9, np.array([x, y, x + w, y + h], np.float32)) for x, y, w, h in boxes
        ]
        return sorted(faces, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2])))
