"""One opened video file: finding its stream, decoding it whatever its state, and turning frames into RGB."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fewshot_reenact.errors import InputError
from fewshot_reenact.media import timestamps

logger = logging.getLogger(__name__)

# Only real videos: a text file called .mp4 must not be taken for a playlist that opens other files or the network.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,yuv4mpegpipe,"
    "h264,hevc,m4v,ivf,nut,dv,rm,vob,wtv,apng,av1,obu"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
# Tags in odd encodings are no reason to refuse a video. PyAV asks for this up to 18; from 19 on it always replaces.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

# FFmpeg's AVCOL_SPC_* (as in the stream) -> the matrix by swscale's SWS_CS_* number.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601 = 1, 5
_HDR_CURVES = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67


# 8K video has 33 million pixels a frame; decoders take twelve bytes and more for each.
MOST_PIXELS = 8_192 * 8_192


def open_container(path: Path) -> InputContainer:
    """Opens a media file. Raises InputError: no such file, a folder, empty, not a video, cut off before its index."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a video; give one file")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: is an empty file; get it again")
        # An absolute path, because FFmpeg reads "12:30.mp4" as a protocol called 12.
        return av.open(str(path.absolute()), "r", options=dict(_OPTIONS), **_LENIENT)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(_why_not(path)) from error


def best_video(container: InputContainer) -> VideoStream | None:
    """The largest video stream in a coding that is known here; pictures that are only a cover do not count."""
    # A stream without a codec context is in a coding that this FFmpeg does not know; it has no size either.
    known = [s for s in container.streams.video if s.codec_context is not None and not _is_cover(s)]
    return max(known, key=lambda s: (s.width or 0) * (s.height or 0), default=None)


def origin_of(container: InputContainer) -> Fraction:
    """The container's time that counts as 0 seconds, for pictures and sound alike (`timestamps.origin`)."""
    start = None if container.start_time is None else Fraction(container.start_time, av.time_base)
    arbitrary = bool(
        container.format.flags & 0x0200
    )  # AVFMT_TS_DISCONT: broadcast formats, whose clocks start anywhere
    video = best_video(container)
    if start is not None and start < 0 and video is not None and video.start_time is not None:
        # Sound begins below zero by its encoder's delay, which players skip; only pictures below zero move the clock.
        start = min(Fraction(0), video.start_time * Fraction(video.time_base or 0))
    return timestamps.origin(start, arbitrary)


class VideoSource:
    """An opened video: its best video stream, decoded tolerantly.

    `damaged` becomes a short reason as soon as something could not be decoded; decoding goes on with what can.
    """

    def __init__(self, path: Path, any_size: bool = False) -> None:
        self.path, self._any_size = path, any_size
        self.damaged: str | None = None
        self.partial = False  # set by whoever does not read from the first frame to the last
        self.packets = 0
        self._clock: timestamps.Continued | None = None
        self.container = open_container(path)
        try:
            self.stream = self._video_stream()
            self.time_base = Fraction(self.stream.time_base or Fraction(1, 1000))
            shift = origin_of(self.container)
            self.origin_ticks = timestamps.to_ticks(shift, self.time_base)
            self.origin = self.origin_ticks * self.time_base
            # Frame threads keep both cores busy while somebody else computes.
            self.stream.thread_type = "AUTO"
        except BaseException:
            self.container.close()
            raise

    @property
    def jumps(self) -> list[Fraction]:
        """By how many seconds what follows each jump of the clock, so far, was moved."""
        return [] if self._clock is None else [offset * self.time_base for offset in self._clock.offsets]

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def seek(self, seconds: Fraction) -> bool:
        """Goes to a keyframe somewhat before a time from the origin; False where the file cannot seek."""
        ticks = timestamps.to_ticks(seconds, self.time_base) + self.origin_ticks
        try:
            self.container.seek(ticks, stream=self.stream, backward=True)
        except (FFmpegError, OSError):
            return False
        return True

    def frames(self) -> Iterator[VideoFrame]:
        """Decoded frames in the order of their display, their pts in the stream's own clock (or None), which goes on
        where it jumps back.
        """
        rate = timestamps.frame_rate(self.stream.average_rate, getattr(self.stream, "guessed_rate", None))
        # At most a second: what claims fewer frames than that has an odd clock, not a low rate.
        step = min(timestamps.frame_duration(rate, self.time_base), max(1, timestamps.to_ticks(1, self.time_base)))
        self._clock = timestamps.Continued(step)
        for packet in self._demux():
            try:
                decoded: list[Any] = list(self.stream.decode(packet))
            except (FFmpegError, OSError) as error:
                self._note(f"a part cannot be decoded ({_reason(error)})")
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    self._note("some frames are damaged")
                if frame.pts is not None:
                    frame.pts = self._clock(frame.pts)
                yield frame

    def _demux(self) -> Iterator[Any]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (FFmpegError, OSError) as error:
                # What is in the decoder's buffers is still good, and ends the video.
                self._note(f"it breaks off ({_reason(error)})")
                yield None
                return
            if packet.size:
                self.packets += 1
                if packet.is_corrupt:
                    self._note("some of its data is damaged")
            elif packet.dts is None:
                self._check_end()
            yield packet

    def _check_end(self) -> None:
        # Files that are cut off behind their index just end; only the index knows how many frames there should be.
        # MP4's is exact, other containers count a few that are not there.
        slack = 0 if "mp4" in self.container.format.name else 2 + self.stream.frames // 50
        if self.stream.frames > self.packets + slack and not self.partial:
            self._note(f"it breaks off after {self.packets} of {self.stream.frames} frames")

    def _note(self, reason: str) -> None:
        if self.damaged is None:
            self.damaged = reason

    def _video_stream(self) -> VideoStream:
        best = best_video(self.container)
        if best is not None and (best.width or 0) * (best.height or 0) > MOST_PIXELS and not self._any_size:
            raise InputError(
                f"{self.path}: {best.width} x {best.height} pixels are too many for a video; scale it down to 8,192 x "
                "8,192 or less (animate, extract, check and prepare take it with --any-size)"
            )
        if best is None:
            if any(not _is_cover(s) for s in self.container.streams.video):
                raise InputError(f"{self.path}: its video coding is not known here; convert it to H.264 first")
            other = "only sound" if self.container.streams.audio else "nothing to see"
            raise InputError(f"{self.path}: has no video stream ({other}); give a video with pictures")
        return best


class Converter:
    """Frames of one source -> (H, W, 3) uint8 RGB, upright, with square pixels, all of one size."""

    def __init__(self, path: Path, stream: VideoStream, first: VideoFrame) -> None:
        aspect = stream.sample_aspect_ratio or first_aspect(first)
        width, height = first.width, first.height
        if aspect and aspect != 1 and Fraction(1, 4) <= aspect <= 4:
            logger.info("%s: pixels are not square (%s), the picture is stretched to its true shape", path, aspect)
            width = max(1, round(width * aspect))
        self._width, self._height = width, height
        self.transposed, self.mirror, self.upside_down = orientation(first)
        self.width, self.height = (height, width) if self.transposed else (width, height)
        self.curve = _HDR_CURVES.get(first.color_trc) if hasattr(first, "color_trc") else None

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """One frame, (H, W, 3) uint8 RGB."""
        converted: Any = frame.to_ndarray(
            format="rgb24", width=self._width, height=self._height, src_colorspace=_matrix(frame)
        )
        picture: NDArray[np.uint8] = converted
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        if self.mirror:
            picture = picture[:, ::-1]
        if self.upside_down:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, then mirror left-right, then turn top-bottom) that make a phone's frame upright, from its matrix."""
    side: Any = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return False, False, False
    a, b, _, c, d = struct.unpack("=9i", bytes(side)[:36])[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def first_aspect(frame: VideoFrame) -> Fraction | None:
    """The shape of a pixel as the frame itself states it, where the stream does not."""
    aspect = getattr(frame, "sample_aspect_ratio", None)
    return Fraction(aspect) if aspect else None


def _matrix(frame: VideoFrame) -> int | None:
    if frame.format.name.startswith(("rgb", "bgr", "gbr", "gray", "pal", "argb", "abgr", "0rgb", "0bgr", "mono", "ya")):
        return None
    # Untagged: what players assume, BT.709 for HD and BT.601 below.
    untagged = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
    return _MATRICES.get(int(frame.colorspace), untagged)


def _is_cover(stream: VideoStream) -> bool:
    return Disposition.attached_pic in stream.disposition


def _why_not(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
        return f"{path}: the video was cut off before its index (moov) was written; get it again or repair it"
    return f"{path}: is not a video that can be read, or is damaged; give an MP4, MOV, WebM, MKV, AVI or GIF file"


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
