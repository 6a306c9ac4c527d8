"""Frames and sound into one video file, on a thread of its own beside the network that makes the frames."""

from __future__ import annotations

import contextlib
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from fewshot_reenact.media.audio import Sound
from fewshot_reenact.media.codings import Coding
from fewshot_reenact.media.muxer import Muxer

# Frames waiting for the encoder: enough to even out a slow frame, little enough to keep memory flat.
_WAITING = 8


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
        self._coding, self._time_base = coding, time_base
        self._error: BaseException | None = None
        self._stop = False
        # Even sizes for 4:2:0 colour: the last column or row is repeated, at most one pixel more.
        self._pad = (height % 2, width % 2)
        self._durations: dict[int, int] = {}
        self._muxer = Muxer(partial, coding, tags, sound)
        try:
            self._stream = self._muxer.add_video(width + self._pad[1], height + self._pad[0], time_base, fps)
        except BaseException:
            self._muxer.close()
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
        self._muxer.close()

    def abort(self) -> None:
        """Stops at once; the file is not complete."""
        self._stop = self._muxer.stop = True
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join()
        with contextlib.suppress(Exception):
            self._muxer.close()

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
                self._muxer.finish()
        except BaseException as error:
            self._error = error

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._muxer.put(packet)
