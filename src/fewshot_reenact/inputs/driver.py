"""DRIVER, whatever it is (video, picture, motion file, built-in motion), as a motion: one face's points over time."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import refuse_odd_input
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.tracker import Progress, find_face, track_video
from fewshot_reenact.media.pictures import is_picture, read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.motion.builtins import PREFIX, is_builtin_motion, load_builtin_motion
from fewshot_reenact.motion.files import SUFFIXES, load_motion
from fewshot_reenact.motion.motion import Motion


@dataclass(frozen=True)
class Driver:
    """A driver, measured.

    kind: "video", "picture", "motion" (a file) or "builtin". path: the file, None for a built-in motion. motion: with
    NaN where no face was found. audio_from, audio_start, audio_end: where its sound is, for VideoWriter; None without
    sound.
    """

    kind: str
    name: str
    path: Path | None
    motion: Motion
    audio_from: Path | None = None
    audio_start: Fraction = Fraction(0)
    audio_end: Fraction | None = None


def driver_kind(driver: str | Path) -> str:
    """ "video", "picture", "motion" or "builtin", by name and first bytes. Says nothing of whether it can be read."""
    if is_builtin_motion(driver):
        return "builtin"
    path = Path(driver)
    if path.suffix.lower() in SUFFIXES:
        return "motion"
    return "picture" if is_picture(path) else "video"


def check_driver(driver: str | Path) -> None:
    """What can be said of a driver at once, before networks are loaded and portraits measured.

    Raises InputError: none given, an address, no such file, a folder. UsageError: no built-in motion of that name.
    """
    if not str(driver):
        raise InputError("no driver was given")
    if is_builtin_motion(driver):
        load_builtin_motion(str(driver))
        return
    refuse_odd_input(driver)
    path = Path(driver)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; DRIVER is a video, a picture, a motion file or motion:talk")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the name")


def load_driver(
    driver: str | Path,
    backend: LandmarkBackend,
    *,
    face: str | int = "largest",
    start: float | None = None,
    end: float | None = None,
    progress: Progress | None = None,
) -> Driver:
    """Read and measure a driver. start, end: seconds. progress: called with (frames done, frames expected or None).

    Raises InputError when it cannot be read or shows no face, UsageError for a bad start or end.
    """
    check_driver(driver)
    kind = driver_kind(driver)
    if kind == "builtin":
        motion = load_builtin_motion(str(driver))
        return Driver(kind, str(driver).removeprefix(PREFIX), None, _cut(motion, start, end))
    path = Path(driver)
    if kind == "motion":
        return Driver(kind, path.stem, path, _cut(load_motion(path), start, end))
    if kind == "picture":
        if start is not None or end is not None:
            raise UsageError(f"{path}: is a picture, which has no --start and --end")
        return Driver(kind, path.stem, path, _pose(path, backend, face))
    with VideoReader(path, start, end) as reader:
        motion = track_video(reader, backend, face, progress)
        if reader.damaged:
            motion.notes.append(f"{path.name}: is damaged ({reader.damaged}); what could be read is used")
        sound = path if reader.info.has_audio else None
        return Driver(kind, path.stem, path, motion, sound, reader.audio_start, reader.audio_end)


def _cut(motion: Motion, start: float | None, end: float | None) -> Motion:
    """Part of a motion, beginning at time zero."""
    if start is None and end is None:
        return motion
    if start is not None and end is not None and end <= start:
        raise UsageError(f"--end ({end} s) must lie after --start ({start} s)")
    part = motion.slice(start, end)
    part.pts = part.pts - part.pts[0]
    part.times = part.times - part.times[0]
    return part


def _pose(path: Path, backend: LandmarkBackend, face: str | int) -> Motion:
    picture = read_picture(path)
    found = find_face(picture, backend, face, path.name)
    fps = Fraction(25)
    return Motion(
        points=found.points[None],
        confidence=np.array([found.confidence]),
        times=np.zeros(1),
        pts=np.zeros(1),
        time_base=1 / fps,
        fps=fps,
        size=(picture.shape[1], picture.shape[0]),
        source=path.name,
    )
