"""Which face of a picture or of a video is meant, by a click on it."""

from __future__ import annotations

import cv2
import numpy as np

from fewshot_reenact.errors import ReenactError
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.landmarks.backend import Face, LandmarkBackend
from fewshot_reenact.landmarks.selection import from_left

_LARGEST_SIDE = 900  # pixels of what is shown
_COLOUR = (255, 160, 0)
_MARGIN = 0.15  # of the face, about its points
_LOOK_UP_TO = 250  # frames of a video, until one has a face


def faces_in(
    source: DriverSource, backend: LandmarkBackend
) -> tuple[np.ndarray, list[tuple[int, int, int, int]]] | None:
    """A picture, or the frame of a video in which faces are counted, with its faces framed and numbered from the left,
    (H, W, 3) uint8 RGB, and their boxes x0, y0, x1, y1 in it; None: fewer than two faces, or nothing to be seen.

    source: a portrait too; both are looked at upright, and as the options have it (a part, mirrored).
    """
    try:
        seen = _first_look(source, backend)
    except ReenactError:
        return None  # what is wrong with it is said by whoever uses it
    if seen is None or len(seen[1]) < 2:
        return None
    picture, faces = seen[0], from_left(seen[1])
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


def _first_look(source: DriverSource, backend: LandmarkBackend) -> tuple[np.ndarray, list[Face]] | None:
    """The picture, or the first frame with a face: who is the Nth there is followed from there on. Raises InputError,
    UsageError.
    """
    if not (source.is_still or source.is_video):
        return None
    upright = source.upright(backend)
    if upright.is_still:
        picture = upright.picture()
        return picture, backend.detect(picture)
    for number, frame in upright.frames():
        faces = backend.detect(frame)
        if faces:
            return frame, faces
        if number >= _LOOK_UP_TO:
            break
    return None


def face_at(boxes: list[tuple[int, int, int, int]], x: float, y: float) -> int | None:
    """The number of the face at a place of that picture, from 1; of several the one whose middle is nearest. None:
    there is none.
    """
    inside = [n for n, (x0, y0, x1, y1) in enumerate(boxes) if x0 <= x <= x1 and y0 <= y <= y1]
    if not inside:
        return None
    middle = {n: ((boxes[n][0] + boxes[n][2]) / 2, (boxes[n][1] + boxes[n][3]) / 2) for n in inside}
    return 1 + min(inside, key=lambda n: (middle[n][0] - x) ** 2 + (middle[n][1] - y) ** 2)
