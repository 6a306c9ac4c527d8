"""What is measured of one face in one picture: plain numbers, no verdicts."""

import cv2
import numpy as np

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.shape import openness, take_out
from fewshot_reenact.geometry.topology import REGIONS, eye_distance
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.rendering.paste import cut_face

_SIDE = 192  # pixels of the face frame in which sharpness is measured; the outer eye corners are about 90 apart
_EDGE = 24  # pixels of it that are left out: background
# Where bare skin should be seen: the middle of these points. Squares of 0.14 eye distances a side.
_SKIN = {
    "nose": (29,),
    "forehead": (79, 80),
    "left temple": (19, 71),
    "right temple": (24, 75),
    "left cheek": (2, 31, 36, 48),
    "right cheek": (14, 35, 45, 54),
    "place under the left eye": (41, 2, 31),
    "place under the right eye": (46, 14, 35),
    "upper lip": (33, 51),
    "chin": (57, 8),
}
_SKIN_REACH = 0.07
# Where the face is looked at again, to see whether the points agree: (right, down) in eye distances, and larger.
_LOOKS = ((0.06, 0.0, 1.0), (-0.06, 0.0, 1.0), (0.0, 0.06, 1.0), (0.0, 0.0, 1.08), (0.0, 0.0, 0.93))


def sharpness(picture: np.ndarray, points: np.ndarray) -> float:
    """How much fine detail the face has for its coarse detail, about 0.1 (a smear) to 0.6.

    The spread of brightness in a fine band (0.8 to 1.6 pixels) over that in a coarse one (3.2 to 6.4), with the face
    192 pixels large. Focus, motion, compression and few pixels all lower it; noise and grain raise it.
    picture: (H, W, 3) uint8 RGB. points: (83, 2).
    """
    cut = cv2.cvtColor(cut_face(picture, face_frame(points, _SIDE), _SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    inner = cut[_EDGE:-_EDGE, _EDGE:-_EDGE]
    fine, middle, coarse, flat = (cv2.GaussianBlur(inner, (0, 0), sigma) for sigma in (0.8, 1.6, 3.2, 6.4))
    return float((fine - middle).std() / max(float((coarse - flat).std()), 1e-3))


def agreement(picture: np.ndarray, points: np.ndarray, backend: LandmarkBackend) -> tuple[float, str] | None:
    """How far the points move when the face is looked at again from slightly other places, in eye distances.

    Where something covers the face the network guesses, and its guesses change with the view. Returns the largest
    movement (a standard deviation) and the region in which it is; None when one of the looks finds no face.
    """
    middle, unit = points.mean(0), float(eye_distance(points))
    seen = []
    for right, down, larger in _LOOKS:
        at = (points - middle) * larger + middle + np.array([right, down]) * unit
        face = backend.refine(picture, at.astype(np.float32))
        if face is None:
            return None
        seen.append(face.points)
    moved = np.stack(seen).std(0).mean(1) / max(unit, 1e-6)
    most = int(moved.argmax())
    return float(moved[most]), next(name for name, indices in REGIONS.items() if most in indices)


def odd_colour(picture: np.ndarray, points: np.ndarray) -> tuple[float, str]:
    """How far the oddest place of the face is from the face's usual colour, whatever the brightness, and which it is.

    The distance, in the a and b of CIELAB, of the median colour of one of ten patches to the median of all: a mask or a
    microphone stands out, a hand does not. picture: (H, W, 3) uint8 RGB. points: (83, 2).
    """
    reach = max(2.0, _SKIN_REACH * float(eye_distance(points)))
    height, width = picture.shape[:2]
    colours = {}
    for name, indices in _SKIN.items():
        middle = points[list(indices)].mean(0)
        x0, y0 = np.maximum(np.floor(middle - reach), 0).astype(int)
        x1, y1 = (np.ceil(middle + reach) + 1).astype(int)
        if x0 < min(x1, width) and y0 < min(y1, height):
            patch = np.ascontiguousarray(picture[y0:y1, x0:x1]).astype(np.float32) / 255
            colours[name] = np.median(cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).reshape(-1, 3)[:, 1:], axis=0)
    if not colours:
        return 0.0, "face"
    usual = np.median(list(colours.values()), axis=0)
    far = {name: float(np.linalg.norm(colour - usual)) for name, colour in colours.items()}
    most = max(far, key=far.__getitem__)
    return far[most], most


def openings(points: np.ndarray) -> tuple[float, float]:
    """Opening of the eyes (the mean of both) and of the mouth, each over its width. points: (83, 2)."""
    mouth, left, right = openness(take_out(points[None]).shape)[0]
    return float((left + right) / 2), float(mouth)


def cut_off(points: np.ndarray, size: tuple[int, int]) -> float:
    """Share of the points outside the picture. size: (width, height)."""
    inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(1)
    return float(1 - inside.mean())
