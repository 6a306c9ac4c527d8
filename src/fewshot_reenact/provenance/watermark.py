"""An invisible mark in every frame: an id in luma that outlasts re-encoding, scaling, cropping and mirroring.

The mark is a pseudo-random pattern, a tile of 64 x 64 cells (module `mark_pattern`), repeated over the frame. A cell is
a 96th of the frame's side (the square root of its area); a 64th where the side is below 400 pixels, because smaller
cells would not survive compression there. Such small frames hold the first 32 of the id's 64 bits, which are read at
two thirds of the amplitude that all 64 need. As cells scale with the frame, a scaled copy is found like the original.

On even ground the pattern stands still: the mean over time collects it and H.264 codes it once and then repeats it. On
textured ground, where the picture itself is stronger than the mark, it fades over into its opposite and back every
second: the texture stays, so that the difference between the two shows the mark without it. Both have the same signs.

The key is public, as all of this tool is, unless one of the user's own is given: the mark tells honest people what they
see. Who knows the key can remove or forge it. `detector` finds it and bounds the false alarms.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.provenance.mark_pattern import (
    CELLS,
    CELLS_SMALL,
    PUBLIC_KEY,
    SMALL_SIDE,
    TILE,
    course,
    pattern_signs,
)
from fewshot_reenact.provenance.payload import PAYLOAD_BITS, SHORT_BITS

# Grey levels, root mean square; with the rounding 42 dB. Even, light ground, where the mark is seen most easily, loses
# up to this share; less of it in small frames, which have less to lose. Rough ground, which hides it from the detector
# too, loses another. What they lose the rest gets, up to so many times its own.
_STRENGTH = 1.985
_SPARED, _SPARED_SMALL = 0.45, 0.3
_SPARED_ROUGH = 0.5
_MORE = 1.5
_LIGHT = (120, 190)  # grey levels from which, and at which wholly, ground is light
# Grey levels of fine detail, root mean square: up to which ground is wholly, and at all, even; up to which the mark
# wholly, and at all, stands still; and from which, and at which wholly, ground is rough.
_EVEN = (0.5, 2.0)
_STILL = (1.4, 2.0)
_ROUGH = (5.0, 10.0)


class Watermarker:
    """Stamps one payload (64 bits) into frames, under a key. Raises ValueError for a payload of more bits."""

    def __init__(self, payload: int, key: bytes = PUBLIC_KEY) -> None:
        pattern_signs(payload, key)  # too large a payload is refused at once
        self._payload, self._key = payload, key
        self._shape: tuple[int, int] | None = None
        self._pattern = np.zeros((0, 0), np.float32)
        self._spared = 0.0
        self._small = (0, 0)

    def stamp(self, picture: NDArray[np.uint8], seconds: float = 0.0) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 RGB with the mark, as a new picture; at least 42 dB from the given one.

        seconds: when it is shown; the mark changes slowly over time. All three colours change by the same, so chroma
        stays. The mark is weaker on light, even ground.
        """
        height, width = picture.shape[:2]
        if self._shape != (height, width):
            self._prepare(height, width)
        delta = cv2.multiply(self._pattern, cv2.resize(self._gain(picture, seconds), (width, height)))
        rounded = cv2.add(delta, (0.0,), dtype=cv2.CV_16S)  # type: ignore[call-overload]  # a scalar; faster than rint
        stamped = cv2.add(picture, cv2.merge([rounded, rounded, rounded]), dtype=cv2.CV_8U)
        return np.asarray(stamped, np.uint8)

    def _gain(self, picture: NDArray[np.uint8], seconds: float) -> NDArray[np.float32]:
        """What the pattern is multiplied by, on a coarse grid."""
        grey = cv2.cvtColor(cv2.resize(picture, self._small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        ground = cv2.blur(grey.astype(np.float32), (5, 5))
        detail = grey - cv2.blur(grey.astype(np.float32), (3, 3))
        spread = np.sqrt(cv2.blur(detail * detail, (5, 5)))  # of fine detail
        even = 1 - _share(spread, _EVEN)
        gain = (1 - self._spared * _share(ground, _LIGHT) * even) * (1 - _SPARED_ROUGH * _share(spread, _ROUGH))
        gain *= min(_MORE, 1 / math.sqrt(float((gain * gain).mean())))
        return np.asarray(gain * (1 - _share(spread, _STILL) * (1 - course(seconds))), np.float32)

    def _prepare(self, height: int, width: int) -> None:
        side = math.sqrt(height * width)
        small = side < SMALL_SIDE
        cells, self._spared = (CELLS_SMALL, _SPARED_SMALL) if small else (CELLS, _SPARED)
        if small:
            signs = pattern_signs(self._payload >> (PAYLOAD_BITS - SHORT_BITS), self._key, SHORT_BITS)
        else:
            signs = pattern_signs(self._payload, self._key)
        pitch = side / cells
        x = (((np.arange(width) + 0.5) / pitch - 0.5) % TILE).astype(np.float32)
        y = (((np.arange(height) + 0.5) / pitch - 0.5) % TILE).astype(np.float32)
        columns, rows = np.meshgrid(x, y)
        pattern = cv2.remap(signs.astype(np.float32), columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        self._pattern = np.asarray(pattern * (_STRENGTH / np.sqrt((pattern * pattern).mean())), np.float32)
        self._small = (max(1, round(64 * width / side)), max(1, round(64 * height / side)))
        self._shape = (height, width)


def _share(value: NDArray[np.floating] | cv2.typing.MatLike, span: tuple[float, float]) -> NDArray[np.float32]:
    """0 up to the span's begin, 1 from its end on."""
    return np.asarray(np.clip((value - span[0]) / (span[1] - span[0]), 0, 1), np.float32)
