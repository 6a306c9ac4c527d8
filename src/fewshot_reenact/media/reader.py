"""Videos in: a stream of upright RGB frames with exact timestamps, in constant memory."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media import timestamps
from fewshot_reenact.media.file_types import is_animated_webp
from fewshot_reenact.media.picture_source import PictureSource
from fewshot_reenact.media.source import Converter, VideoSource

_Source = VideoSource | PictureSource

logger = logging.getLogger(__name__)

# Seeking lands on the keyframe before a time, by decoding time, which runs ahead of display: aim a bit early.
_SEEK_MARGIN = Fraction(2)


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before all of it has been read."""

    path: Path
    width: int
    """Pixels, upright and square (after the rotation that a phone asks for)."""
    height: int
    fps: Fraction
    """Average frames a second, exactly (30000/1001); for showing and for estimates, not for timing."""
    time_base: Fraction
    """Seconds a tick of `Frame.pts`."""
    duration: float | None
    """Seconds, as the container claims."""
    frames: int | None
    """Number of frames as the container claims, or estimated from duration and rate; of the cut, if there is one."""
    has_audio: bool
    variable: bool | None
    """Whether frames are unevenly spaced; None where the container has no index to tell."""


@dataclass(frozen=True)
class Frame:
    """One frame. `pts` and `duration` are in ticks of `VideoInfo.time_base`; the first frame of a cut has pts 0."""

    picture: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    pts: int
    time: float
    """Seconds: pts * time_base."""
    index: int
    duration: int
    """Ticks this frame is to be shown, as the file says or the rate suggests; at least 1."""


class VideoReader:
    """Reads a video frame by frame. Iterable, more than once; each time from the start of the cut.

    `start` and `end` are seconds: frames at start <= time < end are read. The frame at `start`, or the first after it,
    then has pts 0, so that a cut begins without a pause. Without `start`, timestamps are the file's own, so pictures
    and sound stay in step and output timestamps equal the driver's.

    fps: of a folder of numbered frames. turn: quarter turns counterclockwise by which every frame is turned; mirror:
    then left and right are exchanged. any_size: without the limits of size that keep damaged and hostile files off.

    To give a writer the sound that belongs to it, hand it `audio_start` and `audio_end`.

    Where the clock jumps back (recordings joined by hand) it goes on from the last frame; `jumps` says by how many
    seconds what follows each jump was moved, for the sound.

    `damaged` is a reason once something could not be decoded (a warning is logged at the end), else None.

    Raises InputError: no such file, not a video, no video stream, no frame can be decoded, `start` behind the end.
    """

    def __init__(
        self,
        path: str | Path,
        start: float | None = None,
        end: float | None = None,
        *,
        fps: Fraction | None = None,
        turn: int = 0,
        mirror: bool = False,
        any_size: bool = False,
    ) -> None:
        self.path = Path(path)
        self._fps, self._turn, self._mirror, self._any_size = fps, turn % 4, mirror, any_size
        self._start = None if not start else Fraction(start)
        self._end = None if end is None else Fraction(end)
        if self._start is not None and self._start < 0:
            raise UsageError(f"the start of a cut must not be negative ({start} s)")
        if self._end is not None and self._end <= (self._start or 0):
            raise UsageError(f"the end of a cut ({end} s) must lie after its start ({start or 0} s)")
        self.damaged: str | None = None
        self.jumps: list[Fraction] = []
        self._generators: list[Iterator[Frame]] = []
        # The first frame tells what the header cannot: that something decodes, the rotation, where a cut begins.
        opened = self._open()
        try:
            self._pending: tuple[_Source, Iterator[VideoFrame], VideoFrame] | None = opened
            source, _, first = opened
            self._converter = Converter(self.path, source.stream, first)
            average, guessed = source.stream.average_rate, getattr(source.stream, "guessed_rate", None)
            self._step = timestamps.frame_duration(timestamps.frame_rate(average, guessed), source.time_base)
            first_pts = 0 if first.pts is None else first.pts - source.origin_ticks
            self._zero = first_pts if self._start is not None else 0
            self._time_base = source.time_base
            self.audio_start = self._zero * source.time_base
            self.audio_end = self._end
            self.info = self._describe(source)
        except BaseException:
            opened[0].close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def hdr(self) -> str | None:
        """What the user should know where colours are shown: that they are HDR. None where they are not."""
        curve = self._converter.curve
        said = f"is HDR ({curve}); its colours will look flat, convert it to SDR first"
        return f"{self.path.name}: {said}" if curve else None

    def close(self) -> None:
        """Closes the file; iterating again opens it again."""
        for generator in self._generators:
            generator.close()  # type: ignore[attr-defined]
        self._generators.clear()
        if self._pending is not None:
            self._pending[0].close()
            self._pending = None

    def __iter__(self) -> Iterator[Frame]:
        generator = self._read()
        self._generators = [g for g in self._generators if g.gi_frame is not None]  # type: ignore[attr-defined]
        self._generators.append(generator)
        return generator

    def _read(self) -> Iterator[Frame]:
        opened, self._pending = self._pending, None
        source, frames, frame = opened or self._open()
        increasing = timestamps.Increasing(self._step)
        index = 0
        try:
            current: VideoFrame | None = frame
            while current is not None:
                raw = None if current.pts is None else current.pts - source.origin_ticks
                if raw is not None and not self._before_end(raw):
                    source.partial = True
                    break
                pts = increasing(None if raw is None else raw - self._zero)
                duration = int(getattr(current, "duration", 0) or 0)
                yield Frame(
                    picture=self._stood(self._converter(current)),
                    pts=pts,
                    time=float(pts * self._time_base),
                    index=index,
                    duration=duration if duration > 0 else self._step,
                )
                index += 1
                current = next(frames, None)
            if increasing.mended:
                logger.info("%s: %d timestamps were missing or out of order", self.path, increasing.mended)
            if source.damaged and self.damaged is None:
                logger.warning("%s: is damaged: %s; %d frames are used", self.path, source.damaged, index)
        finally:
            self.damaged = self.damaged or source.damaged
            self.jumps = max(self.jumps, source.jumps, key=len)
            source.close()

    def _open(self) -> tuple[_Source, Iterator[VideoFrame], VideoFrame]:
        """An opened source, the rest of its frames, and the first frame of the cut."""
        source = self._source()
        try:
            if self._start is not None and self._start > _SEEK_MARGIN and source.seek(self._start - _SEEK_MARGIN):
                source.partial = True
                frames = source.frames()
                first = next(frames, None)
                if first is not None and first.pts is not None and self._before_start(source, first.pts):
                    return source, frames, self._first_of_cut(source, frames, first)
                # Seeking went too far or nowhere: read from the beginning.
                source.close()
                source = self._source()
            frames = source.frames()
            first = next(frames, None)
            if first is None:
                reason = f" ({source.damaged})" if source.damaged else ""
                raise InputError(f"{self.path}: no frame can be decoded{reason}; get the video again")
            return source, frames, self._first_of_cut(source, frames, first)
        except BaseException:
            source.close()
            raise

    def _source(self) -> _Source:
        if (self.path.is_dir() and self._fps is not None) or is_animated_webp(self.path):
            return PictureSource(self.path, self._fps, self._any_size)
        return VideoSource(self.path, self._any_size)

    def _stood(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._turn:
            picture = np.rot90(picture, self._turn)
        if self._mirror:
            picture = picture[:, ::-1]
        return np.ascontiguousarray(picture)

    def _first_of_cut(self, source: _Source, frames: Iterator[VideoFrame], first: VideoFrame) -> VideoFrame:
        frame: VideoFrame | None = first
        last, seen = Fraction(0), 0
        while frame is not None:
            # Frames without a timestamp count on from the last by the frame rate.
            if frame.pts is None or not self._before_start(source, frame.pts):
                return frame
            last, seen = (frame.pts - source.origin_ticks) * source.time_base, seen + 1
            frame = next(frames, None)
        claimed = source.container.duration
        length = max(float(last), claimed / 1e6 if claimed else 0.0)
        raise InputError(
            f"{self.path}: the start, {float(self._start or 0):g} s, is behind the end; the video lasts {length:.2f} s"
        )

    def _before_start(self, source: _Source, pts: int) -> bool:
        time = (pts - source.origin_ticks) * source.time_base
        return self._start is not None and time < self._start - timestamps.SAME_TIME

    def _before_end(self, pts: int) -> bool:
        return self._end is None or pts * self._time_base < self._end - timestamps.SAME_TIME

    def _describe(self, source: _Source) -> VideoInfo:
        stream, container = source.stream, source.container
        fps = timestamps.frame_rate(stream.average_rate, getattr(stream, "guessed_rate", None))
        duration: float | None = None
        if stream.duration:
            duration = float(stream.duration * source.time_base)
        elif container.duration:
            duration = container.duration / 1e6
        frames: int | None = stream.frames or (round(duration * fps) if duration else None)
        if frames and (self._start is not None or self._end is not None):
            length = duration if duration else float(frames / fps)
            until = min(length, float(self._end)) if self._end is not None else length
            frames = max(1, round((until - float(self.audio_start)) * fps))
        return VideoInfo(
            path=self.path,
            width=self._converter.height if self._turn % 2 else self._converter.width,
            height=self._converter.width if self._turn % 2 else self._converter.height,
            fps=fps,
            time_base=source.time_base,
            duration=duration,
            frames=frames,
            has_audio=any(s.codec_context is not None for s in container.streams.audio),
            variable=_variable(stream),
        )


def read_frames(path: Path, wanted: Collection[int]) -> dict[int, np.ndarray]:
    """The frames with these numbers, (H, W, 3) uint8 RGB; nothing is read behind the last of them."""
    out: dict[int, np.ndarray] = {}
    with VideoReader(path) as reader:
        for frame in reader:
            if frame.index in wanted:
                out[frame.index] = frame.picture
            if len(out) == len(wanted):
                break
    return out


def _variable(stream: Any) -> bool | None:
    try:
        entries = stream.index_entries
        times = [entries[i].timestamp for i in range(min(len(entries), 10_000))]
    except (AttributeError, TypeError):
        return None
    # MP4's index lists every frame, in decoding order with evenly running decoding times; others only keyframes.
    return timestamps.is_variable(times, Fraction(stream.time_base)) if len(times) >= max(stream.frames, 2) else None
