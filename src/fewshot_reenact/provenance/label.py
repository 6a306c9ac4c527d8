"""The visible label: "AI-generated", or its words in Chinese, on a dark plate in the lower right corner."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TEXT, SHORT = "AI-generated", "AI"
_SHARE = 0.032  # of the picture's shorter side: height of the letters' em
_SMALLEST = 13  # pixels an em, below which the letters run together
_PLATE = 0.62  # opacity

# For China, GB 45438-2025 asks for words that name artificial intelligence and generation, as high as this share of the
# picture's shorter side at least, in every picture and at the start of a video. The letters of AI are the lowest.
CHINESE = "AI\u751f\u6210"
_SHARE_CHINESE = 0.05
# No font with Chinese characters is everywhere: the two are drawn, by strokes in a square of 100 units.
_STROKES = {
    "\u751f": (
        ((26, 6), (20, 24), (10, 40)),
        ((22, 28), (88, 28)),
        ((16, 58), (84, 58)),
        ((51, 4), (51, 92)),
        ((6, 92), (94, 92)),
    ),
    "\u6210": (
        ((18, 26), (92, 26)),
        ((18, 26), (18, 58), (14, 78), (6, 94)),
        ((20, 50), (46, 50), (45, 74), (42, 84), (32, 80)),
        ((56, 4), (58, 36), (64, 62), (74, 82), (86, 94), (92, 94), (94, 78)),
        ((84, 42), (76, 60), (62, 76), (46, 92)),
        ((70, 6), (82, 17)),
    ),
}
_THICK = 9  # units of a stroke


class Label:
    """Drawn once for a size of picture; then only the corner is blended, a frame takes some hundredths of a ms.

    The right corner, because with `--compare` the output is on the right. Where the words do not fit, "AI" stands.
    chinese: the words that China's standard asks for.
    """

    def __init__(self, height: int, width: int, chinese: bool = False) -> None:
        em = max(_SMALLEST, round(_SHARE * min(height, width)))
        if chinese:
            high = max(_SMALLEST, math.ceil(_SHARE_CHINESE * min(height, width)))
            plate = _chinese_plate(high)
        else:
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


def _chinese_plate(high: int) -> NDArray[np.uint8]:
    """The same with the Chinese words; every sign is `high` pixels high."""
    letters = _letters("AI", high)
    signs = [letters, *(_drawn(_STROKES[sign], high) for sign in CHINESE[2:])]
    pad, gap = max(3, high // 3), max(1, high // 8)
    width = sum(sign.shape[1] + gap for sign in signs) - gap
    plate, x = np.zeros((high + 2 * pad, width + 2 * pad), np.uint8), pad
    for sign in signs:
        plate[pad : pad + high, x : x + sign.shape[1]] = sign
        x += sign.shape[1] + gap
    return plate


def _letters(text: str, high: int) -> NDArray[np.uint8]:
    """Capital letters, `high` pixels from top to bottom."""
    font = ImageFont.load_default(4 * high)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (round(right - left), round(bottom - top)), 0)
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return np.asarray(image.resize((round(image.width * high / image.height), high), Image.Resampling.BOX))


def _drawn(strokes: tuple[tuple[tuple[int, int], ...], ...], high: int) -> NDArray[np.uint8]:
    """A sign by its strokes, (high, high)."""
    scale = max(1, round(8 * high / 100))  # drawn larger and made smaller: soft edges
    thick, side = _THICK * scale, 100 * scale
    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        # From edge to edge: the sign is as high as it says.
        points = [
            tuple(thick / 2 + (side - thick) * (v - (4 if i else 6)) / (90 if i else 88) for i, v in enumerate(p))
            for p in stroke
        ]
        draw.line(points, fill=255, width=thick, joint="curve")
        for x, y in points:
            draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
    return np.asarray(image.resize((high, high), Image.Resampling.BOX))
