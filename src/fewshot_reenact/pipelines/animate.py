"""The main job: portrait + driver -> a video of that person moving like the driver (DESIGN 5).

    driver -> tracker -> motion -> smoothing -> retargeting -> renderer -> writer
      `------------------ dense motion ------------------------'

Two passes: the first measures the driver and keeps points only, so that smoothing has no lag and the reference frame
can be searched; the second measures dense motion, renders and writes. No frame is kept: memory does not grow with the
driver's length.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import check_output, partial_file, sha256
from fewshot_reenact.inputs.driver import Driver, check_driver, driver_kind, load_driver
from fewshot_reenact.inputs.person import Person, is_person, load_person
from fewshot_reenact.inputs.portrait import crop_portrait
from fewshot_reenact.inputs.portrait_files import load_portraits, portrait_files
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.landmarks.tracker import parse_face
from fewshot_reenact.media import timestamps
from fewshot_reenact.media.marks import Marks
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, write_picture
from fewshot_reenact.media.writer import VIDEO_OUTPUTS, VideoWriter
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_model
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.pipelines.manifest import marks_for
from fewshot_reenact.pipelines.side_by_side import side_by_side
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.marks import StandardMarks
from fewshot_reenact.rendering.dense_motion import dense_motion_of
from fewshot_reenact.rendering.plan import plan_motion
from fewshot_reenact.rendering.renderer import open_renderer, renderer_class

FRAMES = ("full", "crop")
AUDIO = ("driver", "none")
CROP_SIZES = (256, 1024)
Progress = Callable[[str, int, int | None], None]
"""Called with the stage ("driver" or "render"), frames done and frames expected (None where that is not known)."""


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
    motion: str = "relative",
    frame: str = "full",
    size: int = 512,
    face: str | int = "largest",
    driver_face: str | int = "largest",
    region: str = "all",
    strength: float = 1.0,
    smooth: float = 0.5,
    start: float | None = None,
    end: float | None = None,
    compare: bool = False,
    audio: str = "driver",
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
    motion: "relative", the driver's change from its frame nearest to the portrait, in the portrait's proportions;
        "absolute", the face goes where the driver's is, the driver's picture scaled onto the portrait's.
    frame: "full", the whole portrait picture with the head moving in it; "crop", a square about the head.
    size: side of the square in pixels, 256 to 1024; only for "crop". A model of kind "paper" makes squares of its own.
    face, driver_face: "largest", or N counted from the left, beginning with 1.
    region: "all", "expression", "pose", "lips" or "eyes": what moves. strength: 0 to 2, how much.
    smooth: 0 (as measured) to 1. start, end: seconds of the driver.
    compare: portrait, driver and output side by side. audio: "driver" or "none".
    landmarks: "builtin", "fan", or a LandmarkBackend. model: a safetensors file; None: the built-in one.
    warp_only: leave the networks out, for comparison. dense: also take from a driver's video what its points miss of
        the motion; None: unless warp_only. device: "auto", "cpu", "cuda", "cuda:1", "mps".
    label: the visible label "AI-generated". Watermark, signature and tags are always there.
    consent: how the person shown agreed, for the signed manifest. sign_cert, sign_key: PEM files to sign with, not
        the key made here. embed_thumbnails: small portraits go into the manifest, otherwise only hashes of the inputs.
    marks: other marks instead of all of these; for measuring alone, where the pixels themselves are judged.
    report: write what was done as JSON there. overwrite: replace files that exist. progress: see Progress.

    Returns an Animation. Raises UsageError, InputError, ModelError (see errors); then nothing is written.
    Memory does not grow with the driver's length; the output has as many frames as the driver, at the same timestamps.
    """
    began = time.perf_counter()
    dense = not warp_only if dense is None else dense
    settings = {k: _plain(v) for k, v in locals().items() if k not in ("progress", "began", "marks")}
    how = Retargeting(motion, region, strength)
    _check(frame, size, smooth, audio)
    parse_face(face), parse_face(driver_face)
    files = portrait_files(portrait)
    check_driver(driver)
    inputs = [*files, *([] if driver_kind(driver) == "builtin" else [Path(driver)])]
    inputs += [Path(path) for path in (sign_cert, sign_key) if path is not None]
    still = driver_kind(driver) == "picture"
    path = _output_path(output, files[0], driver, still, overwrite, inputs)
    if report is not None and check_output(report, overwrite, inputs).resolve() == path.resolve():
        raise UsageError(f"{report}: is the output; write the report to another file")

    where, why = choose_device(device)
    person = _person(files[0], model, where)
    networks = person.model if person else load_model(model, where)
    backend = load_backend(landmarks, str(where)) if isinstance(landmarks, str) else landmarks
    people, notes = (list(person.portraits), []) if person else load_portraits(files, backend, face)
    model_sha256 = sha256(files[0] if person else Path(model or DEFAULT_MODEL))
    marks = marks or marks_for(files, driver, settings, model_sha256)
    kind = renderer_class(networks)
    notes += kind.notes(networks.dims)
    if frame == "crop" and kind.corrects_warp:
        people[0] = crop_portrait(people[0], size)
    clock = {"setup": time.perf_counter() - began}

    step = time.perf_counter()
    tell = progress or (lambda stage, done, total: None)
    driven = load_driver(
        driver,
        backend,
        face=driver_face,
        start=start,
        end=end,
        progress=lambda done, total: tell("driver", done, total),
    )
    plan = plan_motion(driven.motion, people[0], how, smooth)
    clock["driver"] = time.perf_counter() - step

    psi = person.psi if person else None
    renderer = open_renderer(networks, people, plan.moves, device=where, warp_only=warp_only, psi=psi)
    wanted = dense and kind.corrects_warp
    shifts = dense_motion_of(driven, plan, how, networks.dims.size, start, end) if wanted else None
    pictures = renderer.render(plan.moves, shifts)
    if compare:
        pictures = side_by_side(people[0].picture, driven, pictures, start, end)
    step = time.perf_counter()
    shape = _write(path, pictures, driven, still, audio, overwrite, inputs, marks, tell)
    clock["render"] = time.perf_counter() - step
    clock.update({f"render: {name}": value for name, value in renderer.seconds.items()})
    clock["all"] = time.perf_counter() - began

    found = driven.motion.report()
    made = Animation(
        output=path,
        frames=len(plan.moves),
        fps=str(driven.motion.fps),
        width=shape[1],
        height=shape[0],
        found=found["found"],
        missing_spans=driven.motion.missing_spans(),
        reference=plan.references,
        device=f"{where} ({why})",
        model=str(files[0] if person else model or "built-in"),
        model_sha256=model_sha256,
        warnings=[*notes, *found["warnings"]],
        seconds={name: round(value, 3) for name, value in clock.items()},
        settings=settings,
    )
    if isinstance(marks, StandardMarks):
        made.marks = marks.report()
        made.warnings += [*marks.notes, *history.record(marks.id, path)]
    if report is not None:
        with partial_file(report, overwrite, [*inputs, path]) as partial:
            partial.write_text(json.dumps(made.report(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return made


def _person(portrait: Path, model: str | Path | None, device: torch.device) -> Person | None:
    """The fine-tuned person that stands for the portrait, if one does."""
    if not is_person(portrait):
        return None
    if model is not None:
        raise UsageError(f"{portrait}: holds networks of its own; leave out the model")
    return load_person(portrait, device)


def _write(
    path: Path,
    pictures: Iterator[np.ndarray],
    driven: Driver,
    still: bool,
    audio: str,
    overwrite: bool,
    inputs: Sequence[Path],
    marks: Marks,
    tell: Progress,
) -> tuple[int, int]:
    """Write the frames at the driver's timestamps, or the one picture. Returns (height, width) of what is written."""
    first = next(pictures)
    height, width = first.shape[:2]
    if still:
        write_picture(path, first, overwrite, inputs=inputs, marks=marks)
        return height, width
    motion = driven.motion
    pts, time_base = timestamps.fit(motion.pts.tolist(), motion.time_base)
    with VideoWriter(
        path,
        width,
        height,
        time_base,
        motion.fps,
        audio_from=driven.audio_from if audio == "driver" else None,
        audio_start=driven.audio_start,
        audio_end=driven.audio_end,
        marks=marks,
        inputs=inputs,
        overwrite=overwrite,
    ) as writer:
        writer.write(first, pts[0])
        tell("render", 1, len(motion))
        for t, picture in enumerate(pictures, start=1):
            writer.write(picture, pts[t])
            tell("render", t + 1, len(motion))
    return height + height % 2, width + width % 2  # the writer makes odd sides even


def _check(frame: str, size: int, smooth: float, audio: str) -> None:
    if frame not in FRAMES:
        raise UsageError(f"frame {frame!r} is not one of {', '.join(FRAMES)}")
    if not CROP_SIZES[0] <= size <= CROP_SIZES[1]:
        raise UsageError(f"size {size} is not between {CROP_SIZES[0]} and {CROP_SIZES[1]} pixels")
    if not 0 <= smooth <= 1:
        raise UsageError(f"smooth {smooth} is not between 0 and 1")
    if audio not in AUDIO:
        raise UsageError(f"audio {audio!r} is not one of {', '.join(AUDIO)}")


def _output_path(
    output: str | Path | None, portrait: Path, driver: str | Path, still: bool, overwrite: bool, inputs: Sequence[Path]
) -> Path:
    """Where to write; checked now, minutes before anything is."""
    kinds = PICTURE_OUTPUTS if still else VIDEO_OUTPUTS
    name = str(driver).split(":")[-1] if driver_kind(driver) == "builtin" else Path(driver).stem
    path = Path(output) if output is not None else Path(f"{portrait.stem}--{name}{'.png' if still else '.mp4'}")
    return check_output(path, overwrite, inputs, kinds)


def _plain(value: Any) -> Any:
    """Settings as JSON can hold them."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
