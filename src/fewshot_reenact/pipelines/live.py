"""A portrait moved by a camera, at once: camera -> newest frame -> session -> window, recording, stream.

Frames are dropped, never queued: a thread keeps the camera's newest frame, and the loop takes it when it has finished
the one before. What is shown is recorded and sent with the camera's own times.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import ReenactError, UsageError
from fewshot_reenact.inputs.given import Picture
from fewshot_reenact.inputs.grounds import TRANSPARENT
from fewshot_reenact.media.camera import Camera, Capture, Shot, open_camera
from fewshot_reenact.media.marks import NOTE
from fewshot_reenact.media.sender import StreamAddress, StreamSender
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.motion.live import SETTLE
from fewshot_reenact.pipelines.live_figures import LiveFigures, Meter
from fewshot_reenact.pipelines.live_recording import Recording
from fewshot_reenact.pipelines.live_window import LiveWindow, check_window, help_lines
from fewshot_reenact.pipelines.options import AnimateOptions, plain
from fewshot_reenact.pipelines.session import Session

_WAIT = 0.02  # seconds without a new frame, after which keys and a request to stop are looked at
_EVERY = 1.0  # seconds between two reports of the figures
# What concerns drivers that are files, or outputs with transparency.
_NOT_LIVE = ("start", "end", "fps", "compare", "full_size")
_TAGS = {"comment": NOTE, "title": NOTE, "service_name": NOTE, "service_provider": "fewshot-reenact"}


@dataclass
class LiveRun:
    """What was shown, and how.

    frames: shown. dropped: that the camera took and nobody saw, since the session was not ready for them. seconds,
    fps, median_ms, late_ms: see LiveFigures. width, height: of the picture. camera: its name. recording: the file, None
    without one. recorded: frames and seconds in it. sent_to: the address without its secrets. sent: pictures sent
    there. device, model, model_sha256: see Session.about. warnings: lines that the user should see. settings: every
    option as it was used. watermark: the id in the pictures.
    """

    frames: int
    dropped: int
    seconds: float
    fps: float | None
    median_ms: float | None
    late_ms: float | None
    width: int
    height: int
    camera: str
    recording: Path | None
    recorded: dict[str, float]
    sent_to: str | None
    sent: int
    device: str
    model: str
    model_sha256: str
    watermark: str
    warnings: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        recording = None if self.recording is None else str(self.recording)
        return {
            "schema": "fewshot-reenact/live/1",
            "version": __version__,
            **asdict(self),
            "recording": recording,
        }


def live(
    portrait: Picture | Sequence[Picture],
    options: AnimateOptions | None = None,
    *,
    camera: int | str | Path = 0,
    window: bool = True,
    record: str | Path | None = None,
    to: str | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    calibrate: float | Picture = SETTLE,
    overwrite: bool = False,
    any_size: bool = False,
    stop: threading.Event | None = None,
    figures: Callable[[LiveFigures], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> LiveRun:
    """Move a portrait by a camera, and show, record or send it while it happens.

    portrait, options, calibrate: see Session. The label is always in the picture, and there is no transparency.
    camera: the index of a camera, or a video file, which is played in real time.
    window: show it in a window, whose key h says which keys there are; only in the main thread.
    record: a file (.mp4, .m4v, .mov), marked and signed as an output of animate; without sound.
    to: udp://HOST:PORT or rtmp://HOST/APPLICATION/KEY, where the pictures are sent, unencrypted.
    frames, seconds: when to end. Otherwise it ends with the file, the window (key q) or `stop`.
    overwrite: replace a file that exists. any_size: take camera files of any size.
    stop: ends it when it is set, by another thread or a signal's handler.
    figures: called once a second, and at the end. tell: called with each line that the user should see, at once.

    Returns a LiveRun. Raises UsageError, InputError (no camera, or one that is lost while it is used), ModelError.
    Whatever ends it, what was recorded until then is completed and kept. Frames are dropped, never queued.

    Example:

        from fewshot_reenact import live

        made = live("portrait.jpg", camera="driver.mp4", window=False, record="live.mp4", seconds=0.4)
        print(made.recording, made.warnings)
    """
    options = _checked(options or AnimateOptions())
    if not window and record is None and to is None and frames is None and seconds is None:
        raise UsageError(
            "without a window nobody would see anything, and nothing would end it: use --record, --to, --frames or "
            "--seconds"
        )
    if (frames is not None and frames < 1) or (seconds is not None and not seconds > 0):
        raise UsageError("frames and seconds, after which it ends, are above zero")
    address = None if to is None else StreamAddress.parse(to)
    output = None if record is None else VideoWriter.check_output(record, overwrite)
    if window:
        check_window()
    said = _Said(tell)
    with contextlib.ExitStack() as stack:
        opened = open_camera(camera, any_size)
        stack.callback(opened.close)
        session = stack.enter_context(Session(portrait, options, calibrate=calibrate))
        looked_at = [calibrate] if isinstance(calibrate, str | Path) else []
        recording = None if output is None else _recording(output, session, opened, looked_at, overwrite)
        session.frame(opened.first())  # what is loaded late is loaded now
        session.reset()
        said.all(session.notes)
        if address is not None:
            said.say(_sends(address))
        show = _Show(
            session=session,
            capture=Capture(opened),
            window=LiveWindow() if window else None,
            recording=recording,
            sender=None if address is None else StreamSender(address, _TAGS),
            limits=(frames, seconds),
            figures=figures,
            said=said,
        )
        stack.pop_all()  # the show gives back what it has
    total = show.run(stop or threading.Event())
    given = {"camera": camera, "window": window, "record": record, "frames": frames, "seconds": seconds}
    given["calibrate"] = calibrate if isinstance(calibrate, int | float | str | Path) else "a picture"
    return show.describe(total, {**plain(given), **session.options.as_data()})


def _checked(options: AnimateOptions) -> AnimateOptions:
    """Raises UsageError for what live pictures cannot do or be without."""
    if not options.label:
        raise UsageError("the label cannot be left out of live pictures; RESPONSIBLE_USE.md says why")
    if options.background is not None and options.background.strip().lower() == TRANSPARENT:
        raise UsageError("live pictures cannot be transparent; --background green gives a mixer a colour to key")
    for name in _NOT_LIVE:
        if getattr(options, name) != AnimateOptions.default(name):
            raise UsageError(f"{name} is of drivers and outputs that are files; live has none of it")
    return options


def _recording(
    output: Path, session: Session, camera: Camera, more: Sequence[str | Path], overwrite: bool
) -> Recording:
    """more: files that are inputs too, beside the session's and the camera's."""
    inputs = [*session.inputs, *more, *([] if camera.path is None else [camera.path])]
    marks = session.file_marks(camera.path)
    return Recording(output, camera.fps, marks, inputs=inputs, overwrite=overwrite)


def _sends(address: StreamAddress) -> str:
    where = "to a program on this machine" if address.here else "over the network, unencrypted"
    return f"the pictures are sent {where}: {address.shown}"


class _Said:
    """What the user is told: at once, and kept for the report."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.lines: list[str] = []
        self._tell = tell or (lambda line: None)

    def say(self, line: str) -> None:
        self.lines.append(line)
        self._tell(line)

    def all(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.say(line)


class _Show:
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
        said: _Said,
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

    def describe(self, total: LiveFigures, settings: dict[str, Any]) -> LiveRun:
        """What was shown, when it is over."""
        recording, sender = self.recording, self.sender
        kept = recording is not None and recording.frames > 0
        height, width = (0, 0) if self.held is None else self.held.shape[:2]
        return LiveRun(
            frames=total.frames,
            dropped=total.dropped,
            seconds=total.seconds,
            fps=None if total.fps is None else round(total.fps, 2),
            median_ms=total.median_ms,
            late_ms=total.late_ms,
            width=width,
            height=height,
            camera=self.capture.camera.name,
            recording=recording.path if recording is not None and kept else None,
            recorded={"frames": recording.frames, "seconds": recording.seconds} if recording and kept else {},
            sent_to=None if sender is None else sender.address.shown,
            sent=0 if sender is None else sender.sent,
            watermark=self.session.watermark,
            warnings=self.said.lines,
            settings=settings,
            **self.session.about,
        )

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
