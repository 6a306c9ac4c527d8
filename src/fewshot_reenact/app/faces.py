"""Which face of a picture is meant, by a click on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fewshot_reenact.errors import ReenactError
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.selection import from_left
from fewshot_reenact.media.pictures import read_picture

_LARGEST_SIDE = 900  # pixels of what is shown
_COLOUR = (255, 160, 0)
_MARGIN = 0.15  # of the face, about its points


def faces_in(path: str | Path, backend: LandmarkBackend) -> tuple[np.ndarray, list[tuple[int, int, int, int]]] | None:
    """A picture with its faces framed and numbered from the left, (H, W, 3) uint8 RGB, and their boxes x0, y0, x1, y1
    in it; None: fewer than two faces, or no picture.
    """
    try:
        picture = read_picture(Path(path))
    except ReenactError:
        return None  # what is wrong with it is said by whoever uses it
    faces = from_left(backend.detect(picture))
    if len(faces) < 2:
        return None
    scale = min(1.0, _LARGEST_SIDE / max(picture.shape[:2]))
    shown = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture.copy()
    boxes = []
    for number, face in enumerate(faces, 1):
        low, high = face.points.min(0), face.points.max(0)
        more = _MARGIN * (high - low)
        x0, y0, x1, y1 = (round(float(v)) for v in scale * np.concatenate([low - more, high + more]))
        cv2.rectangle(shown, (x0, y0), (x1, y1), _COLOUR, 2)
        cv2.putText(shown, str(number), (x0 + 4, y0 + 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, _COLOUR, 2, cv2.LINE_AA)
        boxes.append((x0, y0, x1, y1))
    return shown, boxes


def face_at(boxes: list[tuple[int, int, int, int]], x: float, y: float) -> int | None:
    """The number of the face at a place of that picture, from 1; of several the one whose middle is nearest. None:
    there is none.
    """
    inside = [n for n, (x0, y0, x1, y1) in enumerate(boxes) if x0 <= x <= x1 and y0 <= y <= y1]
    if not inside:
        return None
    middle = {n: ((boxes[n][0] + boxes[n][2]) / 2, (boxes[n][1] + boxes[n][3]) / 2) for n in inside}
    return 1 + min(inside, key=lambda n: (middle[n][0] - x) ** 2 + (middle[n][1] - y) ** 2)
