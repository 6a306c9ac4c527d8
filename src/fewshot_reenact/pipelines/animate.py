"""The main job: portrait + driver -> a video of that person moving like the driver.

    driver -> tracker -> motion -> smoothing -> retargeting -> renderer -> writer
      `------------------ dense motion ------------------------'

Two passes: the first measures the driver and keeps points only, so that smoothing has no lag and the reference frame
can be searched; the second measures dense motion, renders and writes. No frame is kept: memory does not grow with the
driver's length.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import check_output, partial_file, sha256
from fewshot_reenact.inputs.driver import Driver, DriverSource
from fewshot_reenact.inputs.portrait import Portrait, crop_portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.media import timestamps
from fewshot_reenact.media.marks import Marks
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, write_picture
from fewshot_reenact.media.writer import VIDEO_OUTPUTS, VideoWriter
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_model
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.motion.retarget import MotionMode, Region
from fewshot_reenact.pipelines.manifest import marks_for
from fewshot_reenact.pipelines.options import AnimateOptions, Audio, Frame, plain
from fewshot_reenact.pipelines.side_by_side import side_by_side
from fewshot_reenact.progress import Progress, stage
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.marks import StandardMarks
from fewshot_reenact.rendering.dense_motion import dense_motion_of
from fewshot_reenact.rendering.plan import Plan, plan_motion
from fewshot_reenact.rendering.renderer import Renderer, open_renderer, renderer_class


@dataclass
class Animation:
    """What was made, and how.

    output: the file. frames, fps, width, height: of the output. found: driver frames with a face. missing_spans: where
    there was none, (from, to) in seconds. reference: the driver's frame taken as the portrait's own state, for each
    shot. warnings: lines that the user should see. seconds: by stage. settings: every option as it was used. marks: how
    the output is marked, and the id in its watermark.
    """

    output: Path
    frames: int
    fps: str
    width: int
    height: int
    found: int
    missing_spans: list[tuple[float, float]]
    reference: list[int | None]
    device: str
    model: str
    model_sha256: str
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "schema": "fewshot-reenact/animate/1",
            "version": __version__,
            **asdict(self),
            "output": str(self.output),
        }


def animate(
    portrait: str | Path | Sequence[str | Path],
    driver: str | Path,
    output: str | Path | None = None,
    *,
    motion: MotionMode = "relative",
    frame: Frame = "full",
    size: int = 512,
    face: str | int = "largest",
    driver_face: str | int = "largest",
    region: Region = "all",
    strength: float = 1.0,
    smooth: float = 0.5,
    start: float | None = None,
    end: float | None = None,
    compare: bool = False,
    audio: Audio = "driver",
    landmarks: str | LandmarkBackend = "builtin",
    model: str | Path | None = None,
    warp_only: bool = False,
    dense: bool | None = None,
    device: str = "auto",
    label: bool = True,
    consent: str | None = None,
    sign_cert: str | Path | None = None,
    sign_key: str | Path | None = None,
    embed_thumbnails: bool = False,
    marks: Marks | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Animation:
    """Animate a portrait with a driver and write the video (a picture, if the driver is a picture).

    portrait: a picture, several of one person, a folder of them, or a file from `reenact finetune`; the first one's
        picture is the one that moves.
    driver: a video, a picture (a pose), a motion file from `reenact extract`, or "motion:talk", "motion:nod",
        "motion:smile", "motion:surprise", "motion:blink".
    output: where to write (.mp4, .m4v, .mov; .png, .jpg for a pose). None: PORTRAIT--DRIVER.mp4 in the current folder.
    motion ... embed_thumbnails: see AnimateOptions.
    marks: other marks instead of all of these; for measuring alone, where the pixels themselves are judged.
    report: write what was done as JSON there. overwrite: replace files that exist. progress: see progress.Progress.

    Returns an Animation. Raises UsageError, InputError, ModelError (see errors); then nothing is written.
    Memory does not grow with the driver's length; the output has as many frames as the driver, at the same timestamps.

    Example:

        from fewshot_reenact import animate

        made = animate("portrait.jpg", "motion:nod", "nod.mp4", end=0.4)
        print(made.output, made.frames, made.warnings)
    """
    options = AnimateOptions(
        motion=motion,
        frame=frame,
        size=size,
        face=face,
        driver_face=driver_face,
        region=region,
        strength=strength,
        smooth=smooth,
        start=start,
        end=end,
        compare=compare,
        audio=audio,
        landmarks=landmarks,
        model=model,
        warp_only=warp_only,
        dense=dense,
        device=device,
        label=label,
        consent=consent,
        sign_cert=sign_cert,
        sign_key=sign_key,
        embed_thumbnails=embed_thumbnails,
    )
    return animate_with(
        options, portrait, driver, output, marks=marks, report=report, overwrite=overwrite, progress=progress
    )


def animate_with(
    options: AnimateOptions,
    portrait: str | Path | Sequence[str | Path],
    driver: str | Path,
    output: str | Path | None = None,
    *,
    marks: Marks | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Animation:
    """The same with the options in one object."""
    clock = _Clock()
    job = _parse(options, portrait, driver, output, report, overwrite)
    cast = _load(options, job)
    marks = marks or marks_for(job.portraits, job.driver, options, cast.model_sha256)
    clock.lap("setup")

    driven = job.driver.measure(cast.backend, stage(progress, "driver"))
    plan = plan_motion(driven.motion, cast.people[0], options.retargeting, options.smooth)
    clock.lap("driver")

    renderer, pictures = _render(options, cast, driven, plan)
    clock.lap()
    width, height = _write(job, options, pictures, driven, marks, progress)
    clock.lap("render")
    seconds = clock.all({f"render: {name}": value for name, value in renderer.seconds.items()})

    made = _describe(options, job, cast, driven, plan, (width, height), seconds)
    made.settings = {
        **plain({"portrait": portrait, "driver": driver, "output": output}),
        **options.as_data(),
        **plain({"report": report, "overwrite": overwrite}),
    }
    if isinstance(marks, StandardMarks):
        made.marks = marks.report()
        made.warnings += [*marks.notes, *history.record(marks.id, job.output)]
    if report is not None:
        with partial_file(report, overwrite, [*job.inputs, job.output]) as partial:
            partial.write_text(json.dumps(made.report(), indent=2) + "\n", encoding="utf-8")
    return made


# ---- the steps, in order ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """What was asked for, looked at before anything takes long. inputs: files that are never written over."""

    portraits: PortraitSource
    driver: DriverSource
    output: Path
    inputs: list[Path]
    overwrite: bool


@dataclass(frozen=True)
class _Cast:
    """Networks, landmarks and portraits, loaded. psi: a fine-tuned person's. notes: what the user should know."""

    model: Reenactor
    model_name: str
    model_sha256: str
    psi: torch.Tensor | None
    backend: LandmarkBackend
    people: list[Portrait]
    notes: list[str]
    device: torch.device
    device_why: str


def _parse(
    options: AnimateOptions,
    portrait: str | Path | Sequence[str | Path],
    driver: str | Path,
    output: str | Path | None,
    report: str | Path | None,
    overwrite: bool,
) -> _Job:
    portraits = PortraitSource.parse(portrait, options.face)
    source = DriverSource.parse(driver, face=options.driver_face, start=options.start, end=options.end)
    inputs = [*portraits.files, *([] if source.path is None else [source.path]), *options.credentials]
    kinds = PICTURE_OUTPUTS if source.is_still else VIDEO_OUTPUTS
    path = Path(output) if output is not None else Path(f"{portraits.name}--{source.name}{kinds[0]}")
    path = check_output(path, overwrite, inputs, kinds)
    if report is not None and check_output(report, overwrite, inputs).resolve() == path.resolve():
        raise UsageError(f"{report}: is the output; write the report to another file")
    return _Job(portraits, source, path, inputs, overwrite)


def _load(options: AnimateOptions, job: _Job) -> _Cast:
    where, why = choose_device(options.device)
    person = job.portraits.person(options.model, where)
    networks = person.model if person else load_model(options.model, where)
    backend = options.landmarks
    if isinstance(backend, str):
        backend = load_backend(backend, str(where))
    people, notes = (list(person.portraits), []) if person else job.portraits.load(backend)
    kind = renderer_class(networks)
    notes += kind.notes(networks.dims)
    if options.frame == "crop" and kind.corrects_warp:
        people[0] = crop_portrait(people[0], options.size)
    first = job.portraits.files[0]
    return _Cast(
        model=networks,
        model_name=str(first if person else options.model or "built-in"),
        model_sha256=sha256(first if person else Path(options.model or DEFAULT_MODEL)),
        psi=person.psi if person else None,
        backend=backend,
        people=people,
        notes=notes,
        device=where,
        device_why=why,
    )


def _render(options: AnimateOptions, cast: _Cast, driven: Driver, plan: Plan) -> tuple[Renderer, Iterator[np.ndarray]]:
    """The renderer, and the pictures that it will make while they are asked for."""
    renderer = open_renderer(
        cast.model, cast.people, plan.moves, device=cast.device, warp_only=options.warp_only, psi=cast.psi
    )
    wanted = options.dense and renderer.corrects_warp
    shifts = dense_motion_of(driven, plan, options.retargeting, cast.model.dims.size) if wanted else None
    pictures = renderer.render(plan.moves, shifts)
    if options.compare:
        pictures = side_by_side(cast.people[0].picture, driven, pictures)
    return renderer, pictures


def _write(
    job: _Job,
    options: AnimateOptions,
    pictures: Iterator[np.ndarray],
    driven: Driver,
    marks: Marks,
    progress: Progress | None,
) -> tuple[int, int]:
    """Write the frames at the driver's timestamps, or the one picture. Returns (width, height) of what is written."""
    first = next(pictures)
    height, width = first.shape[:2]
    if job.driver.is_still:
        write_picture(job.output, first, job.overwrite, inputs=job.inputs, marks=marks)
        return width, height
    tell, motion = stage(progress, "render"), driven.motion
    pts, time_base = timestamps.fit(motion.pts.tolist(), motion.time_base)
    with VideoWriter(
        job.output,
        width,
        height,
        time_base,
        motion.fps,
        audio_from=driven.audio_from if options.audio == "driver" else None,
        audio_start=driven.audio_start,
        audio_end=driven.audio_end,
        marks=marks,
        inputs=job.inputs,
        overwrite=job.overwrite,
    ) as writer:
        writer.write(first, pts[0])
        tell(1, len(motion))
        for t, picture in enumerate(pictures, start=1):
            writer.write(picture, pts[t])
            tell(t + 1, len(motion))
    return width + width % 2, height + height % 2  # the writer makes odd sides even


def _describe(
    options: AnimateOptions,
    job: _Job,
    cast: _Cast,
    driven: Driver,
    plan: Plan,
    size: tuple[int, int],
    seconds: dict[str, float],
) -> Animation:
    found = driven.motion.report()
    return Animation(
        output=job.output,
        frames=len(plan.moves),
        fps=str(driven.motion.fps),
        width=size[0],
        height=size[1],
        found=found["found"],
        missing_spans=driven.motion.missing_spans(),
        reference=plan.references,
        device=f"{cast.device} ({cast.device_why})",
        model=cast.model_name,
        model_sha256=cast.model_sha256,
        warnings=[*cast.notes, *found["warnings"]],
        seconds=seconds,
    )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str | None = None) -> None:
        """Ends a stage; without a name its time counts for none."""
        now = time.perf_counter()
        if name is not None:
            self._laps[name] = now - self._last
        self._last = now

    def all(self, more: dict[str, float]) -> dict[str, float]:
        laps = {**self._laps, **more, "all": time.perf_counter() - self._began}
        return {name: round(value, 3) for name, value in laps.items()}
