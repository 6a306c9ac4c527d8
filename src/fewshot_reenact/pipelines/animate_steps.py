"""The steps of `animate`, in the order in which it takes them: parse, load, render, write."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fewshot_reenact.checks.portrait import what_is_poor
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import check_output, sha256
from fewshot_reenact.inputs.driver import Driver, DriverSource
from fewshot_reenact.inputs.grounds import Ground, with_mask
from fewshot_reenact.inputs.portrait import Portrait, crop_portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.media import level, timestamps
from fewshot_reenact.media.codings import TRANSPARENT_OUTPUTS, VIDEO_OUTPUTS
from fewshot_reenact.media.marks import Marks
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, TRANSPARENT_PICTURES, write_picture
from fewshot_reenact.media.segments import Segments
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.models.checkpoint import load_model, model_file
from fewshot_reenact.models.reenactor import FaceNetworks
from fewshot_reenact.pipelines.film import Film
from fewshot_reenact.pipelines.networks import Networks, device_for, load_networks, running
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.pipelines.side_by_side import side_by_side
from fewshot_reenact.progress import Progress, stage
from fewshot_reenact.provenance.protect import refuse_protected
from fewshot_reenact.rendering.dense_motion import dense_motion_of
from fewshot_reenact.rendering.layers import Layers, begin_layers
from fewshot_reenact.rendering.matte import with_matte
from fewshot_reenact.rendering.plan import Plan
from fewshot_reenact.rendering.renderer import Renderer, open_renderer, renderer_class
from fewshot_reenact.rendering.threads import beside
from fewshot_reenact.rendering.video_plan import VideoPlan
from fewshot_reenact.rendering.video_portrait import VideoRenderer


@dataclass(frozen=True)
class Job:
    """What was asked for, looked at before anything takes long. inputs: files that are never written over."""

    portraits: PortraitSource
    driver: DriverSource
    output: Path
    inputs: list[Path]
    overwrite: bool
    ground: Ground | None = None


@dataclass(frozen=True)
class Cast:
    """Networks, landmarks and portraits, loaded. psi: a fine-tuned person's. notes: what the user should know. film:
    the portrait where it is a video; then `people` is empty. layers: the first portrait's, while they are painted.
    """

    model: FaceNetworks
    model_name: str
    model_sha256: str
    psi: torch.Tensor | None
    backend: LandmarkBackend
    people: list[Portrait]
    notes: list[str]
    device: torch.device
    device_why: str
    film: Film | None = None
    layers: Future[Layers] | None = None


def output_kinds(still: bool, transparent: bool) -> tuple[str, ...]:
    """Suffixes that an output may have, the usual one first. still: the driver is a pose."""
    if still:
        return TRANSPARENT_PICTURES if transparent else PICTURE_OUTPUTS
    return TRANSPARENT_OUTPUTS if transparent else VIDEO_OUTPUTS


def driver_source(driver: str | Path, options: AnimateOptions) -> DriverSource:
    """The part of a driver that the options take, as they take it. Raises what DriverSource.parse does."""
    return DriverSource.parse(
        driver,
        face=options.driver_face,
        start=options.start,
        end=options.end,
        fps=options.fps,
        mirror=options.mirror,
        any_size=options.any_size,
    )


def parse(
    options: AnimateOptions,
    portrait: str | Path | Sequence[str | Path] | PortraitSource,
    driver: str | Path,
    output: str | Path | None,
    report: str | Path | None,
    overwrite: bool,
) -> Job:
    """Look at everything that was given, before anything takes long."""
    portraits = portrait if isinstance(portrait, PortraitSource) else PortraitSource.parse(portrait, options.face, True)
    source = driver_source(driver, options)
    if portraits.is_video and source.is_still:
        raise InputError(
            f"{portraits.files[0]}: is not a picture but a video, which a video or a motion drives, not a picture; "
            "PORTRAIT comes first, then DRIVER"
        )
    ground = None if options.background is None else Ground.parse(options.background)
    more = [Path(options.matte)] if options.matte is not None else []
    inputs = [
        *more,
        *(ground.files if ground else ()),
        *portraits.files,
        *([] if source.path is None else [source.path]),
        *options.credentials,
    ]
    clear = ground is not None and ground.transparent
    kinds = output_kinds(source.is_still, clear)
    path = Path(output) if output is not None else Path(f"{portraits.name}--{source.name}{kinds[0]}")
    if clear and path.suffix.lower() not in kinds:
        raise UsageError(f"{path}: {path.suffix or 'such a file'} cannot be transparent; write {' or '.join(kinds)}")
    path = check_output(path, overwrite, inputs, kinds)
    if report is not None and check_output(report, overwrite, inputs).resolve() == path.resolve():
        raise UsageError(f"{report}: is the output; write the report to another file")
    return Job(portraits, source, path, inputs, overwrite, ground)


def load(
    options: AnimateOptions,
    portraits: PortraitSource,
    ground: Ground | None,
    loaded: Networks | None = None,
    progress: Progress | None = None,
) -> Cast:
    """Find the face in each portrait, or in each frame of a video. loaded: networks that are there already; None: they
    are loaded. Whether somebody forbids it is looked for meanwhile, and goes before whatever else may be wrong.
    """
    checked = beside(lambda: _refuse(portraits))
    try:
        return _loaded(options, portraits, ground, loaded, progress)
    finally:
        checked.result()


def _refuse(portraits: PortraitSource) -> None:
    for path in [] if portraits.is_person else portraits.files:
        refuse_protected(path, "animate")


def _loaded(
    options: AnimateOptions,
    portraits: PortraitSource,
    ground: Ground | None,
    loaded: Networks | None,
    progress: Progress | None,
) -> Cast:
    where, why = device_for(options)
    person = portraits.person(options.model, where)
    loaded = loaded or load_networks(options, person is not None)
    backend = loaded.backend
    if person is None and loaded.model is not None:
        networks = loaded.model
    else:
        networks = running(person.model if person else load_model(options.model, where), options, backend)
    if portraits.is_video:
        return _load_film(options, portraits, networks, loaded, progress)
    people, notes = (list(person.portraits), []) if person else portraits.load(backend)
    if not person:
        for path, one in zip(portraits.files, people, strict=True):
            notes += what_is_poor(path.name, one, backend)
        if options.background is None and people[0].alpha is not None:
            said = "its transparent parts are shown as white; --background COLOUR shows another colour"
            notes.append(f"{portraits.files[0].name}: {said}")
    kind = renderer_class(networks)
    notes += kind.notes(networks.dims)
    if not kind.corrects_warp and (ground or options.matte is not None):
        raise UsageError("a model of kind 'paper' paints the ground too: leave out --matte and --background")
    if kind.corrects_warp:
        people[0], of_matte = _cut_out(people[0], options, ground)
        notes += of_matte
        if options.frame == "crop":
            people[0] = crop_portrait(people[0], options.size)
    first = portraits.files[0]
    return Cast(
        model=networks,
        model_name=str(first if person else options.model or "built-in"),
        model_sha256=sha256(first if person else model_file(options.model)),
        psi=person.psi if person else None,
        backend=backend,
        people=people,
        notes=notes,
        device=where,
        device_why=why,
        layers=begin_layers(people[0]) if kind.corrects_warp else None,
    )


def _load_film(
    options: AnimateOptions,
    portraits: PortraitSource,
    model: FaceNetworks,
    loaded: Networks,
    progress: Progress | None,
) -> Cast:
    if not model.dims.corrects_warp:
        raise UsageError("a model of kind 'paper' paints the ground too, and a video keeps its own: give a picture")
    where = loaded.device
    film = Film.open(portraits, options, model, loaded.backend, where, stage(progress, "portrait"))
    return Cast(
        model=model,
        model_name=str(options.model or "built-in"),
        model_sha256=sha256(model_file(options.model)),
        psi=None,
        backend=loaded.backend,
        people=[],
        notes=film.notes,
        device=where,
        device_why=loaded.device_why,
        film=film,
    )


def _cut_out(portrait: Portrait, options: AnimateOptions, ground: Ground | None) -> tuple[Portrait, list[str]]:
    """The portrait with its matte and the ground that was asked for. Raises InputError: there is no matte for it."""
    if options.matte is not None:
        portrait = with_mask(portrait, Path(options.matte))
    portrait, notes = with_matte(portrait)
    if ground is None:
        return portrait, notes
    if portrait.matte is None:
        raise InputError(f"--background {options.background}: {notes[0]}")
    return replace(portrait, ground=ground.of(portrait.picture.shape[:2]), cut_out=ground.transparent), notes


def render(
    options: AnimateOptions, cast: Cast, driven: Driver, plan: Plan | VideoPlan, first: int = 0
) -> tuple[Renderer | VideoRenderer, Iterator[np.ndarray]]:
    """The renderer, and the pictures that it will make, from frame `first` on, while they are asked for."""
    if isinstance(plan, VideoPlan):
        assert cast.film is not None
        shown, made = cast.film.render(cast.model, plan, options, cast.device, first)
        if options.compare:
            own = cast.film.measured.source.pictures_at(plan.frames[first:])
            made = side_by_side(own, driven, made, first)
        return shown, made
    renderer = open_renderer(
        cast.model,
        cast.people,
        plan.heads,
        device=cast.device,
        warp_only=options.warp_only,
        psi=cast.psi,
        layers=cast.layers,
    )
    wanted = options.dense and renderer.corrects_warp
    shifts = dense_motion_of(driven, plan, options.retargeting, cast.model.dims.size, first) if wanted else None
    pictures = renderer.render(plan.heads[first:], shifts)
    if options.compare:
        if driven.hdr:
            driven.motion.notes.append(driven.hdr)
        pictures = side_by_side(cast.people[0].picture, driven, pictures, first)
    return renderer, pictures


def write(
    job: Job,
    options: AnimateOptions,
    pictures: Iterator[np.ndarray],
    driven: Driver,
    marks: Marks,
    progress: Progress | None,
    segments: Segments | None = None,
) -> tuple[int, int]:
    """Write the frames at the driver's timestamps, or the one picture. segments: the pieces of a long video, of which
    some may be there. Returns (width, height) of what is written.
    """
    first = next(pictures)
    height, width = first.shape[:2]
    clear = first.shape[2] == 4
    if not job.driver.is_still and not options.full_size and not clear:
        most = level.largest(width, height, driven.motion.fps)
        if most != (width, height):
            driven.motion.notes.append(
                f"{width}x{height} would be more than most players show; the video is scaled to {most[0]}x{most[1]} "
                "(H.264 level 5.1), --full-size keeps it as it is"
            )
            width, height = most
            first, pictures = level.scaled(first, most), (level.scaled(picture, most) for picture in pictures)
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
        audio_from=None if options.audio == "none" else driven.audio_from,
        audio_start=driven.audio_start,
        audio_end=driven.audio_end,
        audio_jumps=driven.audio_jumps,
        audio_tempo=driven.audio_tempo,
        marks=marks,
        inputs=job.inputs,
        overwrite=job.overwrite,
        transparent=clear,
        segments=segments,
    ) as writer:
        for t, picture in enumerate(itertools.chain([first], pictures), start=writer.frames):
            writer.write(picture, pts[t])
            tell(t + 1, len(motion))
        motion.notes.extend(writer.notes)
    return width + width % 2, height + height % 2  # the writer makes odd sides even
