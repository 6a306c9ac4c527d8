"""One portrait, many uses: networks and portrait are loaded once; frames as arrays, streams and whole drivers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fewshot_reenact.errors import UsageError
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.given import Picture, Shelf
from fewshot_reenact.inputs.grounds import Ground
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.selection import find_face
from fewshot_reenact.landmarks.tracker import Tracker
from fewshot_reenact.media.marks import Marks
from fewshot_reenact.motion.live import SETTLE
from fewshot_reenact.pipelines.animate import Animation, make
from fewshot_reenact.pipelines.animate_steps import load
from fewshot_reenact.pipelines.manifest import marks_for, origin_of
from fewshot_reenact.pipelines.networks import Networks
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.progress import Progress
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.marks import PixelMarks, StandardMarks
from fewshot_reenact.provenance.watermark_key import read_watermark_key
from fewshot_reenact.rendering.live import LivePlan, Still
from fewshot_reenact.rendering.renderer import Renderer, open_renderer

_FPS = 25.0  # frames a second where nobody says when a frame was taken
_LONGEST = 60.0  # seconds that a reference may be looked for


class Session:
    """A portrait that is loaded once and then moved by arrays, streams of arrays, or whole drivers.

    portrait: a picture, several of one person (a list), a folder of them, or a file from `reenact finetune`; a picture
        is a path, a file's bytes, an open binary file, a PIL image or an array (H, W, 3) uint8 RGB. Or a video's
        path, for `animate` alone.
    options: how it is animated, AnimateOptions. start, end, fps, compare, audio, full_size, consent, the certificate
        and any_size concern files: they count for `animate` alone.
    calibrate: how `frame` and `frames` learn which state of the driver is the portrait's own. Seconds: the best frame
        of so many after the first face. Or a still picture of the driver, looking as the portrait does. After a cut
        the seconds begin anew.
    networks: for many sessions with the same networks, those of another session (`.networks`).

    `frame` and `frames` see no later frames: a little lag in place of the look ahead of `animate`, whose reference is
    the best of the whole driver. A face that is lost is looked for in every frame; a frame without one gives the last
    picture again. Every picture carries the watermark and, unless options.label is False, the label; a file that you
    write with them has a signature with the marks that `file_marks` returns. notes: lines that the user should see.
    watermark: the id in the pictures.

    To be used by one thread at a time; several sessions may work in several threads. A context manager: `close` ends
    it. Raises UsageError, InputError, ModelError (see errors).

    Example:

        from fewshot_reenact import AnimateOptions, Session
        from fewshot_reenact.media.reader import VideoReader

        with Session("portrait.jpg", AnimateOptions(region="expression")) as session:
            with VideoReader("driver.mp4", end=0.4) as driver:
                pictures = [session.frame(frame.picture) for frame in driver]
            print(len(pictures), pictures[0].shape)
    """

    def __init__(
        self,
        portrait: Picture | Sequence[Picture],
        options: AnimateOptions | None = None,
        *,
        calibrate: float | Picture = SETTLE,
        networks: Networks | None = None,
    ) -> None:
        self.options = options or AnimateOptions()
        settle = _seconds(calibrate)
        self._folder: tempfile.TemporaryDirectory[str] | None = tempfile.TemporaryDirectory(prefix="reenact-")
        try:
            self._shelf = Shelf(Path(self._folder.name))
            background = self.options.background
            self._source = PortraitSource.parse(self._shelf.paths(portrait), self.options.face, True)
            self.options = self.options.for_video() if self._source.is_video else self.options.for_picture()
            ground = None if background is None else Ground.parse(background)
            self._grounds = ground.files if ground else ()
            self._cast = load(self.options, self._source, ground, networks)
            self._still = None if settle is not None else self._at_rest(calibrate)
        except BaseException:
            self.close()
            raise
        self.notes = list(self._cast.notes)
        self._settle = SETTLE if settle is None else settle
        key = self.options.watermark_key
        self._marks = PixelMarks(self.options.label, key=None if key is None else read_watermark_key(key)[0])
        self._plan: LivePlan | None = None
        self._renderer: Renderer | None = None
        self._last: np.ndarray | None = None
        self._noted = False
        self.reset()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what the session holds; harmless when it is closed already."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def networks(self) -> Networks:
        """What is loaded, for further sessions with the same model, landmarks and device."""
        cast = self._cast
        return Networks(cast.model if cast.psi is None else None, cast.backend, cast.device, cast.device_why)

    @property
    def watermark(self) -> str:
        """The id in the watermark of this session's pictures, 16 hexadecimal digits."""
        return self._marks.id

    @property
    def inputs(self) -> list[Path]:
        """The files that it was made of, which nothing is written over."""
        more = [Path(self.options.matte)] if self.options.matte is not None else []
        return [*self._source.files, *self._grounds, *more, *self.options.credentials]

    @property
    def about(self) -> dict[str, str]:
        """Device, model and the model's SHA-256, for reports."""
        cast = self._cast
        return {
            "device": f"{cast.device} ({cast.device_why})",
            "model": cast.model_name,
            "model_sha256": cast.model_sha256,
        }

    def file_marks(self, driver: str | Path | None = None) -> StandardMarks:
        """For a VideoWriter into which this session's pictures go: it tags and signs the file, and leaves the pictures,
        which are marked already, as they are. driver: the file that the frames came from, None for a camera.
        Raises UsageError, InputError: a consent text or a certificate that cannot be used.
        """
        source = None if driver is None else DriverSource.parse(driver)
        origin = origin_of(self._source, source, self.options, self._cast.model_sha256, live=True)
        return marks_for(origin, self.options, self.watermark, stamped=True)

    def mirror(self, on: bool) -> None:
        """From the next frame on, which begins a new stream, left and right of the driver are exchanged, or not."""
        if on != self.options.mirror:
            self.options = replace(self.options, mirror=on)
            self._still = None if self._still is None else self._still.mirrored()
            if self._plan is not None:
                self._plan.rest_on(self._still)
        self.reset()

    def reset(self) -> None:
        """A new stream begins with the next frame: another driver, another reference."""
        self._tracker = Tracker(self._cast.backend, self.options.driver_face)
        self._time: float | None = None
        self._shape: tuple[int, ...] | None = None
        self._last = None
        if self._plan is not None:
            self._plan.reset()

    def frame(self, picture: Picture, time: float | None = None) -> np.ndarray:
        """The portrait as the driver is in the next frame of the stream, (H, W, 3) uint8 RGB, (H, W, 4) where the
        background is transparent.

        picture: of the driver, an array (H, W, 3) uint8 RGB, or any other kind of picture. time: when it was taken,
        seconds on any clock that only goes forward; None: 1/25 second after the one before.
        Raises UsageError: no such picture, a time that is not later, a session that is closed.
        """
        if self._folder is None:
            raise UsageError("this session is closed; make another")
        if self._source.is_video:
            raise UsageError(f"{self._source.files[0]}: is a video, which has frames of its own: use animate")
        seen = self._driver(picture, "frame")
        time = self._later(time)
        plan, renderer = self._opened()
        if self._shape not in (None, seen.shape):  # a driver of another size is another one
            self._tracker = Tracker(self._cast.backend, self.options.driver_face)
            plan.reset()
        self._shape, self._time = seen.shape, time
        found = self._tracker.update(seen)
        if found.cut:
            plan.reset()
        if not found.found:
            plan.miss()
            if self._last is None:
                self._last = self._marks.label(next(iter(renderer.render(plan.rest()))), time)
            return self._last.copy()
        heads, shift = plan.take(seen, found.points, time)
        made = next(iter(renderer.render(heads, None if shift is None else [shift])))
        self._last = self._marks.label(made, time)
        return self._last.copy()

    def frames(self, pictures: Iterable[Picture], fps: float = _FPS) -> Iterator[np.ndarray]:
        """A picture for each frame of a new stream, each as soon as its frame is there; see `frame`. fps: how many
        frames a second the driver has.
        """
        if not 0 < fps <= 1000:
            raise UsageError(f"fps {fps} is not between 0 and 1000")
        self.reset()
        for number, picture in enumerate(pictures):
            yield self.frame(picture, number / fps)

    def animate(
        self,
        driver: str | Path,
        output: str | Path | None = None,
        *,
        marks: Marks | None = None,
        report: str | Path | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Animation:
        """A whole driver to a file, as the function `animate` does it, signed and all; nothing is loaded anew."""
        if self._folder is None:
            raise UsageError("this session is closed; make another")
        return make(
            self.options,
            self._source,
            driver,
            output,
            cast=self._cast,
            marks=marks,
            report=report,
            overwrite=overwrite,
            progress=progress,
        )

    def _later(self, time: float | None) -> float:
        if time is None:
            return 0.0 if self._time is None else self._time + 1 / _FPS
        if not np.isfinite(time) or (self._time is not None and time <= self._time):
            raise UsageError(f"a frame at {time} s comes after one at {self._time} s: times only go forward")
        return float(time)

    def _opened(self) -> tuple[LivePlan, Renderer]:
        """What makes pictures of frames; made when the first one comes, for `animate` needs none of it."""
        if self._plan is None or self._renderer is None:
            cast, options = self._cast, self.options
            moves = cast.model.dims.corrects_warp
            side = cast.model.dims.size if options.dense and moves else None
            plan = LivePlan(
                cast.people[0],
                options.retargeting,
                options.smooth,
                side=side,
                settle=self._settle,
                still=self._still,
            )
            self._renderer = open_renderer(
                cast.model,
                cast.people,
                plan.reach() if moves else plan.rest(),
                device=cast.device,
                warp_only=options.warp_only,
                psi=cast.psi,
                layers=cast.layers,
            )
            self._plan = plan
        if not self._noted:
            self._noted = True
            self.notes += history.record_stream(self._marks.id, self._source.name)
        return self._plan, self._renderer

    def _driver(self, picture: Any, name: str) -> np.ndarray:
        """A picture of the driver as it counts: mirrored where the options say so."""
        seen = self._shelf.array(picture, name)
        return np.ascontiguousarray(seen[:, ::-1]) if self.options.mirror else seen

    def _at_rest(self, picture: Any) -> Still:
        seen = self._driver(picture, "calibrate")
        face = find_face(seen, self._cast.backend, self.options.driver_face, "calibrate", "driver_face")
        return Still(seen, np.asarray(face.points, np.float32))


def _seconds(calibrate: Any) -> float | None:
    """Seconds of calibration; None for a picture. Raises UsageError."""
    if isinstance(calibrate, bool) or not isinstance(calibrate, int | float | np.number):
        return None
    if not 0 <= calibrate <= _LONGEST:
        raise UsageError(f"calibrate {calibrate} is not between 0 and {_LONGEST:g} seconds, nor a picture")
    return float(calibrate)
