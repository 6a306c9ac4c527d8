"""Who has the page open: what each has put in and made, what is being done for them, and what they may ask for."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fewshot_reenact.app.faces import faces_in
from fewshot_reenact.checks.files import check
from fewshot_reenact.errors import ReenactError, UsageError
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.motion.builtins import PREFIX
from fewshot_reenact.pipelines.animate import Animation
from fewshot_reenact.pipelines.finetune import finetune
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.pipelines.session import Session
from fewshot_reenact.pipelines.sessions import Sessions
from fewshot_reenact.progress import Progress
from fewshot_reenact.provenance.report import in_words
from fewshot_reenact.provenance.verify import MarkReport, verify

Tell = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and what is being done."""

_STAGES = {
    "portrait": "measuring the portrait", "driver": "measuring the driver", "render": "rendering",
    "frames": "reading the pictures", "steps": "fitting the networks",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for. upload_mb: of one file. seconds: of a driver. portraits: pictures of one person."""

    upload_mb: int = 2000
    seconds: float = 600.0
    portraits: int = 32

    def check(self, portraits: Sequence[str], driver: str, options: AnimateOptions) -> None:
        """Raises UsageError: more than that."""
        self.check_pictures(len(portraits), "portraits")
        if not DriverSource.parse(driver).is_video:
            return
        with VideoReader(driver) as reader:
            length = float(reader.info.duration or 0)
        length = min(length, (options.end or length)) - (options.start or 0.0)
        if length > self.seconds:
            raise UsageError(f"the driver lasts {length:.0f} s: this page takes {self.seconds:g} s; set start and end")

    def check_pictures(self, count: int, what: str) -> None:
        """Raises UsageError: too many of one person."""
        if count > self.portraits:
            raise UsageError(f"{count} {what}: this page takes {self.portraits}; put in fewer")


class Stopped(ReenactError):
    """The visitor did not want to wait."""


class Visitor:
    """One open page. folder: what is made for it. One thing is done at a time; `stop` ends it."""

    def __init__(self, folder: Path, limits: Limits, sessions: Sessions, turn: threading.Lock) -> None:
        self.folder, self.limits = folder, limits
        self._sessions, self._turn, self._stop = sessions, turn, threading.Event()
        self._live: tuple[str, Session] | None = None
        self._put_in: set[Path] = set()

    def stop(self) -> None:
        """What is being done ends as soon as it can, and leaves nothing."""
        self._stop.set()

    def make_video(
        self,
        portraits: Sequence[str] | None,
        video: str | None,
        builtin: str,
        options: AnimateOptions,
        *,
        agreed: bool = True,
        tell: Tell = lambda share, what: None,
    ) -> tuple[str, str, str]:
        """Animate what was put in. Returns the video's path, what is to be said of it, and what verify says.

        video: the driver; without one the built-in motion of this name. agreed: to the rules. Raises ReenactError as
        animate does, UsageError when there is no portrait or no consent, Stopped.
        """
        if not portraits:
            raise UsageError("give a portrait: a picture with a face")
        self._agreed(agreed, options.consent or "")
        driver = video or f"{PREFIX}{builtin}"
        if DriverSource.parse(driver).is_still:
            raise UsageError("a picture as the driver makes a picture: the page makes videos; use reenact animate")
        self.limits.check(portraits, driver, options)
        self._remember([*portraits, *([video] if video else [])])
        self._stop.clear()
        tell(0.0, "waiting for its turn")
        with self._turn:
            made = self._animate(list(portraits), driver, options, tell)
        lines = [f"{made.frames} frames, {made.width}x{made.height}, {made.seconds['all']:.1f} s on {made.device}"]
        return str(made.output), "\n".join([*lines, *made.warnings]), look_for_marks(str(made.output))

    def _agreed(self, agreed: bool, consent: str) -> None:
        if not agreed or not consent.strip():
            raise UsageError("tick the box, and write how the person shown agreed: both go before the first video")

    def _progress(self, tell: Tell) -> Progress:
        """What tells how far it is, and ends it where it is to be stopped."""

        def progress(stage: str, done: int, total: int | None) -> None:
            if self._stop.is_set():
                raise Stopped("stopped; nothing is left of it")
            tell(done / total if total else 0.0, _STAGES[stage])

        return progress

    def _animate(self, portraits: list[str], driver: str, options: AnimateOptions, tell: Tell) -> Animation:
        name = f"{Path(portraits[0]).stem}--{Path(driver.removeprefix(PREFIX)).stem}"
        suffix = ".mov" if options.background == "transparent" else ".mp4"
        output = Path(tempfile.mkdtemp(dir=self.folder)) / f"{name}{suffix}"
        session = self._sessions.open(portraits, replace(options, keep_going=False))  # the next output is another file
        return session.animate(driver, output, progress=self._progress(tell))

    def fit_person(
        self,
        pictures: Sequence[str] | None,
        consent: str,
        *,
        agreed: bool = True,
        tell: Tell = lambda share, what: None,
    ) -> tuple[str, str]:
        """Fine-tune to a person. Returns the person's file, a portrait from then on, and what is to be said of it.
        Raises ReenactError as finetune does; see make_video.
        """
        if not pictures:
            raise UsageError("give some pictures of one person, or a video")
        self._agreed(agreed, consent)
        self.limits.check_pictures(len(pictures), "pictures")
        self._remember(pictures)
        output = Path(tempfile.mkdtemp(dir=self.folder)) / f"{Path(pictures[0]).stem}.safetensors"
        self._stop.clear()
        with self._turn:
            made = finetune(list(pictures), output, consent=consent, progress=self._progress(tell))
        lines = [f"{made.frames} frames, {made.steps} steps, {made.seconds:.0f} s"]
        return str(output), "\n".join([*lines, *made.warnings])

    def live(self, portrait: str | None, picture: np.ndarray | None, mirror: bool) -> np.ndarray | None:
        """What the portrait does for one picture of a camera, (H, W, 3) uint8; None without both. The label stays."""
        if portrait is None or picture is None:
            self.end_live()
            return None
        if self._live is None or self._live[0] != portrait:
            self.end_live()
            self._remember([portrait])
            self._live = portrait, Session(portrait, AnimateOptions(mirror=mirror, dense=False))
        session = self._live[1]
        if session.options.mirror != mirror:
            session.mirror(mirror)
        return session.frame(picture)

    def end_live(self) -> None:
        """The camera is off."""
        if self._live is not None:
            self._live[1].close()
            self._live = None

    def _remember(self, files: Sequence[str]) -> None:
        self._put_in |= {Path(file) for file in files}

    def close(self, beneath: Path) -> None:
        """The page was closed: what is being done ends, and what was made and put in, `beneath` that folder, goes."""
        self.stop()
        self.end_live()
        shutil.rmtree(self.folder, ignore_errors=True)
        for file in self._put_in:
            if file.is_relative_to(beneath):  # never an example of the package, nor a file named in some other way
                file.unlink(missing_ok=True)


class Visitors:
    """All of them, by the name of their page's session. folder: holds everything."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder, self.limits = folder, limits or Limits()
        self._known: dict[str, Visitor] = {}
        self._sessions, self._turn, self._lock = Sessions(), threading.Lock(), threading.Lock()
        self._backend: LandmarkBackend | None = None

    def of(self, name: str | None) -> Visitor:
        """The visitor of this name, new or known."""
        with self._lock:
            key = name or ""
            if key not in self._known:
                folder = Path(tempfile.mkdtemp(prefix="visitor-", dir=self.folder))
                self._known[key] = Visitor(folder, self.limits, self._sessions, self._turn)
            return self._known[key]

    def several_faces(self, files: Sequence[str] | None) -> tuple[np.ndarray, list[tuple[int, int, int, int]]] | None:
        """Of the first picture, where more than one face is in it; see faces_in."""
        if not files:
            return None
        with self._lock:
            self._backend = self._backend or BuiltinLandmarks()
            return faces_in(files[0], self._backend)

    def leave(self, name: str | None) -> None:
        """The visitor's page was closed."""
        with self._lock:
            visitor = self._known.pop(name or "", None)
        if visitor is not None:
            visitor.close(self.folder)

    def close(self) -> None:
        """The page is served no more."""
        for name in list(self._known):
            self.leave(name)
        self._sessions.close()


def look_at(files: Sequence[str] | str | None, folder: Path | None = None) -> tuple[str, str | None]:
    """What `reenact check` says of files, before anything is made of them, and a picture of what it saw, in `folder`;
    None: no picture.
    """
    given = [files] if isinstance(files, str) else files
    if not given:
        return "", None
    picture = None if folder is None else Path(tempfile.mkdtemp(dir=folder)) / "seen.jpg"
    reports = check([Path(file) for file in given], picture=picture)
    words = "\n\n".join(replace(report, file=Path(report.file).name).in_words() for report in reports)
    return words, str(picture) if picture is not None and picture.is_file() else None


def look_for_marks(files: Sequence[str] | str | None) -> str:
    """What `reenact verify` says of files."""
    given = [files] if isinstance(files, str) else files
    if not given:
        return ""
    return "\n".join(line for one in verify(list(given)) for line in in_words(_without_folders(one)))


def _without_folders(found: MarkReport) -> MarkReport:
    """The same with files' names alone: where they lie on this machine is not the visitors' business."""
    watermark = found.watermark
    if watermark is not None and watermark.known is not None:
        known = replace(watermark.known, file=Path(watermark.known.file).name)
        watermark = replace(watermark, known=known)
    return replace(found, name=Path(found.name).name, watermark=watermark)
