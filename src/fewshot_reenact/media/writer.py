"""Videos out: frames and sound, exact timestamps, marked as AI-generated, whole or not at all."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import PartialFile, check_output, output_error
from fewshot_reenact.media import timestamps
from fewshot_reenact.media.audio import Sound
from fewshot_reenact.media.codings import TRANSPARENT_OUTPUTS, VIDEO_OUTPUTS, coding_of
from fewshot_reenact.media.encoder import Encoder
from fewshot_reenact.media.marks import Marks, PlainNote
from fewshot_reenact.media.segments import SegmentedEncoder, Segments

logger = logging.getLogger(__name__)


class VideoWriter:
    """Writes a video of `width` x `height` pixels. A context manager: `close` on success, `abort` on an exception.

    Frames come through `write`. Nothing appears at `path` before `close` succeeds; until then a hidden partial file
    lies beside it, and it is removed whatever happens (exception, Ctrl-C, full disk).

    time_base: seconds a tick of `pts`, as in `VideoInfo.time_base`; the file holds the given timestamps exactly.
    fps: average frames a second (for the encoder's rate control and the last frame's duration).
    audio_from: a media file whose sound goes in, in step: from `audio_start` to `audio_end` seconds on the clock of
        `VideoReader` (use its properties of that name; `audio_jumps` is its `jumps`). Copied if MP4 can hold it, else
        made into AAC. audio_tempo: how much faster it goes, at the same pitch; then it is made into AAC too.
    marks: how the file says that it is AI-generated; a plain comment at least. metadata: more tags.
    inputs: files that are never written over, whatever `overwrite` says; `audio_from` is always one.
    transparent: frames are (H, W, 4), straight colours and alpha: ProRes 4444 in a .mov, VP9 in a .webm. A WebM's clock
        ticks in milliseconds: there, times are rounded to it.
    segments: a folder of this video's own for its pieces, where it is to survive a kill: `frames` of it are there
        already, and the next one comes first. `abort` leaves closed pieces, whoever made the folder removes it.
    crf: quality, 0 (lossless) to 51, smaller is better; preset: x264's trade of time against size. Of H.264 alone.

    An odd width or height is made even by repeating the last column or row (4:2:0 colours need it).
    Colours are BT.709, limited range, tagged so. Raises UsageError as `check_output`, for a full disk too.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        time_base: Fraction,
        fps: Fraction,
        *,
        audio_from: str | Path | None = None,
        audio_start: Fraction | float = 0.0,
        audio_end: Fraction | float | None = None,
        audio_jumps: Sequence[Fraction] = (),
        audio_tempo: Fraction = Fraction(1),
        marks: Marks | None = None,
        metadata: dict[str, str] | None = None,
        inputs: Sequence[str | Path] = (),
        overwrite: bool = False,
        transparent: bool = False,
        segments: Segments | None = None,
        crf: float = 18,
        preset: str = "veryfast",
    ) -> None:
        if width < 2 or height < 2:
            raise ValueError(f"a video is at least 2 x 2 pixels, not {width} x {height}")
        if time_base <= 0 or fps <= 0:
            raise ValueError(f"time base and frame rate must be positive, not {time_base} and {fps}")
        self._suffix = Path(path).suffix.lower()
        self._coding = coding_of(self._suffix, transparent, crf, preset)
        self._coding.check()
        self.width, self.height = width, height
        self.frames = 0 if segments is None else segments.frames
        self._time_base, self._fps = Fraction(time_base), Fraction(fps)
        self._last_pts: int | None = None
        self._marks = marks or PlainNote()
        self._sound: Sound | None = None
        self._encoder: Encoder | SegmentedEncoder | None = None
        guarded = [*inputs, *([audio_from] if audio_from is not None else [])]
        kinds, folder = TRANSPARENT_OUTPUTS if transparent else VIDEO_OUTPUTS, segments.folder if segments else None
        self._file = PartialFile(path, overwrite, guarded, kinds, folder)
        self.path = self._file.path
        self._done = False
        try:
            if audio_from is not None:
                scratch = self._file.partial.with_suffix(".sound.partial")
                end = None if audio_end is None else Fraction(audio_end)
                self._sound = Sound(
                    Path(audio_from), Fraction(audio_start), end, scratch, audio_jumps, self._coding.sound, audio_tempo
                )
            tags = {**self._marks.metadata(), **(metadata or {})}
            # What says AI-generated cannot be replaced through `metadata`.
            tags.update(self._marks.metadata())
            how = self._file.partial, self._coding, width, height, self._time_base, self._fps, tags, self._sound
            self._encoder = Encoder(*how) if segments is None else SegmentedEncoder(segments, *how, self._one_frame)
        except (FFmpegError, OSError) as error:
            self.abort()
            raise self._explain(error) from error
        except BaseException:
            self.abort()
            raise

    @property
    def _one_frame(self) -> int:
        """Ticks."""
        return timestamps.frame_duration(self._fps, self._time_base)

    @property
    def notes(self) -> list[str]:
        """What the user should know about the sound."""
        return [] if self._sound is None else self._sound.notes

    @staticmethod
    def check_output(path: str | Path, overwrite: bool = False, inputs: Sequence[str | Path] = ()) -> Path:
        """Raises UsageError if no video can be written there; call it before minutes of work. Leaves nothing behind."""
        coding_of(".mp4").check()
        return check_output(path, overwrite, inputs, VIDEO_OUTPUTS)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, picture: NDArray[np.uint8], pts: int, duration: int | None = None) -> None:
        """Adds a frame (H, W, 3) uint8 RGB, (H, W, 4) where the video is transparent, shown from `pts` ticks on, which
        must grow from frame to frame.

        `duration` in ticks matters for the last frame only (`Frame.duration`); 1 / fps where it is not given.
        The picture may be changed afterwards. Raises UsageError when the disk is full.
        """
        if self._done or self._encoder is None:
            raise ValueError("the video is closed already")
        shape = (self.height, self.width, 4 if self._coding.transparent else 3)
        if picture.shape != shape or picture.dtype != np.uint8:
            raise ValueError(f"a frame is {shape} uint8, not {picture.shape} {picture.dtype}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"timestamps must grow: {pts} came after {self._last_pts}")
        if self._last_pts is not None and pts - self._last_pts > timestamps.LONGEST_STEP:
            raise ValueError(f"{pts - self._last_pts} ticks between two frames do not fit into MP4: see timestamps.fit")
        self._last_pts = pts
        try:
            marked = self._marks.label(picture, float(pts * self._time_base))
            self._encoder.put(marked, pts, duration or self._one_frame)
        except (FFmpegError, OSError) as error:
            self.abort()
            raise self._explain(error) from error
        self.frames += 1

    def close(self) -> None:
        """Completes the file, marks it and gives it its name. Raises UsageError if that fails; nothing is left then."""
        if self._done:
            return
        assert self._encoder is not None
        try:
            if not self.frames:
                raise UsageError(f"{self.path}: no frame was made, so no video is written")
            self._encoder.finish()
            self._check()
            self._marks.finish(self._file.partial, self._suffix)
            self._close_sound()
        except (FFmpegError, OSError) as error:
            self.abort()
            raise self._explain(error) from error
        except BaseException:
            self.abort()
            raise
        self._done = True
        self._file.publish()

    def abort(self) -> None:
        """Gives up: stops encoding and removes what was written. Harmless after `close`."""
        if self._done:
            return
        self._done = True
        try:
            if self._sound is not None:
                self._sound.cancel()
            if self._encoder is not None:
                self._encoder.abort()
            self._close_sound()
        finally:
            self._file.discard()

    def _close_sound(self) -> None:
        if self._sound is not None:
            self._sound.close()

    def _check(self) -> None:
        # FFmpeg's buffers can swallow a write error; a file that lacks frames must not be called finished.
        matroska = self._coding.container == "webm"
        name = "matroska" if matroska else "mov"
        with contextlib.closing(av.open(str(self._file.partial), "r", format=name)) as container:
            found = container.streams.video[0].frames
            if matroska:  # has no list of its frames
                found = sum(packet.size > 0 for packet in container.demux(video=0))
        if found != self.frames:
            raise UsageError(f"{self.path}: only {found} of {self.frames} frames were written; is the disk full?")

    def _explain(self, error: Exception) -> UsageError:
        if isinstance(error, OSError):
            return output_error(self.path, error)
        return UsageError(f"{self.path}: cannot be written ({getattr(error, 'strerror', None) or error})")
