"""`reenact extract`: the motion of the face in a video or a picture, as a file that can drive a portrait."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import check_output
from fewshot_reenact.geometry.overlay import draw_points
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import Landmarks, load_backend
from fewshot_reenact.media import timestamps
from fewshot_reenact.media.codings import VIDEO_OUTPUTS
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, write_picture
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.motion.arkit import write_arkit
from fewshot_reenact.motion.files import BLENDSHAPES, READ, SUFFIXES, save_motion
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.smoothing import OneEuro, smooth_motion
from fewshot_reenact.progress import Count, Progress, stage


class _Overlay(PlainNote):
    """Points drawn over somebody's recording do not make it AI-generated, so the file does not say that it is."""

    def metadata(self) -> dict[str, str]:
        return {"comment": "Face landmarks drawn by fewshot-reenact over the original picture"}


@dataclass
class Extraction:
    """What was measured. motion: the face's points over time, as they were written. device: where it ran, and why
    there. landmarks: the backend's name. smooth: the strength of smoothing, 0 to 1. files: what was written, by kind:
    "output", "picture", "video".
    """

    motion: Motion
    device: str
    landmarks: str
    smooth: float
    files: dict[str, str]

    @property
    def warnings(self) -> list[str]:
        """Lines that the user should see."""
        return list(self.motion.report()["warnings"])

    def turns(self) -> dict[str, list[float]]:
        """The least and the largest yaw, pitch and roll of the head in degrees, see `Motion.angles`."""
        angles = self.motion.angles()
        low, high = np.nanmin(angles, axis=0), np.nanmax(angles, axis=0)
        return {
            name: [round(float(a), 1), round(float(b), 1)]
            for name, a, b in zip(("yaw", "pitch", "roll"), low, high, strict=True)
        }

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            **self.motion.report(),
            "angles": self.turns(),
            "device": self.device,
            "landmarks": self.landmarks,
            "smooth": self.smooth,
            "files": self.files,
        }


def extract(
    source: str | Path,
    output: str | Path,
    *,
    picture: str | Path | None = None,
    video: str | Path | None = None,
    blendshapes: bool = False,
    landmarks: Landmarks | LandmarkBackend = "builtin",
    face: str | int = "largest",
    smooth: float = 0.0,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    mirror: bool = False,
    any_size: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Extraction:
    """Measure the motion of a face and write it to `output` (.npz, .json or .jsonl).

    source: a video, a picture, or a folder of numbered frames (with fps); with blendshapes, or to a file of another
    kind, a motion file too. output: the motion file, which `animate` takes for its driver. blendshapes: write the 52
    blendshapes of ARKit and the head's angles in place of points, as Live Link Face does; output is a .csv then.
    picture: also write the first frame with a face, its points drawn on it. video: also write the whole video with the
    points drawn, grey where they are held over frames without a face. landmarks: "builtin", "fan", or a backend.
    face: "largest" or N from the left. smooth: 0 (as measured) to 1. start, end: the part that is measured, in seconds.
    fps: frames a second of a folder. mirror: exchange left and right. any_size: videos beyond the limits of
    size too. device: "auto", "cpu", "cuda", "cuda:1", "mps".
    overwrite: replace files that exist. progress: see progress.Progress; the stages are "measure" and "draw".

    Returns an Extraction, whose `motion.points` are (T, 83, 2) float32, pixels of the video's picture, NaN in frames
    without a face. Raises UsageError, InputError, ModelError; then `output` is not written.

    Example:

        from fewshot_reenact import extract

        found = extract("driver.mp4", "driver.npz")
        print(found.motion.points.shape, found.warnings)
    """
    OneEuro(smooth)
    path = Path(source)
    files = _outputs(path, output, picture, video, overwrite, (BLENDSHAPES,) if blendshapes else SUFFIXES)
    is_motion = _is_motion(path, Path(output), picture, video)
    driver = DriverSource.parse(
        path, face=face, start=start, end=end, option="--face", fps=fps, mirror=mirror, any_size=any_size
    )
    if driver.is_still and video is not None:
        raise UsageError(f"{path}: is a picture, so there is no --video of it; use --picture")
    where, why = choose_device(device)
    if driver.is_still or is_motion:
        backend = _backend(landmarks, where)
        measured = driver.measure(backend)
        driver, motion = measured.source, measured.motion
    else:
        # The video is opened first: what is wrong with it is told before networks are loaded.
        with driver.open():
            backend = _backend(landmarks, where)
        measured = driver.measure(backend, stage(progress, "measure"))
        driver, motion = measured.source, measured.motion
    if smooth:
        motion = _smoothed(motion, smooth)
    if measured.hdr and ("picture" in files or "video" in files):
        motion.notes.append(measured.hdr)
    if "picture" in files:
        index = int(np.flatnonzero(motion.found)[0])
        shown = draw_points(_frame(driver, index), motion.points[index])
        write_picture(files["picture"], shown, overwrite, marks=_Overlay())
    if "video" in files:
        _write_overlay(driver, files["video"], motion, overwrite, stage(progress, "draw"), measured.audio_jumps)
    # Last, so that whoever waits for the motion file finds everything in place.
    (write_arkit if blendshapes else save_motion)(motion, output, overwrite)
    return Extraction(motion, f"{where} ({why})", backend.name, smooth, {key: str(path) for key, path in files.items()})


def _outputs(
    source: Path,
    output: str | Path,
    picture: str | Path | None,
    video: str | Path | None,
    overwrite: bool,
    suffixes: tuple[str, ...],
) -> dict[str, Path]:
    """What is to be written, by kind; checked before anything is measured."""
    if Path(output).suffix.lower() == BLENDSHAPES and BLENDSHAPES not in suffixes:
        raise UsageError(f"{output}: a {BLENDSHAPES} holds blendshapes; add --blendshapes, or write {SUFFIXES[0]}")
    asked = {"output": (output, suffixes), "picture": (picture, PICTURE_OUTPUTS), "video": (video, VIDEO_OUTPUTS)}
    files = {
        key: check_output(path, overwrite, (source,), suffixes)
        for key, (path, suffixes) in asked.items()
        if path is not None
    }
    if len(set(files.values())) < len(files):
        raise UsageError("two outputs have the same name: give each its own")
    return files


def _is_motion(path: Path, output: Path, picture: str | Path | None, video: str | Path | None) -> bool:
    """Whether there is nothing to measure: a motion file, which becomes one of another kind. Raises InputError: it
    would become what it is; UsageError: it has no pictures to draw on.
    """
    if path.suffix.lower() not in READ or not path.is_file():
        return False
    if path.suffix.lower() == output.suffix.lower():
        raise InputError(f"{path}: is a motion file already; use it as DRIVER, or give a video or a picture")
    if picture is not None or video is not None:
        raise UsageError(f"{path}: is a motion file, which has no pictures: leave out --picture and --video")
    return True


def _backend(landmarks: str | LandmarkBackend, device: object) -> LandmarkBackend:
    return load_backend(landmarks, str(device)) if isinstance(landmarks, str) else landmarks


def _smoothed(motion: Motion, strength: float) -> Motion:
    """Smoothed over the gaps, which stay gaps: what was not seen is for whoever uses the motion to fill."""
    points = smooth_motion(motion.filled().points, motion.times, strength, motion.cuts)
    points[~motion.found] = np.nan
    motion.points = points
    return motion


def _frame(driver: DriverSource, index: int) -> np.ndarray:
    """One frame of a video; the picture itself of a picture."""
    if driver.is_still:
        return driver.picture()
    for number, picture in driver.frames():
        if number == index:
            return picture
    raise InputError(f"{driver.file}: frame {index} could be read once but not again; is the file being written to?")


def _write_overlay(
    driver: DriverSource, path: Path, motion: Motion, overwrite: bool, progress: Count, jumps: tuple[Fraction, ...]
) -> None:
    """A second pass through the video: smoothing looks ahead, so nothing could be drawn in the first."""
    points, found = motion.filled().points, motion.found
    pts, time_base = timestamps.fit(motion.pts.tolist(), motion.time_base)
    with driver.open() as reader:
        info = reader.info
        with VideoWriter(
            path,
            info.width,
            info.height,
            time_base,
            info.fps,
            audio_from=driver.file if info.has_audio else None,
            audio_start=reader.audio_start,
            audio_end=reader.audio_end,
            audio_jumps=jumps,
            marks=_Overlay(),
            inputs=(driver.file,),
            overwrite=overwrite,
        ) as writer:
            for frame in reader:
                if frame.index >= len(points):
                    break
                shown = draw_points(frame.picture, points[frame.index], bool(found[frame.index]))
                writer.write(shown, pts[frame.index])
                progress(frame.index + 1, len(points))
