"""Long videos in pieces: each is closed and on the disk before the next begins, so that a kill costs one piece at most.

A piece is a video file of its own that begins with a keyframe. Packets of the pieces are put one after the other into
the output, at their frames' own times and without decoding them, and the sound goes in then.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import sha256
from fewshot_reenact.media.audio import Sound
from fewshot_reenact.media.codings import Coding
from fewshot_reenact.media.encoder import Encoder
from fewshot_reenact.media.muxer import Muxer

# Frames of a piece: 10 seconds of most videos. A multiple of rendering.textured.BATCH, so that the networks see the
# same frames together wherever rendering goes on. x264 begins anew with a keyframe after 250 frames anyway.
SEGMENT = 240
_NAME = r"(\d{6})\.([0-9a-f]{16})\.\w+"  # number, and how its SHA-256 begins


class Segments:
    """The closed pieces of a video of which all times are known. pts: of every frame, ticks, growing.

    frames: how many of the first frames are in closed pieces. Damaged pieces do not count, nor do those after them.
    """

    def __init__(self, folder: Path, suffix: str, pts: Sequence[int]) -> None:
        self.folder, self.suffix, self.pts = folder, suffix, pts
        self.length = SEGMENT
        self.paths: list[Path] = []
        found = {int(match[1]): path for path in folder.iterdir() if (match := re.fullmatch(_NAME, path.name))}
        # The last one is always made anew: then somebody who goes on has a picture, and no case of its own.
        for number in range(max(0, -(-len(pts) // self.length) - 1)):
            path = found.get(number)
            if path is None or path.name != self._name(number, sha256(path)):
                break
            self.paths.append(path)

    @property
    def frames(self) -> int:
        """How many frames are in closed pieces."""
        return min(len(self.paths) * self.length, len(self.pts))

    def next_partial(self) -> Path:
        """Where the next piece is written until it is closed."""
        return self.folder / f"{len(self.paths):06d}.partial"

    def close(self, partial: Path) -> None:
        """A piece is complete: it is forced onto the disk and gets its name at once, which says what is in it."""
        path = self.folder / self._name(len(self.paths), sha256(partial))
        publish_whole(partial, path)
        self.paths.append(path)

    def _name(self, number: int, digest: str) -> str:
        return f"{number:06d}.{digest[:16]}{self.suffix}"


class SegmentedEncoder:
    """Does what `Encoder` does, in pieces; the first frame that it is given is number `segments.frames`.

    duration: of the last frame, ticks. `abort` leaves the closed pieces where they are.
    """

    def __init__(
        self,
        segments: Segments,
        partial: Path,
        coding: Coding,
        width: int,
        height: int,
        time_base: Fraction,
        fps: Fraction,
        tags: dict[str, str],
        sound: Sound | None,
        duration: int,
    ) -> None:
        self._segments, self._partial, self._coding = segments, partial, coding
        self._size, self._time_base, self._fps = (width, height), time_base, fps
        self._tags, self._sound, self._duration = tags, sound, duration
        self._piece: Encoder | None = None
        self._muxer: Muxer | None = None
        self._begun = self._given = segments.frames

    def put(self, picture: NDArray[np.uint8], pts: int, duration: int) -> None:
        """Hands over a picture, as `Encoder.put`; its time must be the one that the segments know."""
        if pts != self._segments.pts[self._given]:
            raise ValueError(f"frame {self._given} comes at {pts} ticks, not at {self._segments.pts[self._given]}")
        if self._piece is None:
            self._begun = self._given
            self._piece = Encoder(
                self._segments.next_partial(), self._coding, *self._size, self._time_base, self._fps, {}, None
            )
        # From 0 on: a file that begins later would need an edit list.
        self._piece.put(picture, pts - self._segments.pts[self._begun], duration)
        self._given += 1
        if self._given - self._begun == self._segments.length:
            self._close_piece()

    def finish(self) -> None:
        """Closes the last piece and joins all of them, with the sound, to one complete file."""
        if self._given != len(self._segments.pts):
            raise ValueError(f"{self._given} frames were given of {len(self._segments.pts)}")
        if self._piece is not None:
            self._close_piece()
        self._join()

    def abort(self) -> None:
        """Stops at once; closed pieces stay."""
        if self._muxer is not None:
            self._muxer.stop = True
            with contextlib.suppress(Exception):
                self._muxer.close()
        if self._piece is not None:
            self._piece.abort()
            with contextlib.suppress(OSError):
                self._segments.next_partial().unlink()

    def _close_piece(self) -> None:
        assert self._piece is not None
        self._piece.finish()
        partial, frames = self._segments.next_partial(), self._given - self._begun
        with contextlib.closing(self._open(partial)) as container:
            found = sum(packet.size > 0 for packet in container.demux(video=0))
        if found != frames:  # FFmpeg's buffers can swallow a write error
            raise UsageError(f"{partial}: only {found} of {frames} frames were written; is the disk full?")
        self._piece = None
        self._segments.close(partial)
        if self._sound is not None and self._sound.available:
            _ = self._sound.stream  # raises what is wrong with a conversion now, not after hours

    def _join(self) -> None:
        self._muxer = muxer = Muxer(self._partial, self._coding, self._tags, self._sound)
        stream: Any = None
        times = iter(self._segments.pts)
        for path in self._segments.paths:
            with contextlib.closing(self._open(path)) as container:
                stream = stream or muxer.add_copy(container.streams.video[0], self._time_base)
                for packet in container.demux(video=0):
                    if packet.size:
                        packet.stream, packet.time_base = stream, self._time_base
                        packet.pts = packet.dts = next(times)
                        packet.duration = self._duration
                        muxer.put(packet)
        muxer.finish()
        muxer.close()

    def _open(self, path: Path) -> Any:
        name = "matroska" if self._coding.container == "webm" else "mov"
        return av.open(str(path), "r", format=name)


def publish_whole(partial: Path, path: Path) -> None:
    """Forces a finished file onto the disk and gives it another name in its folder, at once, also for a power cut.
    Raises OSError.
    """
    with partial.open("r+b") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    with contextlib.suppress(OSError, AttributeError):  # Windows opens no folders
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
