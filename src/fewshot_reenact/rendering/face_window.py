"""Which pixels of a video's frame may change while a face changes in place: softly all of it, none of the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import CHIN, REGIONS
from fewshot_reenact.rendering.solid.surface import OUTLINE

BEYOND = 0.95  # eye distances beyond the face's outline from which on nothing changes: below the chin
_BESIDE = 0.4  # and to the sides and above
_WIDE = (1.0, 1.3)  # half widths of the face from which on what is below the chin is beside it
# Half of the eye distances within the person's edge over which change ends there: over less than things move they fold.
_WITHIN = 0.12
_DRAWN = 32.0  # pixels an eye distance at which the window is drawn
_NOSE_TIP, _NOSE_BASE, _UPPER_LIP = 30, 33, 51
_LIDS = (0.25, 0.55)  # eye distances about an eye's middle within which all, and beyond which nothing of it changes


@dataclass(frozen=True)
class _Drawn:
    """A box drawn small, and the places of its pixels along a face. place: (2, 3), drawn pixels -> the picture's. size:
    (width, height). middle: (2,) pixels, between the eyes. axes: (2, 2), to the face's right and down, in eye distances
    a pixel. across, down: (h, w) float32 eye distances.
    """

    place: np.ndarray
    size: tuple[int, int]
    middle: np.ndarray
    axes: np.ndarray
    across: np.ndarray
    down: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, box: tuple[int, int, int, int], unit: float) -> _Drawn:
        x0, y0, x1, y1 = box
        scale = min(1.0, _DRAWN / unit)
        size = (max(2, round((x1 - x0) * scale)), max(2, round((y1 - y0) * scale)))
        across, down = (x1 - x0) / size[0], (y1 - y0) / size[1]
        place = np.array([[across, 0, x0 + (across - 1) / 2], [0, down, y0 + (down - 1) / 2]])
        frame = face_frame(points, 1)[:, :2].T
        axes = frame / np.linalg.norm(frame, axis=1, keepdims=True) / unit
        middle = points[36:48].mean(0)
        line = [np.arange(n, dtype=np.float32) for n in size]
        x, y = np.meshgrid(
            place[0, 0] * line[0] + place[0, 2] - middle[0], place[1, 1] * line[1] + place[1, 2] - middle[1]
        )
        return cls(place, size, middle, axes, *(axis[0] * x + axis[1] * y for axis in axes))

    def along(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the picture -> eye distances to the face's right and down."""
        return (points - self.middle) @ self.axes.T


def window(
    faces: Sequence[np.ndarray], box: tuple[int, int, int, int], unit: float, region: str, matte: np.ndarray | None
) -> np.ndarray:
    """How much of each pixel of a box x0, y0, x1, y1 may change, (h, w) float32, 0..1.

    faces: the points before and after, (83, 2) pixels each. unit: pixels an eye distance. region: see motion.retarget;
    of the lips the face's lower part, of the eyes what is about them. matte: (H, W) of the picture, or None.
    """
    x0, y0, x1, y1 = box
    drawn = _Drawn.of(faces[0], box, unit)
    share = _outlined(faces, drawn)
    if region == "lips":
        share *= _below_the_nose(faces, drawn)
    if region == "eyes":
        share *= _about_the_eyes(faces, drawn)
    if matte is not None:
        small = cv2.resize(matte[y0:y1, x0:x1], drawn.size, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(small, (0, 0), _WITHIN * unit / drawn.place[0, 0])
        share *= smoothstep(np.clip(2 * soft - 1, 0, 1))
    return cv2.resize(share.astype(np.float32), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)


def _outlined(faces: Sequence[np.ndarray], drawn: _Drawn) -> np.ndarray:
    """1 within the outlines, softly 0 beyond; farther below the chin, where the neck goes along."""
    onto, filled = invert(drawn.place), np.zeros(drawn.size[::-1], np.uint8)
    for points in faces:
        outline = transform(onto, points[list(OUTLINE)])
        cv2.fillPoly(filled, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    unit = 1 / float(np.linalg.norm(drawn.axes[0]))
    beyond = cv2.distanceTransform((filled < 128).astype(np.uint8), cv2.DIST_L2, 5) * drawn.place[0, 0] / unit
    jaw = np.concatenate([drawn.along(points[REGIONS["jaw"]]) for points in faces])
    chin = max(float(drawn.along(points[CHIN])[1]) for points in faces)
    half = max(float(np.abs(jaw[:, 0]).max()), 0.1)
    beside = smoothstep(np.clip((np.abs(drawn.across) / half - _WIDE[0]) / (_WIDE[1] - _WIDE[0]), 0, 1))
    lower = smoothstep(np.clip(drawn.down / max(chin, 0.1), 0, 1)) * (1 - beside)
    return smoothstep(np.clip(1 - beyond / (_BESIDE + (BEYOND - _BESIDE) * lower), 0, 1))


def _below_the_nose(faces: Sequence[np.ndarray], drawn: _Drawn) -> np.ndarray:
    tip, base, lip = (
        min(float(drawn.along(points[k])[1]) for points in faces) for k in (_NOSE_TIP, _NOSE_BASE, _UPPER_LIP)
    )
    begin, end = (tip + base) / 2, max(lip, base)
    return smoothstep(np.clip((drawn.down - begin) / max(end - begin, 0.05), 0, 1))


def _about_the_eyes(faces: Sequence[np.ndarray], drawn: _Drawn) -> np.ndarray:
    near = np.zeros(drawn.size[::-1], np.float32)
    for eye in ("left_eye", "right_eye"):
        middle = drawn.along(np.mean([points[REGIONS[eye]].mean(0) for points in faces], 0))
        away = np.hypot(drawn.across - middle[0], drawn.down - middle[1])
        near = np.maximum(near, smoothstep(np.clip((_LIDS[1] - away) / (_LIDS[1] - _LIDS[0]), 0, 1)))
    return near
