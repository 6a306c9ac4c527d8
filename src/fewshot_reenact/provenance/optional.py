"""The invisible watermark, where this version has one: `watermark.py` beside this module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_MODULE = "fewshot_reenact.provenance.watermark"
AVAILABLE = find_spec(_MODULE) is not None


class Stamp(Protocol):
    def stamp(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of a picture (H, W, 3) uint8 RGB with the watermark in it."""


class Detection(Protocol):
    payload: int
    confidence: float
    frames: int
    mirrored: bool


def watermarker(payload: int) -> Stamp | None:
    """What stamps 64 bits into pictures; None without a watermark in this version."""
    return import_module(_MODULE).Watermarker(payload) if AVAILABLE else None


def detector() -> Callable[[Iterable[NDArray[np.uint8]]], Detection | None] | None:
    """What looks for a watermark in frames of one video; None without one in this version."""
    return import_module(_MODULE).detect if AVAILABLE else None
