"""The largest pictures that players and hardware decoders commonly show: H.264 level 5.1."""

from fractions import Fraction

import cv2
import numpy as np

_BLOCK = 16  # pixels a side of a macroblock
_BLOCKS, _BLOCKS_A_SECOND = 36_864, 983_040  # Table A-1 of H.264, level 5.1: 4096 x 2304
_LONGEST = 8_688  # pixels a side: the square root of eight times as many blocks


def largest(width: int, height: int, fps: Fraction) -> tuple[int, int]:
    """Width and height as they are, or in the same shape as large as level 5.1 allows at that rate; then even."""
    allowed = min(_BLOCKS, int(_BLOCKS_A_SECOND / fps))
    if _fits(width, height, allowed):
        return width, height
    scale = min(1.0, _LONGEST / max(width, height), (allowed * _BLOCK**2 / (width * height)) ** 0.5)
    while True:
        small = max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))
        if _fits(*small, allowed) or min(small) <= _BLOCK:
            return small
        scale *= 0.998


def _fits(width: int, height: int, allowed: int) -> bool:
    return max(width, height) <= _LONGEST and -(-width // _BLOCK) * -(-height // _BLOCK) <= allowed


def scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 made smaller: size is (width, height)."""
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
