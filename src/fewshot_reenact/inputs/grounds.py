"""What the user gives for a portrait's matte and for the ground behind the person."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageColor

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import as_file
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.media.pictures import read_mask, read_picture

TRANSPARENT = "transparent"
_NOTHING = 128  # grey level of what is wholly transparent: there the watermark is found best
_NONE = 0.04  # shares of a mask this near to none and to all are its file's noise
_ALIKE = 0.02  # by how much a matte's proportions may differ from the portrait's


@dataclass(frozen=True)
class Ground:
    """One colour, (3,) uint8, or a picture, (H, W, 3) uint8; `files` are those that were read. transparent: nothing is
    shown behind the person, and the output has an alpha channel.
    """

    colour: np.ndarray
    files: tuple[Path, ...] = ()
    transparent: bool = False

    @classmethod
    def parse(cls, given: str) -> Ground:
        """A colour's name (white, #1e90ff, rgb(30,144,255)), "transparent", or a picture's. Raises UsageError,
        InputError.
        """
        plain = cls.plain(given)
        if plain is not None:
            return plain
        path = as_file(given)
        if not path.exists() and not path.suffix:
            raise UsageError(
                f"background {given!r}: is neither a colour (white, #1e90ff), {TRANSPARENT!r}, nor a picture's name"
            )
        return cls(read_picture(path), (path,))

    @classmethod
    def plain(cls, given: str) -> Ground | None:
        """A colour, or "transparent"; None: it is neither, and no file is looked for. Raises UsageError: a colour that
        one sees through.
        """
        if given.strip().lower() == TRANSPARENT:
            return cls(np.full(3, _NOTHING, np.uint8), transparent=True)
        colour: tuple[int, ...] = ()
        with contextlib.suppress(ValueError):
            colour = ImageColor.getrgb(given)
        if len(colour) == 4 and colour[3] < 255:
            raise UsageError(
                f"background {given!r}: a colour here is opaque; leave out its transparency, or say {TRANSPARENT!r}"
            )
        return cls(np.array(colour[:3], np.uint8)) if colour else None

    def of(self, size: tuple[int, int]) -> np.ndarray:
        """It behind a portrait of (height, width) pixels, filling it: (H, W, 3) uint8."""
        height, width = size
        if self.colour.ndim == 1:
            return np.broadcast_to(self.colour, (height, width, 3)).copy()
        h, w = self.colour.shape[:2]
        scale = max(height / h, width / w)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        large = cv2.resize(
            self.colour, (max(width, round(w * scale)), max(height, round(h * scale))), interpolation=how
        )
        y, x = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
        return np.ascontiguousarray(large[y : y + height, x : x + width])


def with_mask(portrait: Portrait, path: Path) -> Portrait:
    """The portrait with the matte of a file: white, or opaque, where the person is.

    Raises InputError: unreadable, of other proportions than the portrait, empty at the face.
    """
    mask = read_mask(path)
    height, width = portrait.picture.shape[:2]
    h, w = mask.shape
    if abs(np.log((w / h) / (width / height))) > _ALIKE:
        raise InputError(
            f"{path}: the matte is {w} x {h} pixels, the portrait {width} x {height}: give one of the same proportions"
        )
    how = cv2.INTER_AREA if w > width else cv2.INTER_LINEAR
    matte = cv2.resize(mask, (width, height), interpolation=how).astype(np.float32) / 255
    matte = np.clip((matte - _NONE) / (1 - 2 * _NONE), 0, 1)
    x, y = (int(v) for v in np.clip(np.round(portrait.points[17:68].mean(0)), 0, [width - 1, height - 1]))
    if matte[y, x] < 0.5:
        raise InputError(f"{path}: the matte leaves out the face; white (or opaque) is where the person is")
    return replace(portrait, matte=matte)
