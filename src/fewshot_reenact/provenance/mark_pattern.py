"""What stamping and looking for the watermark share: the tile of signs that a key and a payload give, and its course.

A tile has 64 x 64 cells. A quarter of them, chosen by a key, holds signs known in advance; the others repeat the coded
payload (module `payload`) with signs from the key.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.provenance.payload import PAYLOAD_BITS, coded_bits, encode

TILE = 64  # cells
PUBLIC_KEY = b"fewshot-reenact watermark 1"
SYNC_CELLS = TILE * TILE // 4
SMALL_SIDE = 400  # pixels; frames below it have larger cells and carry a shorter payload
CELLS, CELLS_SMALL = 96, 64  # along the square root of the frame's area

# Seconds: a pattern stays for half a period, less the fade, and then stays as its opposite.
PERIOD, FADE = 2.0, 0.2


@lru_cache(maxsize=8)
def layout(key: bytes, bits: int = PAYLOAD_BITS) -> tuple[NDArray[np.int8], NDArray[np.intp]]:
    """Per cell (TILE, TILE): the key's sign, and the coded bit it carries; -1 for signs known in advance.

    The former and the cells known in advance do not depend on the payload's `bits`. Drawn from a hash, because the
    streams of NumPy's generators may change from version to version.
    """
    count = TILE * TILE
    stream = hashlib.shake_256(key).digest(9 * count)
    order = np.argsort(np.frombuffer(stream[: 8 * count], "<u8"), kind="stable")
    signs = (np.frombuffer(stream[8 * count :], np.uint8) & 1).astype(np.int8) * 2 - 1
    carries = np.full(count, -1, np.intp)
    carries[order[SYNC_CELLS:]] = np.arange(count - SYNC_CELLS) % coded_bits(bits)
    return signs.reshape(TILE, TILE), carries.reshape(TILE, TILE)


def pattern_signs(payload: int, key: bytes, bits: int = PAYLOAD_BITS) -> NDArray[np.int8]:
    """(TILE, TILE) of -1 and 1: the pattern of a payload of so many bits."""
    signs, carries = layout(key, bits)
    return signs * np.append(encode(payload, bits), np.int8(1))[carries]


def course(seconds: float) -> float:
    """By how much, -1 to 1, the changing part of the mark is there at a time: 1, faded over to -1, and back."""
    half = PERIOD / 2
    along = (seconds / half) % 2
    along = min(along, 2 - along)  # 0 in the middle of a 1, 1 in the middle of a -1
    return max(-1.0, min(1.0, (0.5 - along) * 2 * half / FADE))


def phase(seconds: float) -> float:
    """Radians of the course's fundamental wave at a time."""
    return 2 * math.pi * seconds / PERIOD
