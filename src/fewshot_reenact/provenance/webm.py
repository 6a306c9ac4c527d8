"""The C2PA manifest of a WebM: behind the video, in an element that players pass over (EBML's Void).

The standard knows no WebM, so other tools do not look there. The manifest is a detached one: it signs the hash of all
bytes before the element.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

_START = b"\x1a\x45\xdf\xa3"  # of every file in EBML
_VOID = b"\xec\x01"  # its number, and that its length follows in seven bytes
_NAME = b"fewshot-reenact C2PA manifest\0"
_LARGEST = 64 << 20  # bytes; more is no manifest of ours


def is_webm(path: Path) -> bool:
    """Whether a file begins as WebM and Matroska do. Raises OSError."""
    with path.open("rb") as file:
        return file.read(4) == _START


def append(path: Path, manifest: bytes) -> None:
    """Puts a manifest behind a video. Raises OSError."""
    body = _NAME + manifest + struct.pack(">Q", len(manifest)) + _NAME
    with path.open("ab") as file:
        file.write(_VOID + struct.pack(">Q", len(body))[1:] + body)


def split(path: Path) -> tuple[int, bytes | None]:
    """How many bytes the video has, and the manifest behind it; None without one. Raises OSError."""
    size, tail = path.stat().st_size, 8 + len(_NAME)
    with path.open("rb") as file:
        file.seek(max(0, size - tail))
        end = file.read()
        length = struct.unpack(">Q", end[:8])[0] if end[8:] == _NAME else 0
        start = size - tail - length - len(_NAME) - 9
        if not 0 < length <= _LARGEST or start < 0:
            return size, None
        file.seek(start)
        head = file.read(9 + len(_NAME))
        if head[:2] != _VOID or head[9:] != _NAME:
            return size, None
        return start, file.read(length)


class Beginning(io.RawIOBase):
    """The first bytes of an open file, as a file."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._length = file, length
        file.seek(0)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._length}[whence]
        return self._file.seek(max(0, start + offset))

    def readinto(self, buffer: Any) -> int:
        """As of any file."""
        view = memoryview(buffer).cast("B")
        data = self._file.read(min(len(view), max(0, self._length - self._file.tell())))
        view[: len(data)] = data
        return len(data)
