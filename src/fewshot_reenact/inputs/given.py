"""Pictures as programs hold them (paths, bytes, files, PIL, numpy), made into what the rest of the package takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import as_file
from fewshot_reenact.media.pictures import read_picture

Picture: TypeAlias = "str | Path | bytes | IO[bytes] | Image.Image | np.ndarray"
"""A path, a file's bytes, an open binary file, a PIL image, or an array (H, W, 3) uint8 RGB."""

_SAVED_AS_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def as_array(picture: Any) -> np.ndarray:
    """An array as it is, once looked at: (H, W, 3) uint8 RGB. Raises UsageError for any other."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or min(picture.shape[:2]) < 1:
        raise UsageError(
            f"a picture of shape {picture.shape} and type {picture.dtype} was given; an array is (H, W, 3), uint8, RGB"
        )
    return np.ascontiguousarray(picture)


class Shelf:
    """Puts pictures that are in no file into a folder, losslessly: read, hashed and named they are as any other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self, given: Picture | Sequence[Picture]) -> list[str | Path]:
        """One picture or several -> a path each. Raises InputError, UsageError: something else."""
        several = list(given) if isinstance(given, list | tuple) else [given]
        return [self.path(one, f"portrait-{number}") for number, one in enumerate(several, 1)]

    def path(self, picture: Any, name: str) -> str | Path:
        """A picture -> where it is; `name`: what it is called if it has no name of its own."""
        if isinstance(picture, str | Path):
            return picture
        where = self.folder / name
        if isinstance(picture, np.ndarray):
            where = where.with_suffix(".png")
            Image.fromarray(as_array(picture)).save(where, "PNG", compress_level=1)
        elif isinstance(picture, Image.Image):
            kind = "PNG" if picture.mode in _SAVED_AS_PNG else "TIFF"
            where = where.with_suffix(f".{kind.lower()}")
            profile = {"icc_profile": picture.info["icc_profile"]} if picture.info.get("icc_profile") else {}
            picture.save(where, kind, exif=picture.getexif(), **profile)
        else:
            where.write_bytes(_bytes_of(picture, name))
        return where

    def array(self, picture: Any, name: str) -> np.ndarray:
        """A picture -> (H, W, 3) uint8 RGB."""
        if isinstance(picture, np.ndarray):
            return as_array(picture)
        path = as_file(self.path(picture, name))
        return read_picture(path)


def _bytes_of(picture: Any, name: str) -> bytes:
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if hasattr(picture, "read"):
        try:
            read = picture.read()
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: the open file cannot be read ({error}); open it again") from error
        if isinstance(read, bytes):
            return read
        raise UsageError(f"{name}: the file is open as text; open it as open(path, 'rb')")
    raise UsageError(
        f"{name}: a {type(picture).__name__} is no picture; give a path, bytes, an open binary file, a PIL image or an "
        "array (H, W, 3) uint8"
    )
