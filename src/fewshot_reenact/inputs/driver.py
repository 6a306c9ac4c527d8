"""DRIVER, whatever it is (video, picture, motion file, built-in motion): parsed once, then measured as a motion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import refuse_odd_input
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.selection import LARGEST, FaceChoice, find_face, parse_face
from fewshot_reenact.landmarks.video import track_video
from fewshot_reenact.media.pictures import is_picture, read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.motion.builtins import PREFIX, is_builtin_motion, load_builtin_motion
from fewshot_reenact.motion.files import SUFFIXES, load_motion
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.progress import Count

_PICTURE_FPS = Fraction(25)  # a picture is a motion of one frame; 25 frames a second is what the built-in motions have


@dataclass(frozen=True)
class DriverSource:
    """DRIVER as it was given, looked at once: what it is and which part of it counts. Nothing is measured yet.

    kind: "video", "picture" (a pose), "motion" (a file) or "builtin". name: without folders and suffix. path: the file,
    None for a built-in motion. start, end: seconds, None for all. face: "largest" or N from the left. option: how the
    user chooses a face of it, for messages. turn: quarter turns, counterclockwise, by which its pictures stand upright.
    """

    kind: Literal["video", "picture", "motion", "builtin"]
    name: str
    path: Path | None
    start: float | None = None
    end: float | None = None
    face: FaceChoice = LARGEST
    option: str = "--driver-face"
    turn: int = 0

    @classmethod
    def parse(
        cls,
        driver: str | Path,
        *,
        face: str | int = "largest",
        start: float | None = None,
        end: float | None = None,
        option: str = "--driver-face",
    ) -> DriverSource:
        """What can be said at once, before networks are loaded and portraits measured; by name and first bytes.

        Raises InputError: none given, an address, no such file, a folder. UsageError: no built-in motion of that name,
        a bad choice of face, a part of a picture.
        """
        chosen = parse_face(face)
        if not str(driver):
            raise InputError("no driver was given")
        if is_builtin_motion(driver):
            load_builtin_motion(str(driver))
            return cls("builtin", str(driver).removeprefix(PREFIX), None, start, end, chosen)
        refuse_odd_input(driver)
        path = Path(driver)
        if path.is_dir():
            raise InputError(f"{path}: is a folder; DRIVER is a video, a picture, a motion file or motion:talk")
        if not path.exists():
            raise InputError(f"{path}: no such file; check the name")
        if path.suffix.lower() in SUFFIXES:
            return cls("motion", path.stem, path, start, end, chosen, option)
        if not is_picture(path):
            return cls("video", path.stem, path, start, end, chosen, option)
        if start is not None or end is not None:
            raise UsageError(f"{path}: is a picture, which has no --start and --end")
        return cls("picture", path.stem, path, face=chosen, option=option)

    @property
    def is_builtin(self) -> bool:
        """Whether it comes with the package; then there is no file."""
        return self.kind == "builtin"

    @property
    def is_still(self) -> bool:
        """Whether it is a picture: one pose."""
        return self.kind == "picture"

    @property
    def is_video(self) -> bool:
        """Whether it has pictures that move, and perhaps sound."""
        return self.kind == "video"

    @property
    def given(self) -> str:
        """As it was given, for people."""
        return f"{PREFIX}{self.name}" if self.path is None else str(self.path)

    @property
    def file(self) -> Path:
        """The file. Raises ValueError for a built-in motion."""
        if self.path is None:
            raise ValueError(f"{PREFIX}{self.name} is no file")
        return self.path

    def measure(self, backend: LandmarkBackend, progress: Count | None = None) -> Driver:
        """The face's points over time. progress: called with (frames done, frames expected or None).

        Raises InputError when the file cannot be read or shows no face, UsageError for a bad start or end.
        """
        if self.is_builtin:
            return Driver(self, _cut(load_builtin_motion(self.name), self.start, self.end))
        if self.kind == "motion":
            return Driver(self, _cut(load_motion(self.file), self.start, self.end))
        if self.is_still:
            return Driver(self, motion_of_picture(read_picture(self.file), backend, self.face, self.file.name))
        with self._reader() as reader:
            motion = measure_video(reader, backend, self.face, progress)
            sound = self.path if reader.info.has_audio else None
            return Driver(self, motion, sound, reader.audio_start, reader.audio_end)

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of a video in order, decoded anew: number within the part that counts, (H, W, 3) uint8 RGB."""
        with self._reader() as reader:
            for frame in reader:
                yield frame.index, frame.picture

    def _reader(self) -> VideoReader:
        return VideoReader(self.file, self.start, self.end)


@dataclass(frozen=True)
class Driver:
    """A driver, measured.

    motion: of the part that counts, with NaN where no face was found. audio_from, audio_start, audio_end: where its
    sound is, for VideoWriter; None without sound.
    """

    source: DriverSource
    motion: Motion
    audio_from: Path | None = None
    audio_start: Fraction = Fraction(0)
    audio_end: Fraction | None = None

    def pictures(self) -> Iterator[np.ndarray] | None:
        """Its pictures in order, (H, W, 3) uint8 RGB, one for each frame of the motion; None where there are none."""
        if self.source.is_video:
            return (picture for _, picture in self.source.frames())
        return iter([read_picture(self.source.file)]) if self.source.is_still else None


def measure_video(
    reader: VideoReader, backend: LandmarkBackend, face: FaceChoice = LARGEST, progress: Count | None = None
) -> Motion:
    """The face's points in every frame of an open video; what is damaged in it becomes one of the motion's notes."""
    motion = track_video(reader, backend, face, progress)
    if reader.damaged:
        motion.notes.append(f"{reader.path.name}: is damaged ({reader.damaged}); what could be read is used")
    return motion


def motion_of_picture(picture: np.ndarray, backend: LandmarkBackend, face: FaceChoice, name: str) -> Motion:
    """A motion of one frame: the face in a picture (H, W, 3) uint8 RGB. Raises InputError when there is none."""
    found = find_face(picture, backend, face, name)
    return Motion(
        points=np.asarray(found.points, np.float32)[None],
        confidence=np.array([min(max(found.confidence, 0.0), 1.0)]),
        times=np.zeros(1),
        pts=np.zeros(1),
        time_base=1 / _PICTURE_FPS,
        fps=_PICTURE_FPS,
        size=(picture.shape[1], picture.shape[0]),
        source=name,
    )


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
