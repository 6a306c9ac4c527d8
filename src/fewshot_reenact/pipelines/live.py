"""A portrait moved by a camera, at once: camera -> newest frame -> session -> window, recording, stream.

What is asked for is looked at, opened and loaded here; pipelines/live_show.py shows it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.inputs.given import Picture
from fewshot_reenact.inputs.grounds import TRANSPARENT
from fewshot_reenact.media.camera import Camera, Capture, open_camera
from fewshot_reenact.media.marks import NOTE
from fewshot_reenact.media.pictures import is_video
from fewshot_reenact.media.sender import StreamAddress, StreamSender
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.motion.live import SETTLE
from fewshot_reenact.pipelines.live_figures import LiveFigures
from fewshot_reenact.pipelines.live_recording import Recording
from fewshot_reenact.pipelines.live_show import LiveShow, Said
from fewshot_reenact.pipelines.live_window import LiveWindow, check_window
from fewshot_reenact.pipelines.options import AnimateOptions, plain
from fewshot_reenact.pipelines.session import Session

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
    for one in portrait if isinstance(portrait, list | tuple) else [portrait]:
        if isinstance(one, str | Path) and is_video(one):
            raise InputError(f"{one}: is a video; live moves a picture, and `reenact animate` a video")
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
    said = Said(tell)
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
        show = LiveShow(
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
    return _described(show, total, {**plain(given), **session.options.as_data()})


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


def _described(show: LiveShow, total: LiveFigures, settings: dict[str, Any]) -> LiveRun:
    recording, sender = show.recording, show.sender
    kept = recording is not None and recording.frames > 0
    height, width = (0, 0) if show.held is None else show.held.shape[:2]
    return LiveRun(
        frames=total.frames,
        dropped=total.dropped,
        seconds=total.seconds,
        fps=None if total.fps is None else round(total.fps, 2),
        median_ms=total.median_ms,
        late_ms=total.late_ms,
        width=width,
        height=height,
        camera=show.capture.camera.name,
        recording=recording.path if recording is not None and kept else None,
        recorded={"frames": recording.frames, "seconds": recording.seconds} if recording and kept else {},
        sent_to=None if sender is None else sender.address.shown,
        sent=0 if sender is None else sender.sent,
        watermark=show.session.watermark,
        warnings=show.said.lines,
        settings=settings,
        **show.session.about,
    )
