"""The loop of a live session. Frames are dropped, never queued: a thread keeps the camera's newest frame, and the loop
takes it when it has finished the one before. What is shown is recorded and sent at the camera's own times.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from fewshot_reenact.errors import ReenactError
from fewshot_reenact.media.camera import Capture, Shot
from fewshot_reenact.media.sender import StreamSender
from fewshot_reenact.pipelines.live_figures import LiveFigures, Meter
from fewshot_reenact.pipelines.live_recording import Recording
from fewshot_reenact.pipelines.live_window import LiveWindow, help_lines
from fewshot_reenact.pipelines.session import Session

_WAIT = 0.02  # seconds without a new frame, after which keys and a request to stop are looked at
_EVERY = 1.0  # seconds between two reports of the figures


class Said:
    """What the user is told: at once, and kept for the report."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.lines: list[str] = []
        self._tell = tell or (lambda line: None)

    def say(self, line: str) -> None:
        """One line."""
        self.lines.append(line)
        self._tell(line)

    def all(self, lines: Sequence[str]) -> None:
        """Several."""
        for line in lines:
            self.say(line)


class LiveShow:
    """The loop, and everything that it has open."""

    def __init__(
        self,
        *,
        session: Session,
        capture: Capture,
        window: LiveWindow | None,
        recording: Recording | None,
        sender: StreamSender | None,
        limits: tuple[int | None, float | None],
        figures: Callable[[LiveFigures], None] | None,
        said: Said,
    ) -> None:
        self.session, self.capture, self.window, self.said = session, capture, window, said
        self.recording, self.sender, self.limits = recording, sender, limits
        self.meter, self._figures = Meter(), figures or (lambda figures: None)
        self.paused = self.help = self.over = False
        self.held: np.ndarray | None = None
        self._began: float | None = None
        self._reported = time.perf_counter()

    def run(self, stop: threading.Event) -> LiveFigures:
        """Shows frames until there is a reason to end. Whatever it is, the recording is completed."""
        try:
            with contextlib.ExitStack() as stack:
                if self.sender is not None:
                    stack.callback(self.sender.close)
                if self.window is not None:
                    stack.enter_context(self.window)
                stack.enter_context(self.capture)
                self._loop(stop)
        except BaseException as error:
            if self._complete() and isinstance(error, ReenactError) and self.recording is not None:
                error.args = (f"{error}; what was recorded until then is kept in {self.recording.path}",)
            raise
        else:
            self._complete()
        return self.meter.figures(self.capture.dropped)

    def _loop(self, stop: threading.Event) -> None:
        while not (stop.is_set() or self.over):
            shot = self.capture.take(_WAIT)
            if shot is not None:
                self._step(shot)
            elif self.capture.ended:
                break
            elif self.window is not None:
                self._press(self.window.key())
            self._report()

    def _complete(self) -> bool:
        """When it is over, however: the recording gets its name, if there is one. Returns whether it has it."""
        try:
            kept = self.recording is not None and self.recording.finish()
            if self.recording is not None:
                self.said.all(self.recording.notes)
            return kept
        finally:
            self._figures(self.meter.figures(self.capture.dropped))
            self.session.close()

    def _step(self, shot: Shot) -> None:
        """One frame, from the camera to all who get its picture; the screen first."""
        most, seconds = self.limits
        self._began = shot.time if self._began is None else self._began
        if seconds is not None and shot.time - self._began >= seconds:
            self.over = True
            return
        fresh = not self.paused or self.held is None
        if fresh:
            self.held = self.session.frame(shot.picture, shot.time)
        assert self.held is not None
        key = None
        if self.window is not None:
            self.window.show(self.held, self._lines())
            key = self.window.key()  # only now it is seen
        if fresh:
            self.meter.shown(shot.taken, time.perf_counter())
        if self.recording is not None:
            self.recording.write(self.held, shot.time)
        if self.sender is not None:
            self.sender.send(self.held, shot.time)
        self.over = most is not None and self.meter.frames >= most
        self._press(key)

    def _report(self) -> None:
        """Once a second."""
        now = time.perf_counter()
        if now - self._reported >= _EVERY:
            self._reported = now
            self._figures(self.meter.figures(self.capture.dropped))

    def _press(self, key: str | None) -> None:
        if key == "q":
            self.over = True
        elif key == "h":
            self.help = not self.help
        elif key == "c":
            self.session.reset()
        elif key == "m":
            self.session.mirror(not self.session.options.mirror)
        elif key == "r" and self.recording is not None:
            self.recording.switch()
        elif key == "space":
            self.paused = not self.paused
            self.meter.pause()

    def _lines(self) -> list[str]:
        """What lies over the picture on the screen."""
        if self.help:
            return help_lines(self.recording is not None)
        lines = ["paused"] if self.paused else []
        return lines + (["not recording"] if self.recording is not None and not self.recording.on else [])
