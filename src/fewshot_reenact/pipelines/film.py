"""A video as the portrait: measured once, the person shown to the networks, and put together with its drivers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.checks.measures import sharpness
from fewshot_reenact.checks.portrait import what_is_poor
from fewshot_reenact.inputs.driver import Driver, DriverSource
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.models.reenactor import FaceNetworks
from fewshot_reenact.motion.motion import in_words
from fewshot_reenact.motion.pacing import paced
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.progress import Count
from fewshot_reenact.rendering.video_frames import lookback
from fewshot_reenact.rendering.video_plan import Video, VideoPlan, VideoShot, plan_video
from fewshot_reenact.rendering.video_portrait import VideoRenderer, embed_person

_SHOWN = 4  # frames of a shot from which the networks know the person


@dataclass(frozen=True)
class Film:
    """A portrait's video. measured: as a driver is. video: its shots and the face at rest in each. embeddings: the
    person in each, (1, N), None where there is no face. notes: what the user should know.
    """

    measured: Driver
    video: Video
    embeddings: list[Tensor | None]
    notes: list[str]

    @classmethod
    def open(
        cls,
        source: PortraitSource,
        options: AnimateOptions,
        model: FaceNetworks,
        backend: LandmarkBackend,
        device: torch.device,
        tell: Count | None = None,
    ) -> Film:
        """Reads the video twice: for its points, and for the frames that show the person best.

        Raises InputError: it cannot be read, or shows no face.
        """
        given = DriverSource.parse(source.files[0], face=source.face, option="--face", any_size=options.any_size)
        measured = given.measure(backend, tell)
        video = Video.of(measured.motion, options.smooth, options.neutral)
        shown = _well_shown(measured, video)
        embeddings = [embed_person(model, portraits, device) if portraits else None for portraits in shown]
        best = next((portraits[0] for portraits in shown if portraits), None)
        poor = what_is_poor(source.files[0].name, best, backend) if best is not None else []
        return cls(measured, video, embeddings, [*measured.motion.notes, *poor, *_missing(measured)])

    def drive(self, driver: Driver, options: AnimateOptions) -> Driver:
        """The driver at this video's times, with the sound of the output."""
        pace = paced(driver.motion, self.video.motion, options.fit or "shortest")
        motion = replace(pace.motion, notes=[*driver.motion.notes, *pace.notes])
        if self.measured.hdr:
            motion.notes.append(self.measured.hdr)
        made = self.with_sound(replace(driver, motion=motion, audio_tempo=pace.tempo, shown=pace.at), options)
        return _until(made, pace.length)

    def with_sound(self, driver: Driver, options: AnimateOptions) -> Driver:
        """The same with the sound that was asked for."""
        own = self.measured
        if options.audio != "portrait":
            if options.audio == "driver" and driver.audio_from is None and own.audio_from is not None:
                driver.motion.notes.append("the driver has no sound; --audio portrait keeps the video's own")
            return driver
        return replace(
            driver,
            audio_from=own.audio_from,
            audio_start=own.audio_start,
            audio_end=own.audio_end,
            audio_jumps=own.audio_jumps,
            audio_tempo=Fraction(1),
        )

    def plan(self, driver: Driver, options: AnimateOptions) -> VideoPlan:
        """What is rendered. driver: at this video's times."""
        return plan_video(self.video, driver.motion, options.retargeting, options.smooth)

    def render(
        self, model: FaceNetworks, plan: VideoPlan, options: AnimateOptions, device: torch.device, first: int
    ) -> tuple[VideoRenderer, Iterator[np.ndarray]]:
        """The renderer, and the pictures that it will make, from frame `first` on, while they are asked for."""
        renderer = VideoRenderer(model, plan, self.embeddings, device=device, warp_only=options.warp_only)
        return renderer, renderer.render(self.measured.source.pictures_at(plan.frames[lookback(first) :]), first)

    def report(self) -> dict[str, Any]:
        """What was found in it: plain data, for JSON."""
        found = self.video.motion.report()
        kept = ("frames", "found", "missing_spans", "cuts", "duration")
        return {**{name: found[name] for name in kept}, "reference": [shot.reference for shot in self.video.shots]}


def _well_shown(measured: Driver, video: Video) -> list[list[Portrait]]:
    """The sharpest of each shot's candidates, as portraits."""
    wanted = {number for shot in video.shots for number in shot.candidates}
    scores: dict[int, float] = {}
    kept: dict[int, Portrait] = {}
    of = {number: shot for shot in video.shots for number in shot.candidates}
    for number, picture in measured.source.frames():
        if number in wanted:
            portrait = Portrait(picture, video.steady[number])
            scores[number], kept[number] = sharpness(picture, portrait.points), portrait
            _forget(of[number], scores, kept)
        if len(scores) == len(wanted):
            break
    return [
        [kept[n] for n in sorted(shot.candidates, key=lambda n: -scores.get(n, 0.0)) if n in kept]
        for shot in video.shots
    ]


def _forget(shot: VideoShot, scores: dict[int, float], kept: dict[int, Portrait]) -> None:
    """Keeps no more of a shot's frames than are shown."""
    own = [number for number in shot.candidates if number in kept]
    if len(own) > _SHOWN:
        del kept[min(own, key=lambda number: scores[number])]


def _missing(measured: Driver) -> list[str]:
    motion = measured.motion
    gone = len(motion) - int(motion.found.sum())
    if not gone:
        return []
    where = f"{gone} of {len(motion)} frames ({in_words(motion.missing_spans())})"
    return [f"{motion.source}: no face in {where}: these frames stay as they are"]


def _until(driver: Driver, length: Fraction) -> Driver:
    """Its sound no longer than the output, seconds."""
    if driver.audio_from is None:
        return driver
    end = driver.audio_start + length * driver.audio_tempo
    return replace(driver, audio_end=end if driver.audio_end is None else min(end, driver.audio_end))
