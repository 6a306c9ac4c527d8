"""The main job: portrait + driver -> a video of that person moving like the driver.

    driver -> tracker -> motion -> smoothing -> retargeting -> renderer -> writer
      `------------------ dense motion ------------------------'

Two passes: the first measures the driver and keeps points only, so that smoothing has no lag and the reference frame
can be searched; the second measures dense motion, renders and writes. No frame is kept: memory does not grow with the
driver's length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fewshot_reenact._version import __version__
from fewshot_reenact.device import one_thread_less
from fewshot_reenact.files import partial_file
from fewshot_reenact.inputs.driver import Driver
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.media.marks import Marks
from fewshot_reenact.motion.pacing import Fit
from fewshot_reenact.motion.retarget import MotionMode, Region
from fewshot_reenact.pipelines.animate_steps import Cast, Job, load, parse, render, write
from fewshot_reenact.pipelines.clock import Clock
from fewshot_reenact.pipelines.manifest import marks_for, origin_of
from fewshot_reenact.pipelines.options import AnimateOptions, Audio, Frame, Runtime, plain
from fewshot_reenact.pipelines.unfinished import Unfinished, made_of
from fewshot_reenact.progress import Progress, stage
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.aigc import Visible
from fewshot_reenact.provenance.marks import StandardMarks
from fewshot_reenact.rendering.plan import Plan, plan_motion
from fewshot_reenact.rendering.threads import short_turns
from fewshot_reenact.rendering.video_plan import VideoPlan


@dataclass
class Animation:
    """What was made, and how.

    output: the file. frames, fps, width, height: of the output. found: driver frames with a face. missing_spans: where
    there was none, (from, to) in seconds. reference: the driver's frame taken as the portrait's own state, for each
    shot. pose: the made head's angles in degrees, (least, greatest) of yaw, pitch and roll; `beyond`, frames in which
    it turns less than the driver's, and `farther`, in which it goes less far, see motion.bounds. warnings: lines that
    the user should see. seconds: by stage. settings: every option as it was used. marks: how the output is marked, and
    the id in its watermark. taken_over: how many of the frames were made before, by a run that was interrupted.
    portrait: where it is a video, what was found in it: frames, found, missing_spans, cuts, duration, and its reference
    of each shot; None for pictures.
    """

    output: Path
    frames: int
    fps: str
    width: int
    height: int
    found: int
    missing_spans: list[tuple[float, float]]
    reference: list[int | None]
    pose: dict[str, Any]
    device: str
    model: str
    model_sha256: str
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    taken_over: int = 0
    portrait: dict[str, Any] | None = None

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
    region: Region | None = None,
    strength: float = 1.0,
    travel: float = 1.0,
    neutral: bool = False,
    smooth: float = 0.5,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    mirror: bool = False,
    any_size: bool = False,
    full_size: bool = False,
    matte: str | Path | None = None,
    background: str | None = None,
    compare: bool = False,
    audio: Audio = "driver",
    fit: Fit | None = None,
    keep_going: bool = True,
    landmarks: str | LandmarkBackend = "builtin",
    model: str | Path | None = None,
    warp_only: bool = False,
    dense: bool | None = None,
    device: str = "auto",
    runtime: Runtime = "torch",
    label: Visible = True,
    consent: str | None = None,
    consent_file: str | Path | None = None,
    sign_cert: str | Path | None = None,
    sign_key: str | Path | None = None,
    embed_thumbnails: bool = False,
    private_driver: bool = False,
    watermark_key: str | Path | None = None,
    provider: str | None = None,
    timestamp: str | None = None,
    marks: Marks | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Animation:
    """Animate a portrait with a driver and write the video (a picture, if the driver is a picture).

    portrait: a picture, several of one person, a folder of them, or a file from `reenact finetune`; the first one's
        picture is the one that moves. Or a video: its frames stay, and the face in them does as the driver's.
    driver: a video, a folder of numbered frames (with fps), a picture (a pose), a motion file from `reenact extract`,
        blendshapes of Live Link Face (.csv), a log of OpenSeeFace (.osf), or "motion:talk", "motion:nod",
        "motion:smile", "motion:surprise", "motion:blink".
    output: where to write (.mp4, .m4v, .mov; .png, .jpg for a pose; .mov, .webm, .png with background="transparent").
        None: PORTRAIT--DRIVER.mp4 in the current folder, .mov if transparent.
    motion ... timestamp: see AnimateOptions.
    marks: other marks instead of all of these; for measuring alone, where the pixels themselves are judged.
    report: write what was done as JSON there. overwrite: replace files that exist. progress: see progress.Progress.

    Returns an Animation. Raises UsageError, InputError, ModelError (see errors); then nothing is written.
    Memory does not grow with the driver's length; the output has as many frames as the driver, at the same timestamps,
    or the frames and times of the portrait where that is a video.
    What a killed run has made of a long output lies in `.OUTPUT.part` beside it; the same call goes on with it.

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
        travel=travel,
        neutral=neutral,
        smooth=smooth,
        start=start,
        end=end,
        fps=fps,
        mirror=mirror,
        any_size=any_size,
        full_size=full_size,
        matte=matte,
        background=background,
        compare=compare,
        audio=audio,
        fit=fit,
        keep_going=keep_going,
        landmarks=landmarks,
        model=model,
        warp_only=warp_only,
        dense=dense,
        device=device,
        runtime=runtime,
        label=label,
        consent=consent,
        consent_file=consent_file,
        sign_cert=sign_cert,
        sign_key=sign_key,
        embed_thumbnails=embed_thumbnails,
        private_driver=private_driver,
        watermark_key=watermark_key,
        provider=provider,
        timestamp=timestamp,
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
    return make(options, portrait, driver, output, marks=marks, report=report, overwrite=overwrite, progress=progress)


@one_thread_less()
@short_turns()
def make(
    options: AnimateOptions,
    portrait: str | Path | Sequence[str | Path] | PortraitSource,
    driver: str | Path,
    output: str | Path | None,
    *,
    marks: Marks | None,
    report: str | Path | None,
    overwrite: bool,
    progress: Progress | None,
    cast: Cast | None = None,
) -> Animation:
    """The work itself. cast: networks and portraits, where they are loaded already."""
    clock = Clock()
    job = parse(options, portrait, driver, output, report, overwrite)
    options = options.for_video() if job.portraits.is_video else options.for_picture()
    cast = cast or load(options, job.portraits, job.ground, progress=progress)
    film = cast.film
    origin = origin_of(job.portraits, job.driver, options, cast.model_sha256)
    # Other marks may do anything with the frames; a picture is made at once; of a video's pace too little is kept.
    whole = marks is not None or job.driver.is_still or (film is not None and options.compare)
    with Unfinished(job, None if whole else made_of(job, options, cast, origin), options.keep_going) as kept:
        marks = marks or marks_for(origin, options, kept.watermark)
        clock.lap("setup")

        driven = kept.driven or _measured(job, cast, options, progress)
        driven = driven if film is None else film.with_sound(driven, options)
        if isinstance(marks, StandardMarks):
            kept.begin(driven, marks.id)
            marks.notes += _heard(driven, options)
        plan: Plan | VideoPlan = (
            plan_motion(driven.motion, cast.people[0], options.retargeting, options.smooth)
            if film is None
            else film.plan(driven, options)
        )
        clock.lap("driver")

        renderer, pictures = render(options, cast, driven, plan, kept.first)
        clock.lap()
        width, height = write(job, options, pictures, driven, marks, progress, kept.segments)
        clock.lap("render")
    seconds = clock.all({f"render: {name}": value for name, value in renderer.seconds.items()})

    given = list(map(str, portrait.files)) if isinstance(portrait, PortraitSource) else portrait
    made = _describe(job, cast, driven, plan, (width, height), seconds)
    made.taken_over = kept.first
    made.settings = {
        **plain({"portrait": given, "driver": driver, "output": output}),
        **options.as_data(),
        **plain({"report": report, "overwrite": overwrite}),
    }
    if isinstance(marks, StandardMarks):
        made.marks = marks.report()
        made.warnings += [*marks.notes, *history.record(marks.id, job.output)]
    if report is not None:
        with partial_file(report, job.overwrite, [*job.inputs, job.output]) as partial:
            partial.write_text(json.dumps(made.report(), indent=2) + "\n", encoding="utf-8")
    return made


def _measured(job: Job, cast: Cast, options: AnimateOptions, progress: Progress | None) -> Driver:
    driven = job.driver.measure(cast.backend, stage(progress, "driver"))
    return driven if cast.film is None else cast.film.drive(driven, options)


def _heard(driven: Driver, options: AnimateOptions) -> list[str]:
    """What the user should know of a driver that they keep to themselves."""
    if not options.private_driver or driven.audio_from is None or options.audio != "driver":
        return []
    return ["the driver's sound is in the output, and a voice can be recognised; --audio none leaves it out"]


def _describe(
    job: Job,
    cast: Cast,
    driven: Driver,
    plan: Plan | VideoPlan,
    size: tuple[int, int],
    seconds: dict[str, float],
) -> Animation:
    found = driven.motion.report()
    return Animation(
        output=job.output,
        frames=len(plan.heads),
        fps=str(driven.motion.fps),
        width=size[0],
        height=size[1],
        found=found["found"],
        missing_spans=driven.motion.missing_spans(),
        reference=list(plan.references),
        pose=plan.report(),
        device=f"{cast.device} ({cast.device_why})",
        model=cast.model_name,
        model_sha256=cast.model_sha256,
        warnings=[*cast.notes, *found["warnings"], *plan.bounds.notes()],
        seconds=seconds,
        portrait=None if cast.film is None else cast.film.report(),
    )
