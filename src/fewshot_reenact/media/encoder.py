"""Frames and sound into one video file, on a thread of its own beside the network that makes the frames."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from fewshot_reenact.media.audio import Sound
from fewshot_reenact.media.codings import Coding

logger = logging.getLogger(__name__)

# Frames waiting for the encoder: enough to even out a slow frame, little enough to keep memory flat.
_WAITING = 8
_ONE_THREAD_UP_TO = 1280 * 1280  # pixels; larger pictures are shared among all cores


class Encoder:
    """Encodes frames in the order of `put`, which blocks while `_WAITING` are waiting and raises what went wrong.

    B-frames are off: display order is then coding order, and the file's timestamps are the driver's own, with no edit
    list that a player may ignore. It costs 15 to 30 % in size and saves as much time.
    """

    def __init__(
        self,
        partial: Path,
        coding: Coding,
        width: int,
        height: int,
        time_base: Fraction,
        fps: Fraction,
        tags: dict[str, str],
        sound: Sound | None,
    ) -> None:
        self._sound, self._coding = sound, coding
        self._packets: Iterator[tuple[Fraction, Any]] = iter(())
        self._next: tuple[Fraction, Any] | None = None
        self._sound_stream: Any = None
        self._sound_damaged = False
        self._started = False
        self._time_base = time_base
        self._held: Any = None
        self._error: BaseException | None = None
        self._stop = False
        # Even sizes for 4:2:0 colour: the last column or row is repeated, at most one pixel more.
        self._pad = (height % 2, width % 2)
        self._durations: dict[int, int] = {}
        self._container: OutputContainer = av.open(
            str(partial), "w", format=coding.container, options=dict(coding.flags)
        )
        try:
            self._container.metadata.update(tags)
            stream: Any = self._container.add_stream(coding.codec, rate=fps, options=dict(coding.options))
            stream.width, stream.height = width + self._pad[1], height + self._pad[0]
            stream.pix_fmt = coding.pixels
            context = stream.codec_context
            context.time_base = time_base
            stream.time_base = time_base
            context.thread_count = 1 if width * height <= _ONE_THREAD_UP_TO and not coding.transparent else 0
            context.colorspace, context.color_range = 1, 1  # BT.709, limited: what every player assumes or is told
            context.color_primaries, context.color_trc = 1, 1
            self._stream = stream
        except BaseException:
            self._container.close()
            raise
        self._queue: queue.Queue[tuple[VideoFrame, int] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    def put(self, picture: NDArray[np.uint8], pts: int, duration: int) -> None:
        """Hands over a picture (H, W, 3 or 4) uint8 (copied), shown at `pts` for `duration` ticks."""
        if any(self._pad):
            picture = np.pad(picture, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(
            np.ascontiguousarray(picture), format="rgba" if self._coding.transparent else "rgb24"
        )
        frame.pts, frame.time_base = pts, self._time_base
        self._hand_over((frame, duration))

    def finish(self) -> None:
        """Encodes what is waiting, adds the rest of the sound and completes the file."""
        self._hand_over(None)
        self._thread.join()
        self._raise()
        self._container.close()

    def abort(self) -> None:
        """Stops at once; the file is not complete."""
        self._stop = True
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join()
        with contextlib.suppress(Exception):
            self._container.close()

    def _hand_over(self, item: tuple[VideoFrame, int] | None) -> None:
        while True:
            self._raise()
            try:
                # Waits in short steps, because an encoder that failed takes nothing from the queue any more.
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop:
                item = self._queue.get()
                if item is None:
                    break
                frame, duration = item
                pts = frame.pts or 0
                self._durations[pts] = duration
                converted = frame.reformat(format=self._coding.pixels, dst_colorspace=1)
                converted.pts, converted.time_base = pts, self._time_base
                self._mux(self._stream.encode(converted))
            if not self._stop:
                self._mux(self._stream.encode(None))
                self._mux_held()
                self._mux_sound(None)
        except BaseException as error:
            self._error = error

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            # A packet waits for the next, because MP4 derives a frame's duration from where the next one begins; only
            # the last frame's own duration counts.
            self._mux_held()
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._held = packet

    def _mux_held(self) -> None:
        packet, self._held = self._held, None
        if packet is None:
            return
        time = packet.pts * Fraction(packet.time_base)
        self._begin()
        self._container.mux(packet)
        self._mux_sound(time)

    def _begin(self) -> None:
        if self._started:
            return
        self._started = True
        if self._sound is not None and self._sound.available:
            self._packets = self._sound.packets()
            self._next = next(self._packets, None)
            if self._next is not None:  # sound may end before a cut begins; an empty track would confuse players
                self._sound_stream = self._container.add_stream_from_template(self._sound.stream)

    def _mux_sound(self, until: Fraction | None) -> None:
        """Sound up to a time, all of it for None: little by little, so that neither waits in memory for the other."""
        while self._next is not None and not self._stop and (until is None or self._next[0] <= until):
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
