"""Clips as short H.264 films in memory, with key frames so near to each other that any frame is soon decoded.

On 11 clips of ../shared/data/clips/val (256 x 256, 25 frames a second; one shared core): 50 kB a second of film, and
7.6 ms to open a clip and decode two frames of it anywhere. JPEG at the same fidelity (quality 85): 276 kB and 1.1 ms;
key frames 250 frames apart: 37 kB and 50 ms.
"""

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, overload

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from fewshot_reenact.training.data.damage import DamagedClip

KEY_FRAME_EVERY = 12
CRF = 18
_BT709 = 1
_MATRICES = {"bt709": _BT709, "bt601": 6}
_SCALER = {_BT709: 1, 6: 5}  # the same matrices in libswscale's numbers


class ClipEncoder:
    """Square pictures (size, size, 3) uint8 RGB -> the bytes of an MP4 file. The same pictures give the same bytes.

    crf: x264's quality, lower is better. key_every: frames. matrix: "bt709", or "bt601", which is what OpenCV takes
    every film for.
    """

    def __init__(
        self, size: int, fps: Fraction, crf: int = CRF, key_every: int = KEY_FRAME_EVERY, matrix: str = "bt709"
    ) -> None:
        self._buffer = io.BytesIO()
        self._container: Any = av.open(self._buffer, "w", format="mp4")
        options = {
            "preset": "fast", "crf": str(crf), "bf": "0",
            "g": str(key_every), "keyint_min": str(key_every), "sc_threshold": "0",
        }  # fmt: skip
        stream: Any = self._container.add_stream("libx264", rate=fps, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.time_base = stream.time_base = 1 / fps
        self._matrix = _MATRICES[matrix]
        context.colorspace, context.color_range = self._matrix, 1
        context.color_primaries, context.color_trc = _BT709, _BT709
        self._stream, self._base = stream, 1 / fps
        self.frames = 0

    def add(self, picture: np.ndarray) -> None:
        """Encode a frame, (S, S, 3) uint8 RGB."""
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_SCALER[self._matrix])
        frame.pts, frame.time_base = self.frames, self._base
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def finish(self) -> bytes:
        """The whole film as bytes."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


class ClipFrames(Sequence[np.ndarray]):
    """Every step-th frame of an encoded clip, (size, size, 3) uint8 RGB, decoded when asked for."""

    def __init__(self, film: bytes, frames: int, step: int, name: str) -> None:
        self._film, self._frames, self.step, self.name = film, frames, step, name
        self._container: Any = None

    def __len__(self) -> int:
        return -(-self._frames // self.step)

    @overload
    def __getitem__(self, at: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, at: slice) -> list[np.ndarray]: ...
    def __getitem__(self, at: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        found = next(self._from(at * self.step), None)
        if found is None:
            raise self._broken_off(at * self.step)
        return found[1]

    def __iter__(self) -> Iterator[np.ndarray]:
        """All of them, as many as there are to be. Raises DamagedClip."""
        wanted = 0
        for index, picture in self._from(0):
            if index == wanted:
                yield picture
                wanted += self.step
                if wanted >= self._frames:
                    return
        if wanted < self._frames:
            raise self._broken_off(wanted)

    def _broken_off(self, frame: int) -> DamagedClip:
        return DamagedClip(f"{self.name}: breaks off before frame {frame}", self.name)

    def _from(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """(index, picture) from a frame on. Raises DamagedClip."""
        try:
            if self._container is None:
                self._container = av.open(io.BytesIO(self._film))
                self._container.streams.video[0].codec_context.thread_count = 1
            stream = self._container.streams.video[0]
            ticks = 1 / (stream.average_rate * stream.time_base)  # of one frame: the clip's rate is constant
            self._container.seek(round(first * ticks), stream=stream, backward=True)
            for frame in self._container.decode(stream):
                index = round(frame.pts / ticks)
                if index >= first:
                    yield index, frame.to_ndarray(format="rgb24", src_colorspace=_BT709)
        except (FFmpegError, IndexError, ValueError, TypeError) as error:
            message = f"{self.name}: cannot be decoded ({str(error).splitlines()[0]})"
            raise DamagedClip(message, self.name) from error
