"""Sound out of a video, in step with its pictures: copied as it is, or made into AAC where MP4 cannot hold it, into
Opus where WebM cannot.

Copying loses nothing and costs nothing. Its packets keep their timestamps (shifted by the start of a cut), so whatever
the sound's own start, delay or gaps, it stays where it was against the pictures.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
from av.container import InputContainer
from av.error import FFmpegError

from fewshot_reenact.errors import InputError
from fewshot_reenact.media import timestamps
from fewshot_reenact.media.source import open_container, origin_of

logger = logging.getLogger(__name__)

# What MP4 can hold and players everywhere can play. Opus, Vorbis, FLAC and PCM are made into AAC.
COPIED = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac"})
_COPIED_TO_WEBM = frozenset({"opus", "libopus", "vorbis", "libvorbis"})
_CODERS = {"aac": ("aac", "mp4"), "opus": ("libopus", "ogg")}
_LOWEST_MP3_RATE = 16_000  # Hz; MP4 knows no MP3 below
_BIT_RATE = "192k"
_MOST_CHANNELS = 8  # of AAC in MP4, as every encoder and player knows it: 7.1
_JUMP = Fraction(1, 20)  # seconds by which a clock goes back that was set back, not merely rounded


class Sound:
    """The sound of `path` from `start` to `end`, seconds from the first picture's clock (`timestamps.origin`).

    `scratch` is where a converted sound is put while it is needed; whoever made the Sound closes it. `jumps`: how far
    the pictures were moved, in seconds, after each time that the clock jumped back (`VideoReader.jumps`). coding: "aac"
    or "opus", what is made of sound that the output cannot hold: an MP4's or a WebM's. tempo: how much faster it
    goes, at the same pitch.
    """

    def __init__(
        self,
        path: Path,
        start: Fraction,
        end: Fraction | None,
        scratch: Path,
        jumps: Sequence[Fraction] = (),
        coding: Literal["aac", "opus"] = "aac",
        tempo: Fraction = Fraction(1),
    ) -> None:
        self._coding = coding
        self.path, self.start, self.end = path, start, end
        self._jumps, self._tempo = tuple(jumps), tempo
        self._scratch = scratch
        self._converting: subprocess.Popen[bytes] | None = None
        self._container: InputContainer | None = open_container(path)
        self.converted = False
        self.notes: list[str] = []
        self._shift = origin_of(self._container) + start
        stream = _best(self._container)
        self.available = stream is not None
        if stream is not None and (tempo != 1 or not _can_copy(stream, coding)):
            logger.info("%s: the sound (%s) is converted to %s", path, stream.codec_context.name, coding)
            self._start_converting(stream, self._container.streams.audio.index(stream))
        elif stream is None:
            logger.info("%s: has no sound", path)
            self.close()

    @property
    def stream(self) -> Any:
        """The sound stream to be copied: the template of the output's. Waits for a conversion to end; None where
        that left nothing.
        """
        if self._converting is not None:
            self._finish_converting()
        assert self._container is not None
        return _best(self._container)

    def packets(self) -> Iterator[tuple[Fraction, Any]]:
        """(seconds in the output, packet with shifted timestamps), in order; pts may be negative at a cut's start."""
        stream = self.stream
        if stream is None:  # converted, and nothing of it lies inside the cut
            logger.info("%s: has no sound between the start and the end", self.path)
            return
        until = None if self.end is None else self.end - self.start
        place = _Clock(stream, self._shift, self._jumps)
        before: tuple[Fraction, Any] | None = None
        for packet in self._demux(stream):
            if packet.pts is None:
                continue
            time = place(packet)
            if time is None:  # at a seam: what the piece before still covers
                continue
            if until is not None and time >= until:
                return
            if self.start > 0 and time + (packet.duration or 0) * packet.time_base <= 0:
                # The last packet before a cut is kept: AAC and MP3 decode each packet with the help of the one before.
                before = (time, packet)
                continue
            if before is not None:
                yield before
                before = None
            yield time, packet

    def cancel(self) -> None:
        """Ends a conversion that still runs, so that nobody waits for it any more; from any thread."""
        process = self._converting
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Closes the file, ends a conversion that still runs, removes what it wrote."""
        self.cancel()
        if self._converting is not None:
            self._converting.communicate()
            self._converting = None
        if self._container is not None:
            self._container.close()
            self._container = None
        with contextlib.suppress(OSError):
            self._scratch.unlink()

    def _demux(self, stream: Any) -> Iterator[Any]:
        assert self._container is not None
        if self.start > 2 and not self._jumps:
            # Before the cut by more than a packet; the packets in between are passed over.
            with contextlib.suppress(FFmpegError, OSError):
                offset = timestamps.to_ticks(self._shift - 2, Fraction(stream.time_base))
                self._container.seek(offset, stream=stream, backward=True)
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (FFmpegError, OSError) as error:
                logger.warning("%s: the sound breaks off (%s)", self.path, error)
                return
            if packet.size:
                yield packet

    def _start_converting(self, stream: Any, index: int) -> None:
        import imageio_ffmpeg

        try:
            ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise InputError(
                f"{self.path}: its sound must be converted, but there is no ffmpeg; reinstall imageio-ffmpeg or leave"
                " the sound out with --audio none"
            ) from error
        begin, length = self._shift, None if self.end is None else self.end - self.start
        # Gaps are filled with silence and the start is cut or padded to time 0 exactly, which the demuxer then finds.
        # Where the clock jumps back, what is joined is laid end to end.
        joined = "asetpts=STARTPTS+N/SR/TB," if self._jumps else ""
        cut = f"{joined}asetpts=PTS-({float(begin):.9f})/TB,aresample=async=1:min_hard_comp=0.1:first_pts=0"
        if length is not None:
            cut += f",atrim=end={float(length):.9f}"
        cut += _faster(self._tempo)
        command = [
            ffmpeg,
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-copyts",
            "-protocol_whitelist",
            "file",
            "-i",
            f"file:{self.path.absolute()}",
        ]
        command += ["-map", f"0:a:{index}", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-af", cut]
        if (stream.codec_context.channels or 0) > _MOST_CHANNELS:
            self.notes.append(
                f"{self.path.name}: {stream.codec_context.channels} channels of sound are mixed down to two"
            )
            command += ["-ac", "2"]
        coder, container = _CODERS[self._coding]
        command += ["-c:a", coder, "-b:a", _BIT_RATE, "-f", container, f"file:{self._scratch.absolute()}"]
        # Runs beside the first frames; whoever asks for the stream waits for it.
        self._converting = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def _finish_converting(self) -> None:
        assert self._converting is not None and self._container is not None
        _, said = self._converting.communicate()
        code, self._converting = self._converting.returncode, None
        if code != 0:
            lines = said.decode(errors="replace").strip().splitlines() or [f"ffmpeg ended with code {code}"]
            for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):  # of the output's disk, not of the sound
                if any(os.strerror(number) in line for line in lines):
                    raise OSError(number, os.strerror(number), str(self._scratch))
            raise InputError(
                f"{self.path}: its sound cannot be converted ({lines[-1]}); leave the sound out with --audio none"
            )
        if said:
            logger.warning("%s: parts of the sound are damaged", self.path)
        self._container.close()
        self._container = av.open(str(self._scratch.absolute()), "r", format=_CODERS[self._coding][1])
        # The conversion has cut it already.
        self._shift, self.start, self.end = Fraction(0), Fraction(0), None
        self.converted = True


class _Clock:
    """Moves packets to the output's clock, in ticks of one sample.

    Containers tick too coarsely for sound: Matroska in milliseconds, AVI in whole packets. Packets that follow each
    other without a gap are laid end to end, so that rounding neither tears nor shifts the sound.
    """

    def __init__(self, stream: Any, shift: Fraction, jumps: Sequence[Fraction] = ()) -> None:
        self._jumps, self._jumped, self._offset = list(jumps), 0, Fraction(0)
        context = stream.codec_context
        self._tick = Fraction(1, context.sample_rate)
        self._samples = int(context.frame_size or 0)
        self._shift = shift
        self._next: int | None = None
        self._last: int | None = None

    def __call__(self, packet: Any) -> Fraction | None:
        """Changes a packet's timestamps; returns its time in seconds. None where joined pieces overlap: it is left out,
        so that the pieces stay in step with their pictures.
        """
        base = Fraction(packet.time_base)
        pts = timestamps.to_ticks(packet.pts * base - self._shift + self._offset, self._tick)
        if self._last is not None and self._next is not None and pts < self._last - _JUMP / self._tick:
            pts = self._after_jump(packet.pts * base - self._shift)
        if self._jumped and self._next is not None and pts < self._next - (self._samples or 0) // 2:
            return None
        duration = timestamps.to_ticks((packet.duration or 0) * base, self._tick)
        if base != self._tick:
            duration = self._samples or duration
            slack = timestamps.to_ticks(min(base, Fraction(1, 1000)), self._tick) + 1
            if self._samples and self._next is not None and abs(pts - self._next) <= slack:
                pts = self._next
        if self._last is not None and pts <= self._last:  # a damaged stream; MP4 takes only increasing times
            pts = self._last + 1
        self._last, self._next = pts, pts + duration
        packet.time_base = self._tick
        packet.pts = packet.dts = pts
        packet.duration = duration
        return pts * self._tick

    def _after_jump(self, time: Fraction) -> int:
        """The clock jumped back: as far as the pictures were moved, or end to end where they were not."""
        assert self._next is not None
        end = self._next * self._tick
        self._offset = self._jumps[self._jumped] if self._jumped < len(self._jumps) else end - time
        self._jumped += 1
        return timestamps.to_ticks(time + self._offset, self._tick)


def _faster(tempo: Fraction) -> str:
    """FFmpeg's filters for a tempo: one of them goes between half and twice as fast."""
    made, left = "", float(tempo)
    while not 0.5 <= left <= 2:
        step = 0.5 if left < 0.5 else 2.0
        made, left = f"{made},atempo={step}", left / step
    return made if tempo == 1 else f"{made},atempo={left:.9f}"


def _best(container: InputContainer) -> Any:
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    if not streams:
        return None
    best = container.streams.best("audio")
    return best if best in streams else streams[0]


def _can_copy(stream: Any, coding: str) -> bool:
    name, rate = stream.codec_context.name, stream.codec_context.sample_rate
    if coding == "opus":
        return name in _COPIED_TO_WEBM
    return name in COPIED and rate >= (_LOWEST_MP3_RATE if name.startswith("mp3") else 1)
