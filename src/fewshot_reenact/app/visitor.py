"""One who has the page open: what they have put in and made, and what is being done for them."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact.app.comparison import compare
from fewshot_reenact.app.findings import look_at, look_for_marks
from fewshot_reenact.app.form import files_of
from fewshot_reenact.app.terms import Limits, Offer
from fewshot_reenact.errors import ReenactError, UsageError
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.media.pictures import write_picture
from fewshot_reenact.motion.builtins import PREFIX
from fewshot_reenact.pipelines.animate import Animation
from fewshot_reenact.pipelines.animate_steps import driver_source, output_kinds
from fewshot_reenact.pipelines.finetune import finetune
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.pipelines.session import Session
from fewshot_reenact.pipelines.sessions import Sessions
from fewshot_reenact.progress import Progress

Tell = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and what is being done."""

_STAGES = {
    "portrait": "measuring the portrait", "driver": "measuring the driver", "render": "rendering",
    "frames": "reading the pictures", "steps": "fitting the networks", "compare": "putting the driver beside it",
}  # fmt: skip
_LIVE_KEPT = 8  # pictures of the camera's portrait, of which the browser still fetches some
_SURE = 2.0  # seconds, after which the time left is said


class Stopped(ReenactError):
    """The visitor did not want to wait."""


@dataclass(frozen=True)
class Made:
    """What a visitor gets. output: a video, or a picture where the driver is one. comparison: HTML with the driver
    beside it, or "". said: what was done. marks: what verify says of it. report: a file of what was done, as JSON.
    """

    output: Path
    is_picture: bool
    comparison: str
    said: str
    marks: str
    report: Path


class Visitor:
    """One open page. folder: of what is made for it. put_in: its files. One thing is done at a time; `stop` ends it."""

    def __init__(
        self, folder: Path, limits: Limits, sessions: Sessions, turn: threading.Lock, offer: Offer | None = None
    ) -> None:
        self.folder, self.limits, self.offer = folder, limits, offer or Offer()
        self._sessions, self._turn, self._stop = sessions, turn, threading.Event()
        self._live: tuple[str, Session] | None = None
        self._shown: list[Path] = []
        self.put_in: set[Path] = set()
        self._gone = False

    def stop(self) -> None:
        """What is being done ends as soon as it can, and leaves nothing."""
        self._stop.set()

    def animate(
        self,
        portraits: Sequence[str] | None,
        driver: str | None,
        builtin: str,
        options: AnimateOptions,
        *,
        agreed: bool = True,
        tell: Tell = lambda share, what: None,
    ) -> Made:
        """Animate what was put in.

        driver: a video, a motion file, or a picture whose pose is taken; without one the built-in motion of this name.
        agreed: to the rules. Raises ReenactError as animate does, UsageError when there is no portrait or no consent,
        Stopped.
        """
        if not portraits:
            raise UsageError("give a portrait: a picture with a face")
        self._agreed(agreed, options.consent or "")
        given = driver or f"{PREFIX}{builtin}"
        self.remember([*portraits, *([driver] if driver else []), *files_of(options)])
        self.limits.check(portraits, given, options)
        self._stop.clear()
        tell(0.0, "waiting for its turn")
        with self._turn:
            return self._animate(list(portraits), given, self.offer.marked(options), self._progress(tell))

    def _agreed(self, agreed: bool, consent: str) -> None:
        if not agreed or not consent.strip():
            raise UsageError("tick the box, and write how the person shown agreed: both go before the first video")

    def _progress(self, tell: Tell) -> Progress:
        """What tells how far it is and how long it takes, and ends it where it is to be stopped."""
        now, begun = "", 0.0

        def progress(stage: str, done: int, total: int | None) -> None:
            nonlocal now, begun
            if self._stop.is_set():
                raise Stopped("stopped; nothing is left of it")
            if stage != now:
                now, begun = stage, time.monotonic()
            share = done / total if total else 0.0
            tell(share, _STAGES[stage] + _left(share, time.monotonic() - begun))

        return progress

    def _animate(self, portraits: list[str], driver: str, options: AnimateOptions, progress: Progress) -> Made:
        source = driver_source(driver, options)
        suffix = output_kinds(source.is_still, options.background == "transparent")[0]
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            session = self._sessions.open(
                portraits, replace(options, keep_going=False)
            )  # the next output is another file
            output = folder / f"{Path(portraits[0]).stem}--{source.name}{suffix}"
            made = session.animate(driver, output, progress=progress)
            comparison, notes = self._compare(made, portraits, source, options, progress)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        frames = "" if source.is_still else f"{made.frames} frames, "
        lines = [f"{frames}{made.width}x{made.height}, {made.seconds['all']:.1f} s on {made.device}"]
        said = self.nameless("\n".join([*lines, *made.warnings, *notes]))
        marks = look_for_marks(str(made.output), self.offer.watermark_key)
        return Made(made.output, source.is_still, comparison, said, marks, self._report(made))

    def _report(self, made: Animation) -> Path:
        """A file of what `--json` writes, without this machine's folders."""
        path = made.output.with_suffix(".json")
        told = _each_text(made.report(), self.nameless)
        path.write_text(json.dumps(told, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        return path

    def nameless(self, text: str) -> str:
        """See Offer.nameless."""
        return self.offer.nameless(text, self.folder.parent)

    def _compare(
        self, made: Animation, portraits: list[str], source: DriverSource, options: AnimateOptions, progress: Progress
    ) -> tuple[str, list[str]]:
        """HTML with the driver beside the output, and what is to be said of it. Raises Stopped."""
        if options.compare or options.background == "transparent":  # it is beside it already; browsers show no ProRes
            return "", []
        try:
            return compare(made, portraits, source, self.folder, lambda n: progress("compare", n, made.frames)), []
        except Stopped:
            raise
        except ReenactError as error:
            return "", [f"without the driver beside it: {error}"]

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
        self.remember(pictures)
        self.limits.check_pictures(len(pictures), "pictures")
        for path in pictures:
            self.limits.check_length(path, "the video")
        output = Path(tempfile.mkdtemp(dir=self.folder)) / f"{Path(pictures[0]).stem}.safetensors"
        self._stop.clear()
        with self._turn:
            made = finetune(list(pictures), output, consent=consent, progress=self._progress(tell))
        lines = [f"{made.frames} frames, {made.steps} steps, {made.seconds:.0f} s"]
        return str(output), "\n".join([*lines, *made.warnings])

    def look_at(self, files: Sequence[str] | str | None) -> tuple[str, str | None]:
        """See the function of this name. Raises Stopped: the visitor has left; UsageError: too many files."""
        given = [files] if isinstance(files, str) else list(files or [])
        self.remember(given)
        self.limits.check_pictures(len(given), "files")
        return look_at(given, self.folder, self._while_here)

    def _while_here(self, stage: str, done: int, total: int | None) -> None:  # noqa: ARG002
        """A Progress that ends what nobody waits for any more."""
        if self._gone:
            raise Stopped("the page was closed")

    def look_for_marks(self, files: Sequence[str] | None) -> str:
        """See the function of this name. Raises UsageError: too many files."""
        self.remember(files or [])
        self.limits.check_pictures(len(files or []), "files")
        return look_for_marks(files, self.offer.watermark_key)

    def show(self, picture: np.ndarray, name: str = "shown") -> Path:
        """A file of a picture, (H, W, 3) uint8 RGB, that goes when this visitor does."""
        path = Path(tempfile.mkdtemp(dir=self.folder)) / f"{name}.jpg"
        write_picture(path, picture, False)
        return path

    def live(self, portrait: str | None, picture: np.ndarray | None, mirror: bool) -> Path | None:
        """What the portrait does for one picture of a camera, a file; None without both. The label stays, and the file
        of a while ago goes.
        """
        if portrait is None or picture is None:
            self.end_live()
            return None
        if self._live is None or self._live[0] != portrait:
            self.end_live()
            self.remember([portrait])
            options = self.offer.marked(AnimateOptions(mirror=mirror, dense=False))
            self._live = portrait, Session(portrait, options)
        session = self._live[1]
        if session.options.mirror != mirror:
            session.mirror(mirror)
        self._shown.append(self.show(session.frame(picture), "live"))
        for old in self._shown[:-_LIVE_KEPT]:
            shutil.rmtree(old.parent, ignore_errors=True)
        del self._shown[:-_LIVE_KEPT]
        return self._shown[-1]

    def end_live(self) -> None:
        """The camera is off."""
        if self._live is not None:
            self._live[1].close()
            self._live = None

    def remember(self, files: Sequence[str]) -> None:
        """They were put in by this visitor, and go with them."""
        self.put_in |= {Path(file) for file in files}

    def close(self, beneath: Path, others: Collection[Path] = ()) -> None:
        """The page was closed: what is being done ends, and what was made and put in, `beneath` that folder, goes.
        others: what other visitors have put in too: the same file lies there once.
        """
        self._gone = True
        self.stop()
        self.end_live()
        shutil.rmtree(self.folder, ignore_errors=True)
        for file in self.put_in.difference(others):
            if file.is_relative_to(beneath):  # never an example of the package, nor a file named in some other way
                file.unlink(missing_ok=True)


def _each_text(data: Any, change: Callable[[str], str]) -> Any:
    """Plain data with each text in it changed."""
    if isinstance(data, dict):
        return {name: _each_text(value, change) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_each_text(value, change) for value in data]
    return change(str(data)) if isinstance(data, str | Path) else data


def _left(share: float, seconds: float) -> str:
    """How long a stage still takes, if it has gone on long enough to know."""
    if not 0 < share < 1 or seconds < _SURE:
        return ""
    left = seconds * (1 - share) / share
    return f", {left:.0f} s left" if left < 100 else f", {left / 60:.0f} min left"
