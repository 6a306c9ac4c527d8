"""Packets of pictures and of sound into one video file, in the order of time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

from fewshot_reenact.media.audio import Sound
from fewshot_reenact.media.codings import Coding

logger = logging.getLogger(__name__)

_ONE_THREAD_UP_TO = 1280 * 1280  # pixels; larger pictures are shared among all cores


class Muxer:
    """A file of one video stream, see `add_video`, and perhaps sound.

    tags: of the container. Setting `stop`, from any thread, ends the sound in the middle.
    """

    def __init__(self, path: Path, coding: Coding, tags: dict[str, str], sound: Sound | None = None) -> None:
        self._coding, self._sound = coding, sound
        self._packets: Iterator[tuple[Fraction, Any]] = iter(())
        self._next: tuple[Fraction, Any] | None = None
        self._sound_stream: Any = None
        self._sound_damaged = False
        self._started = False
        self._held: Any = None
        self.stop = False
        self._container: OutputContainer = av.open(str(path), "w", format=coding.container, options=dict(coding.flags))
        self._container.metadata.update(tags)

    def add_video(self, width: int, height: int, time_base: Fraction, fps: Fraction) -> Any:
        """The video's stream, which encodes pictures of even sizes."""
        coding = self._coding
        stream: Any = self._container.add_stream(coding.codec, rate=fps, options=dict(coding.options))
        stream.width, stream.height, stream.pix_fmt = width, height, coding.pixels
        context = stream.codec_context
        context.time_base = stream.time_base = time_base
        context.thread_count = 1 if width * height <= _ONE_THREAD_UP_TO and not coding.transparent else 0
        context.colorspace, context.color_range = 1, 1  # BT.709, limited: what every player assumes or is told
        context.color_primaries, context.color_trc = 1, 1
        return stream

    def add_copy(self, template: Any, time_base: Fraction) -> Any:
        """The video's stream for packets that were encoded by `add_video` for another file, of which this is the
        stream.
        """
        stream: Any = self._container.add_stream_from_template(template)
        stream.time_base = time_base
        if template.codec_context.codec_tag != "\0\0\0\0":
            stream.codec_context.codec_tag = template.codec_context.codec_tag
        stream.metadata.update({k: v for k, v in template.metadata.items() if k == "alpha_mode"})
        return stream

    def put(self, packet: Any) -> None:
        """The next packet of the video, with its stream, times and duration."""
        # A packet waits for the next, because MP4 derives a frame's duration from where the next one begins; only the
        # last frame's own duration counts.
        self._put_held()
        self._held = packet

    def finish(self) -> None:
        """The last packet and the rest of the sound; the file is complete after `close`."""
        self._put_held()
        self._put_sound(None)

    def close(self) -> None:
        """Completes the file as it is."""
        self._container.close()

    def _put_held(self) -> None:
        packet, self._held = self._held, None
        if packet is None:
            return
        time = packet.pts * Fraction(packet.time_base)
        self._begin()
        self._container.mux(packet)
        self._put_sound(time)

    def _begin(self) -> None:
        if self._started:
            return
        self._started = True
        if self._sound is not None and self._sound.available:
            self._packets = self._sound.packets()
            self._next = next(self._packets, None)
            if self._next is not None:  # sound may end before a cut begins; an empty track would confuse players
                self._sound_stream = self._container.add_stream_from_template(self._sound.stream)

    def _put_sound(self, until: Fraction | None) -> None:
        """Sound up to a time, all of it for None: little by little, so that neither waits in memory for the other."""
        while self._next is not None and not self.stop and (until is None or self._next[0] <= until):
            packet = self._next[1]
            packet.stream = self._sound_stream
            try:
                self._container.mux(packet)
            except ValueError:
                # FFmpeg calls the packet invalid, not the disk full: a damaged bit of sound must not cost the video.
                if not self._sound_damaged:
                    logger.warning("parts of the sound are damaged and left out")
                self._sound_damaged = True
            self._next = next(self._packets, None)
