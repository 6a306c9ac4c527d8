"""The visible label: "AI-generated" on a dark plate in the lower right corner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TEXT, SHORT = "AI-generated", "AI"
_SHARE = 0.032  # of the picture's shorter side: height of the letters' em
_SMALLEST = 13  # pixels an em, below which the letters run together
_PLATE = 0.62  # opacity


class Label:
    """Drawn once for a size of picture; then only the corner is blended, a frame takes some hundredths of a ms.

    The right corner, because with `--compare` the output is on the right. Where the words do not fit, "AI" stands.
    """

    def __init__(self, height: int, width: int) -> None:
        em = max(_SMALLEST, round(_SHARE * min(height, width)))
        plate = next((p for p in (_plate(TEXT, em), _plate(SHORT, em)) if p.shape[1] <= width), _plate(SHORT, em))
        plate = plate[:height, :width]
        # The margin gives way in pictures hardly larger than the plate.
        margin = max(0, min(em // 3, height - plate.shape[0], width - plate.shape[1]))
        bottom, right = height - margin, width - margin
        self._where = (slice(bottom - plate.shape[0], bottom), slice(right - plate.shape[1], right))
        white = plate[..., None].astype(np.float32) / 255
        # picture * keep + add, in integers: the plate darkens what is below, the letters cover it.
        self._keep = np.rint(256 * (1 - _PLATE) * (1 - white)).astype(np.uint16)
        self._add = np.rint(256 * (255 * white + 16 * (1 - white) * _PLATE)).astype(np.uint16)

    def draw(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of the picture (H, W, 3) uint8 RGB, or (H, W, 4) with alpha, of the size given, with the label."""
        out = picture.copy()
        if picture.shape[2] == 3:
            out[self._where] = (out[self._where] * self._keep + self._add) >> 8
            return out
        # Over what is transparent plate and letters are there all the same: colours are straight.
        below = out[self._where].astype(np.float32)
        own, keep = below[..., 3:] / 255, self._keep / np.float32(256)
        share = 1 - (1 - own) * keep
        mixed = own * below[..., :3] * keep + self._add / np.float32(256)
        out[self._where] = np.rint(np.concatenate([mixed / share, 255 * share], 2).clip(0, 255)).astype(np.uint8)
        return out


def _plate(text: str, em: int) -> NDArray[np.uint8]:
    """How white each pixel of the plate is, (h, w) uint8."""
    font = ImageFont.load_default(em)
    left, top, right, bottom = font.getbbox(text)
    pad = max(2, em // 3)
    image = Image.new("L", (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad), 0)
    ImageDraw.Draw(image).text((pad - left, pad - top), text, fill=255, font=font)
    return np.asarray(image)
